"""SynGen: Linguistic Binding in Diffusion Models: Enhancing Attribute Correspondence through Attention Map Alignment.

Rassin, Hirsch, Glickman, Ravfogel, Goldberg, Chechik, NeurIPS 2023, arXiv 2306.08877. An attribute must look where its
object looks, and both where no other word does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps.distances import pixel_distributions, symmetric_kl
from ..maps.probabilities import smooth, wide
from ..prompt.targets import Targets
from .base import PREDICTION, LatentLoss, LatentLossSettings, check_token_axis, setting
from .losses import Losses


@dataclass(frozen=True)
class SynGenSettings(LatentLossSettings):
    """Defaults: as published for Stable Diffusion 1 (50 steps: one update in each of steps 0-24, no refinement)."""

    step_size: float = setting(
        20.0, "How far one update moves the latent (the paper's α, 20).", minimum=0.0, maximum=1000.0, step=0.5
    )
    decay: float = setting(
        0.0,
        "Share that the square of the step size loses over the run: 0 is constant, as published.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    smoothing: bool = setting(False, "Smooth the maps with a 3×3 kernel first. Published: not smoothed.")


@dataclass(frozen=True)
class Group:
    """An object and its attributes, each the tokens of its pieces, and the prompt's tokens outside of the group."""

    name: str
    entity: tuple[int, ...]
    modifiers: tuple[tuple[int, ...], ...]
    outside: tuple[int, ...]


def groups(targets: Targets) -> list[Group]:
    """The objects of the prompt that have tokens, with their attributes. Function words are outside of every group."""
    found = []
    for target in targets.objects:
        if target.positions:
            own = set(target.all_positions)
            modifiers = tuple(a.positions for a in target.attributes if a.positions)
            outside = tuple(p for p in targets.content if p not in own)
            found.append(Group(target.phrase, target.positions, modifiers, outside))
    return found


class SynGen(LatentLoss):
    """loss = Σ over (object, attribute): D(object, attribute) − ½·(mean D(attribute, outside) + mean D(object,
    outside)).

    D is the symmetric Kullback-Leibler divergence of maps normalised over the pixels. An object without attributes has
    only its own distance from the words outside, not halved.
    """

    name = "syngen"
    title = "SynGen"
    paper = "2306.08877"
    PRESETS = {
        "published": SynGenSettings(),
        "one-pass": SynGenSettings(acts_on=PREDICTION),
        "demo": SynGenSettings(step_size=1.0, end=0.2, acts_on=PREDICTION),
    }
    settings: SynGenSettings

    def applies(self, targets: Targets) -> bool:
        return any(group.modifiers or group.outside for group in groups(targets))

    def check(self, targets: Targets) -> list[str]:
        if not self.applies(targets):
            return [
                "SynGen found no object with an attribute or another word to keep apart, so the picture is left "
                "unchanged. "
                "Name the objects in the list of words of Extract Targets, with their attributes (black car, white "
                "clock)."
            ]
        if not any(group.modifiers for group in groups(targets)):
            return [
                "No object of the prompt has an attribute, so SynGen has nothing to bind and only keeps the objects "
                "apart. "
                "Attend-and-Excite is made for such prompts."
            ]
        return []

    def loss(self, maps: Tensor, targets: Targets) -> Losses:
        """Sum over the pairs; per_target sums them by object. It is unbounded below: there is no value to reach."""
        check_token_axis(maps, targets)
        found = groups(targets)
        if not found:
            return Losses(maps.new_zeros(len(maps)), maps.new_zeros(len(maps), 0), ())
        p = pixel_distributions(self.words(maps))  # [B, tokens, pixels]
        per_target = torch.stack([group_loss(p, group) for group in found], dim=1)
        return Losses(per_target.sum(dim=1), per_target, tuple(group.name for group in found))

    def words(self, maps: Tensor) -> Tensor:
        """[B, h, w, tokens] → [B, tokens, h, w], smoothed if the settings say so."""
        maps = wide(maps).movedim(-1, 1)
        return smooth(maps) if self.settings.smoothing else maps

    def satisfied(self, losses: Losses, point_index: int, iteration: int, targets: Targets) -> Tensor:
        """Never: a refinement, which the paper does not have, takes all of its steps."""
        return torch.zeros_like(losses.per_image, dtype=torch.bool)


def group_loss(p: Tensor, group: Group) -> Tensor:
    """One group's share of the loss, p [B, tokens, pixels] → [B]."""
    entity_away = away(p, group.entity, group.outside)
    if not group.modifiers:
        return -entity_away
    terms = [
        apart(p, group.entity, modifier) - (away(p, modifier, group.outside) + entity_away) / 2
        for modifier in group.modifiers
    ]
    return torch.stack(terms).sum(dim=0)


def apart(p: Tensor, word: tuple[int, ...], other: tuple[int, ...]) -> Tensor:
    """Divergence of two words, the largest over their pieces: [B]."""
    return symmetric_kl(p[:, list(word), None], p[:, None, list(other)]).flatten(1).amax(dim=1)


def away(p: Tensor, word: tuple[int, ...], outside: tuple[int, ...]) -> Tensor:
    """Mean over the tokens outside of their divergence from the word (from its farthest piece): [B]; 0 without any."""
    if not outside:
        return p.new_zeros(len(p))
    return symmetric_kl(p[:, list(word), None], p[:, None, list(outside)]).amax(dim=1).mean(dim=1)
