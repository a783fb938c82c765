"""T-SAM: Text Embedding is Not All You Need: Attention Control for Text-to-Image Semantic Alignment
with Text Self-Attention Maps.

Kim, Esmaeili, Qiu, CVPR 2025, arXiv 2411.15236. Words that attend to each other in the text encoder belong together,
so their cross-attention maps should be alike, and those of other words should not. The paper and the published code
differ; each has its presets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..maps.distances import COSINE_EPS, cosine_matrix
from ..maps.probabilities import smooth
from ..prompt.targets import Targets
from .base import PREDICTION, LatentLoss, LatentLossSettings, MethodError, check_token_axis, setting
from .losses import Losses

_ROW_EPS = 1e-7
_ROW_WEIGHT = 0.2
# Published for 5, 6 and 7 words as .56, .70, .84: a straight line, taken for every length.
_THRESHOLD_PER_WORD = 0.14
# The published refinement looks at its threshold once, before this update.
_PUBLISHED_TEST = 20
# With length_normalised, the loss of a prompt is that of one with as many words as this (the longest published).
_REFERENCE_WORDS = 7


@dataclass(frozen=True)
class TSAMSettings(LatentLossSettings):
    """Defaults are those of the published code (50 steps: updates in steps 0-29, refinement at 0, 10, 20)."""

    step_size: float = setting(
        5.0,
        "How far one update moves the latent (α: 5 in the published code; 10 and 40 in the paper).",
        minimum=0.0,
        maximum=1000.0,
        step=0.5,
    )
    end: float = setting(
        0.6,
        "Where in the run the updates stop (0.6 in the published code, 0.5 in the paper).",
        minimum=0.0,
        maximum=1.0,
        step=0.01,
    )
    refine_at: tuple[float, ...] = setting(
        (0.0, 0.2, 0.4), "Points of the run at which updates are repeated until the loss is low enough."
    )
    refine_steps: int = setting(
        30, "Most updates at one refinement point (30 in the published code).", minimum=0, maximum=100, step=1
    )
    formula: str = setting(
        "cosine",
        "How text attention and map similarity are compared. cosine: by the angle of their rows (published code). "
        "difference: by their absolute difference (paper).",
        options=("cosine", "difference"),
    )
    power: float = setting(
        3.0,
        "Sharpens the text attention: 3 in the published code, 4 in the paper.",
        minimum=1.0,
        maximum=10.0,
        step=0.5,
    )
    power_first: bool = setting(
        True,
        "Sharpen before the rows are normalised (published code), or after (paper; then a word without a strong "
        "relation has no pull).",
    )
    length_normalised: bool = setting(
        False, "Keep long prompts from getting far larger updates: the loss is scaled to that of a prompt of 7 words."
    )


_PAPER = {
    "decay": 0.0,
    "end": 0.5,
    "refine_at": (),
    "refine_steps": 0,
    "formula": "difference",
    "power": 4.0,
    "power_first": False,
}


class TSAM(LatentLoss):
    """Cross-attention maps should be as similar to each other as the text encoder finds their words related."""

    name = "t_sam"
    title = "T-SAM"
    paper = "2411.15236"
    PRESETS = {
        "repo": TSAMSettings(),
        "paper": TSAMSettings(step_size=10.0, **_PAPER),
        "paper-free": TSAMSettings(step_size=40.0, **_PAPER),
        "one-pass": TSAMSettings(refine_at=(), refine_steps=0, acts_on=PREDICTION),
        "scenes": TSAMSettings(end=0.5, refine_at=(), refine_steps=0, acts_on=PREDICTION),
        # Its model's text attention is even: raised to the 4th power after the rows are normalised, nothing is left.
        "demo": TSAMSettings(step_size=1.0, acts_on=PREDICTION, **(_PAPER | {"power_first": True})),
    }
    settings: TSAMSettings

    @property
    def fewest_words(self) -> int:
        """Words (tokens) a chunk must have for its loss to have a gradient."""
        # Cosine: the second word's row has one entry, and two single positive numbers have no angle.
        return 3 if self.settings.formula == "cosine" else 2

    def applies(self, targets: Targets) -> bool:
        return any(len(block) >= self.fewest_words for block in _chunks(targets))

    def check(self, targets: Targets) -> list[str]:
        if not self.applies(targets):
            return [
                f"The prompt has too few words for T-SAM, which compares at least {self.fewest_words}, "
                "so the picture is left unchanged. "
                "Describe the scene in more words, or choose Attend-and-Excite."
            ]
        attention = targets.text_attention
        if attention is None:
            raise MethodError(
                "T-SAM needs the text encoder's attention between the prompt's words, which these targets lack. "
                "Encode the prompt with Extract Targets, connected to the checkpoint's CLIP."
            )
        if tuple(attention.shape) != (len(targets.content),) * 2:
            raise MethodError(
                f"The text encoder's attention is for {attention.shape[0]} tokens, "
                f"but the prompt has {len(targets.content)}. "
                "Connect the conditioning and the targets of the same Extract Targets node."
            )
        return []

    def loss(self, maps: Tensor, targets: Targets) -> Losses:
        """Sum of the words' terms; per_target sums them by object (with its attributes), the last column the rest.

        A prompt of several chunks is the sum over its chunks: between chunks the encoder has no attention to compare.
        """
        check_token_axis(maps, targets)
        attention = targets.text_attention.to(maps.device, maps.dtype) if self.applies(targets) else None
        terms = maps.new_zeros(maps.shape[0], len(targets.content))
        for block in _chunks(targets):
            if len(block) < self.fewest_words:
                continue
            text = text_matrix(attention[block][:, block], self.settings.power, self.settings.power_first)
            similarity = self.map_similarity(maps[..., [targets.content[i] for i in block]])
            terms = terms.index_copy(1, torch.tensor(block, device=maps.device), self._terms(text, similarity))
        if self.settings.length_normalised:
            terms = terms * (
                self._weight_sum([_REFERENCE_WORDS]) / max(self._weight_sum(map(len, _chunks(targets))), _ROW_EPS)
            )
        names, columns = _columns(targets)
        return Losses(terms.sum(dim=1), terms @ columns.to(terms), names)

    def map_similarity(self, maps: Tensor) -> Tensor:
        """C: cosine similarity of the words' maps, [B, h, w, n] → [B, n, n]."""
        maps = maps.movedim(-1, 1)  # [B, n, h, w]
        return cosine_matrix((smooth(maps) if self.settings.smoothing else maps).flatten(2))

    def _terms(self, text: Tensor, similarity: Tensor) -> Tensor:
        return (
            cosine_terms(text, similarity) if self.settings.formula == "cosine" else difference_terms(text, similarity)
        )

    def _weight_sum(self, lengths) -> float:
        """Sum of the weights of all rows: what the loss grows with as a prompt gets longer."""
        if self.settings.formula == "cosine":
            return sum(_ROW_WEIGHT * r for n in lengths for r in range(2, n))
        return sum((n + 1) / 2 for n in lengths if n >= 2)

    def threshold(self, targets: Targets) -> float:
        lengths = [_REFERENCE_WORDS] if self.settings.length_normalised else [len(block) for block in _chunks(targets)]
        return sum(_THRESHOLD_PER_WORD * (n - 1) for n in lengths)

    def satisfied(self, losses: Losses, point_index: int, iteration: int, targets: Targets) -> Tensor:
        """reached: the loss is below 0.14·(n − 1). published: stops before update 21 if it is still *above* that."""
        if self.settings.refine_stop == "reached":
            return losses.per_image < self.threshold(targets)
        if iteration != _PUBLISHED_TEST:
            return torch.zeros_like(losses.per_image, dtype=torch.bool)
        return losses.per_image > self.threshold(targets)


