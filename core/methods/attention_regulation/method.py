"""Attention Regulation: Enhancing Semantic Fidelity in Text-to-Image Synthesis: Attention Regulation in Diffusion
Models.

Zhang et al., ECCV 2024, arXiv 2403.06381. In every edited layer the scores of the target words are raised
or lowered by a few smooth bumps, found by a short descent, so that every target gets its share of the attention and
holds some pixels firmly. The network itself is not differentiated.

The preset `published` computes what the released code computes, flaws included; `default` is without them: no random
map is blended in at the first step, an image's best iteration is its own and not its batch's, the start is the same for
every step, layer and image, and a word of several pieces is one target. `demo` is for the pack's demo model, whose
names get less than a hundredth of the attention: the descent's gradient is as small as the share that it is to raise,
so that 20 iterations held back by the published weight of the edit's size end far below their aim.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from ...maps.probabilities import wide
from ...maps.transforms import apart
from ...prompt.targets import Targets
from ..base import EditSite, ScoreEdit, ScoreEditSettings, setting
from .bumps import Bumps
from .descent import Aim, Descent, against_rest, descend

# The published runs have 50 steps; `fade` is per such step.
_PUBLISHED_STEPS = 50
# The mean of the published random start.
_EVEN_START = 0.5


@dataclass(frozen=True)
class AttentionRegulationSettings(ScoreEditSettings):
    """Numbers as published (50 steps, edits in steps 0-24)."""

    span: str = setting(
        "word",
        "What counts as a target. word: each object's name, of however many pieces. phrase: the name with its "
        "attributes, so that they move together. pieces: every piece of a word by itself (published).",
        options=("word", "phrase", "pieces"),
    )
    share: float = setting(
        0.2,
        "Share of the attention that each target gets on average over the picture (the paper's 0.2).",
        minimum=0.0,
        maximum=1.0,
        step=0.01,
    )
    peak: float = setting(
        0.9,
        "Share that each target gets where it is strongest, in a tenth of the picture (the paper's 0.9).",
        minimum=0.0,
        maximum=1.0,
        step=0.01,
    )
    iterations: int = setting(
        20, "Iterations of the descent in each layer and step (the paper's 20).", minimum=1, maximum=200, step=1
    )
    rate: float = setting(100.0, "Step size of the descent (the paper's 100).", minimum=0.0, maximum=1000.0, step=5.0)
    share_weight: float = setting(
        80.0, "Weight of the average share in the descent (the paper's 80).", minimum=0.0, maximum=1000.0, step=1.0
    )
    size_weight: float = setting(
        0.09, "Weight that keeps the edits small (the paper's 0.09).", minimum=0.0, maximum=10.0, step=0.01
    )
    blend: float = setting(
        0.25,
        "How much of the previous step's edit is mixed in, for steadiness (the paper's 0.25).",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    fade: float = setting(
        0.99,
        "What the edit is multiplied by every fiftieth of the run (the paper's 0.99 per step of 50).",
        minimum=0.5,
        maximum=1.0,
        step=0.005,
    )
    renormalise: bool = setting(
        True,
        "Let each pixel's attention add up to 1 again after the start and end tokens got back what they had. Off as "
        "published: pixels of a target then attend up to twice as strongly.",
    )
    start_weights: str = setting(
        "even",
        "Where each descent starts. even: the same everywhere, so that nothing is left to chance. random: drawn anew "
        "for every step and layer (published).",
        options=("even", "random"),
    )
    seed: int = setting(0, "Chooses the random start, if there is one.", minimum=0, maximum=2**32 - 1, step=1)
    published_flaws: bool = setting(
        False,
        "Blend a random map into the first step, judge the iterations over the whole batch, and round the scores to "
        "half precision, all as the published code does.",
    )


class AttentionRegulation(ScoreEdit):
    """scores of the targets += fade · (blend · previous step's map + (1 − blend) · best map of the descent)."""

    name = "attention_regulation"
    title = "Attention Regulation"
    paper = "2403.06381"
    PRESETS = {
        "default": AttentionRegulationSettings(),
        "published": AttentionRegulationSettings(
            span="pieces", renormalise=False, start_weights="random", published_flaws=True
        ),
        "scenes": AttentionRegulationSettings(span="phrase", iterations=100, size_weight=0.01, end=0.4),
        "demo": AttentionRegulationSettings(span="phrase", iterations=100, size_weight=0.01),
    }
    settings: AttentionRegulationSettings

    def applies(self, targets: Targets) -> bool:
        return bool(self.watched(targets))

    def check(self, targets: Targets) -> list[str]:
        if not self.applies(targets):
            return [
                "Attention Regulation found no object in the prompt, so the picture is left unchanged. "
                "Name the objects in the list of words of Extract Targets."
            ]
        return []

    def watched(self, targets: Targets) -> list[tuple[str, list[int]]]:
        taken: set[int] = set()
        watched = []
        for target in targets.objects:
            whole = target.all_positions if self.settings.span == "phrase" else target.positions
            # A word that two objects share ("red ball and cube") goes to the first.
            positions = [p for p in whole if p not in taken]
            taken.update(positions)
            if positions:
                watched.append((target.name, positions))
        return watched

    def groups(self, targets: Targets) -> list[list[int]]:
        """Token positions of everything that gets a share of its own."""
        words = [positions for _, positions in self.watched(targets)]
        return [[p] for positions in words for p in positions] if self.settings.span == "pieces" else words

    def edit(self, scores: Tensor, targets: Targets, site: EditSite, strength: float = 1.0) -> Tensor:
        """The targets' columns changed by `change`, all others as they were."""
        edited = scores.clone()
        for positions, map_ in zip(self.groups(targets), self.change(scores, targets, site), strict=True):
            for position in positions:
                edited[..., position].add_(map_, alpha=strength)
        # The published code rounds even float32 scores, all columns of the conditional rows.
        return edited.half().to(scores.dtype) if self.settings.published_flaws else edited

    def change(self, scores: Tensor, targets: Targets, site: EditSite) -> Tensor:
        """What is added to the targets' scores at strength 1, [T, B, heads, pixels]; noted in the site's memory."""
        # The descent looks at values, on the CPU by way of NumPy: inside a solver's own transform it needs plain ones.
        return apart(lambda plain: self._change(plain, targets, site).transpose(0, 1), scores).transpose(0, 1)

    def _change(self, scores: Tensor, targets: Targets, site: EditSite) -> Tensor:
        s = self.settings
        images, heads = scores.shape[:2]
        descent = self.descent(scores, targets, site)
        added = descent.added(descent.best(1 if s.published_flaws else images))  # [T, images * heads, pixels]
        earlier = self._earlier(site, descent, added)
        site.memory.setdefault(site.step, added)
        fade = s.fade ** (_PUBLISHED_STEPS * site.progress)
        return torch.lerp(added, earlier, s.blend).mul_(fade).unflatten(1, (images, heads))

    def descent(self, scores: Tensor, targets: Targets, site: EditSite) -> Descent:
        """All iterations for these scores, before any of them is applied."""
        s, groups = self.settings, self.groups(targets)
        images, heads = scores.shape[:2]
        scores = wide(scores)
        bumps = Bumps.on(*site.size, str(scores.device), scores.dtype)
        start = self.start_weights(site, images, heads, bumps.count, len(groups)).to(scores)
        aim = Aim(peak=s.peak, share_each=s.share, share_weight=s.share_weight, size_weight=s.size_weight)
        return descend(against_rest(scores, groups), start, bumps, aim, s.iterations, s.rate)

    def start_weights(self, site: EditSite, images: int, heads: int, centres: int, count: int) -> Tensor:
        """[targets, images · heads, centres]; every image of a batch starts as it would alone."""
        if self.settings.start_weights == "even":
            return torch.full((count, images * heads, centres), _EVEN_START)
        # One generator for every (seed, layer, step), so that neither the order of the layers nor a second call
        # matters.
        name = f"{self.settings.seed} {site.layer} {site.step}".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1)
        return torch.rand(count, heads, centres, generator=generator).repeat(1, images, 1)

    def _earlier(self, site: EditSite, descent: Descent, added: Tensor) -> Tensor:
        """The map of the step before this one in the layer's memory; at the first step this step's own."""
        before = [step for step in site.memory if step < site.step]
        for step in sorted(before)[:-1]:
            del site.memory[step]
        if before:
            earlier = site.memory[max(before)]
            return earlier if earlier.shape == added.shape else added  # vmap may add rows to one call alone
        if not self.settings.published_flaws:
            return added
        return (descent.weights[0] @ descent.bumps.matrix).view_as(added)

    def settle(self, probs: Tensor, plain: Tensor, targets: Targets) -> Tensor:
        """Each chunk's start token and first end token get back what they had without the edit."""
        columns = torch.tensor(kept_columns(targets), device=probs.device)
        settled = probs.index_copy(-1, columns, plain.index_select(-1, columns))
        return settled / settled.sum(dim=-1, keepdim=True) if self.settings.renormalise else settled


def kept_columns(targets: Targets) -> list[int]:
    """The start token, if there is one, and the first token after the words (the end token) of each of the encoder's
    chunks.
    """
    columns = []
    for stretch, words in zip(targets.stretches, targets.by_stretch(targets.content), strict=True):
        last = max(words, default=stretch.start)
        columns += [p for p in (stretch.start, last + 1) if p in stretch.columns and p not in words]
    return columns
