"""What each predictor can be set to."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import setting
from .solver import SolverSettings


@dataclass(frozen=True)
class BoxSettings:
    """What all predictors' boxes have in common."""

    size: float = setting(
        1.0,
        "Scales the boxes. They shrink by themselves as the objects become more.",
        minimum=0.2,
        maximum=3.0,
        step=0.05,
    )
    margin: float = setting(
        0.04, "Space kept free at the picture's border, as a share of it.", minimum=0.0, maximum=0.3, step=0.01
    )
    gap: float = setting(0.02, "Space kept free between the boxes.", minimum=0.0, maximum=0.3, step=0.01)

    def with_seed(self, seed: int) -> SolverSettings:
        return SolverSettings(self.size, self.margin, self.gap, seed)


@dataclass(frozen=True)
class LearnedSettings(BoxSettings):
    """`sample`: the published predictor draws one of its five guesses by their weight; without, it
    takes the likeliest.
    """

    sample: bool = setting(
        False, "Draw one of the predictor's five guesses, by the seed, as published; off: always take the likeliest."
    )


@dataclass(frozen=True)
class AttentionSettings(BoxSettings):
    steps: int = setting(6, "How many of 20 sampling steps to look at.", minimum=1, maximum=20, step=1)
