"""FOCUS: Optimal Control Meets Flow Matching: A Principled Route to Multi-Subject Fidelity.

Bill, Simsar, Hofmann, 2025, arXiv 2510.02315. Each word's map, cubed, is a distribution over the picture: the words of
one object should be distributed alike, the objects unlike. From the paper's formulas.

The paper adds λ·σ·(1 − t)·∇L to the velocity of a flow at every step, t from 0 (noise) to 1 (picture), so that 1 − t is
the noise level σ: the prediction moves by −λ·σ³·∇L. In this pack's units (`core.control.prediction`) it moves by
−α·σ'/(σ − σ')·∇L, with σ' a fiftieth of the run on, which is −49·α·∇L at pure noise where the noise falls evenly. So α
is a fiftieth of λ. From there on the paper's push falls as σ³; ours, with all of the decay, as √(1 − progress)·σ. Flows
whose noise stays high for longer (Flux, Stable Diffusion 3) are pushed more in their first steps than the paper does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from ..maps.distances import from_their_mean, pixel_distributions
from ..maps.probabilities import smooth, wide
from ..prompt.targets import Target, Targets
from .base import PREDICTION, LatentLoss, LatentLossSettings, check_token_axis, setting
from .losses import Losses

_PUBLISHED_STEPS = 50  # of which one is the unit of a step size
_SIGMA = sqrt(0.5)  # at which `smooth` has the taps of a Gaussian of σ = 1


@dataclass(frozen=True)
class FocusSettings(LatentLossSettings):
    """Defaults: as published for Flux (λ = 4), in the prediction of every step, no refinement."""

    step_size: float = setting(
        4.0 / _PUBLISHED_STEPS,
        "How far one update moves the latent: a fiftieth of the paper's λ, which is 4 for Flux and 10 for Stable "
        "Diffusion 3.5.",
        minimum=0.0,
        maximum=1000.0,
        step=0.01,
    )
    decay: float = setting(
        1.0,
        "Share that the square of the step size loses over the run. The paper's push falls with the cube of the noise "
        "level, which 1 comes nearest to.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    end: float = setting(
        1.0, "Where in the run the updates stop. Published: they do not.", minimum=0.0, maximum=1.0, step=0.01
    )
    smoothing: bool = setting(True, "Blur the maps with a 3×3 Gaussian first (σ = 1), as published.")
    acts_on: str = setting(
        PREDICTION,
        "prediction: the step's own pass gives the gradient, which is added to what the model predicts, as published. "
        "latent: the latent is moved before each step, which takes further passes of the network.",
        options=("latent", "prediction"),
    )
    attributes: bool = setting(
        True, "The words that describe an object are to be where it is; off: only objects are kept apart."
    )


class Focus(LatentLoss):
    """loss = ½·(mean over objects of several words of JSD(its words) + 1 − JSD(the objects' mean maps)), in 0..1.

    JSD is the generalised Jensen–Shannon divergence of n distributions, divided by log n: 0 for equal ones, 1 for those
    that share no pixel. A word's tokens count singly, in each of the encoders that read the prompt.
    """

    name = "focus"
    title = "FOCUS"
    paper = "2510.02315"
    of_the_whole = True
    PRESETS = {
        "published": FocusSettings(),
        "scenes": FocusSettings(step_size=30.0),
        "demo": FocusSettings(step_size=8.0, decay=0.0, end=0.5, attributes=False),
    }
    settings: FocusSettings

    def applies(self, targets: Targets) -> bool:
        words = [self._tokens(target) for target in targets.objects]
        return sum(bool(tokens) for tokens in words) > 1 or any(len(tokens) > 1 for tokens in words)

    def check(self, targets: Targets) -> list[str]:
        if not self.applies(targets):
            return [
                "FOCUS keeps several objects apart, and found one word at most to look at, so the picture is left "
                "unchanged. Name the objects in the list of words of Extract Targets."
            ]
        return []

    def loss(self, maps: Tensor, targets: Targets) -> Losses:
        """A target's column is what its own words and its distance from the others' mean contribute, in 0..1."""
        check_token_axis(maps, targets)
        named = [(target.phrase, self._tokens(target)) for target in targets.objects]
        found = [(name, tokens) for name, tokens in named if tokens]
        if not found:
            return Losses(maps.new_zeros(len(maps)), maps.new_zeros(len(maps), 0), ())
        words = [self._words(maps, tokens) for _, tokens in found]  # each [B, tokens, h, w]
        within = torch.stack([divergence(own).mean(dim=1) for own in words], dim=1)  # [B, T]
        several = [i for i, own in enumerate(words) if own.shape[1] > 1]
        torn = within[:, several].mean(dim=1) if several else within.new_zeros(len(within))
        together = 1.0 - divergence(torch.stack([own.mean(dim=1) for own in words], dim=1))  # [B, T]
        together = together if len(found) > 1 else torch.zeros_like(together)
        per_image = (torn + together.mean(dim=1)) / 2
        return Losses(per_image, (within + together) / 2, tuple(name for name, _ in found))

    def _words(self, maps: Tensor, tokens: tuple[int, ...]) -> Tensor:
        """The tokens' maps, [B, h, w, all tokens] → [B, tokens, h, w]."""
        own = wide(maps[..., list(tokens)]).movedim(-1, 1)
        return smooth(own, _SIGMA) if self.settings.smoothing else own

    def _tokens(self, target: Target) -> tuple[int, ...]:
        return target.all_positions if self.settings.attributes else target.positions

    def satisfied(self, losses: Losses, point_index: int, iteration: int, targets: Targets) -> Tensor:
        """Never: a refinement, which the paper does not have, takes all of its steps."""
        return torch.zeros_like(losses.per_image, dtype=torch.bool)


def divergence(maps: Tensor) -> Tensor:
    """How far each of n maps is from all of them together, [B, n, h, w] → [B, n]: the mean over n is their JSD / log n.

    0 for a map by itself.
    """
    if maps.shape[1] < 2:
        return maps.flatten(2).sum(dim=2) * 0.0
    # A map's scale means nothing to it, but the cube of a small number may be none.
    scale = maps.detach().flatten(2).amax(dim=2).clamp_min(torch.finfo(maps.dtype).tiny)
    shares = pixel_distributions((maps / scale[..., None, None]) ** 3)
    return from_their_mean(shares) / torch.log(torch.tensor(float(maps.shape[1]), dtype=maps.dtype))