def text_matrix(attention: Tensor, power: float, power_first: bool = True) -> Tensor:
    """T [n, n] from the mean text self-attention between words: sharpened by `power`, rows summing to 1.

    The published code sharpens first and then normalises the rows; the paper does it the other way round.
    """
    if power_first:
        attention = attention**power
    attention = attention / (attention.sum(dim=-1, keepdim=True) + _ROW_EPS)
    return attention if power_first else attention**power


def cosine_terms(text: Tensor, similarity: Tensor) -> Tensor:
    """Published code: 0.2·r·(1 − cos(T[r, :r], C[r, :r])) for every word r; T [n, n], C [B, n, n] → [B, n].

    Rows 0 and 1 have nothing to compare: no entry, and one entry, which is always at angle 0.
    """
    weight = _ROW_WEIGHT * torch.arange(len(text), device=text.device, dtype=similarity.dtype)
    weight[:2] = 0.0
    cosine = cosine_similarity(text.tril(-1), similarity.tril(-1), dim=-1, eps=COSINE_EPS)
    return weight * (1.0 - cosine)


def difference_terms(text: Tensor, similarity: Tensor) -> Tensor:
    """Paper: Σ_{j≤i} (i/s)·|T^γ − S| for every word i = 1..s, S being C with its rows normalised; → [B, s].

    Where a row of T^γ lies below S everywhere, its term is a constant, as the row of S sums to 1.
    """
    lower = similarity.tril()
    rows = lower / (lower.sum(dim=-1, keepdim=True) + _ROW_EPS)
    weight = torch.arange(1, len(text) + 1, device=text.device, dtype=similarity.dtype) / len(text)
    return weight * (text.tril() - rows).abs().sum(dim=-1)


def _chunks(targets: Targets) -> list[list[int]]:
    """Indices into `targets.content`, one list per chunk of the encoder."""
    index = {position: i for i, position in enumerate(targets.content)}
    return [[index[p] for p in block] for block in targets.by_stretch(targets.content) if block]


def _columns(targets: Targets) -> tuple[tuple[str, ...], Tensor]:
    """Names of the objects and "other words", and the [len(content), T] matrix that sums the words' terms for each."""
    owner = {}
    for t, target in enumerate(targets.objects):
        for position in target.all_positions:
            owner.setdefault(position, t)
    others = len(targets.objects)
    columns = torch.zeros(len(targets.content), others + 1)
    for i, position in enumerate(targets.content):
        columns[i, owner.get(position, others)] = 1.0
    return (*(target.phrase for target in targets.objects), "other words"), columns
