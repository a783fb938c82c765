"""Harnessing the Spatial-Temporal Attention of Diffusion Models for High-Fidelity Text-to-Image Synthesis.

Wu et al., ICCV 2023, arXiv 2304.03869. In the region where an object belongs, every cross-attention layer gives a
mixture of its output g for the whole prompt and its output l for the object's own prompt ("a photo of a cat"). The
weights of the mixture change over the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor

from ..errors import MethodError
from ..layout.boxes import Layout
from ..layout.regions import PLACES, SHAPES, regions
from ..maps.probabilities import wide
from ..maps.view import View
from ..prompt.lexicon import singular
from ..prompt.targets import Targets
from ..settings import setting
from .base import OutputMix

RULES = ("convex", "published")
CURVES = ("constant", "linear", "cosine", "list")
OVERLAPS = ("share", "add")


@dataclass(frozen=True)
class SpaceTimeSettings:
    rule: str = setting(
        "convex",
        "convex: part of the attention to the whole prompt is replaced by that to the object's own (the paper). "
        "published: the object's own is added and that to the negative prompt taken off (the released code).",
        options=RULES,
    )
    weight: float = setting(
        0.5, "How much of its own prompt an object gets in its region.", minimum=0.0, maximum=10.0, step=0.05
    )
    divide: bool = setting(False, "Divide the weight by the number of objects, as the released code does.")
    curve: str = setting(
        "constant",
        "How the weight changes from start to end. linear and cosine: down to the final weight. list: by the list of "
        "weights.",
        options=CURVES,
    )
    final: float = setting(
        0.0,
        "What is left of the weight at the end of a linear or cosine curve, as a share.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    values: tuple[float, ...] = setting(
        (1.0,), "For the curve list: shares of the weight, one after the other from start to end."
    )
    start: float = setting(
        0.0, "Where in the run the mixing begins: 0 is pure noise.", minimum=0.0, maximum=1.0, step=0.01
    )
    end: float = setting(1.0, "Where in the run the mixing stops.", minimum=0.0, maximum=1.0, step=0.01)
    local: str = setting(
        "a photo of {}", "The prompt of an object alone; {} stands for the object with its attributes."
    )
    region: str = setting(
        "layout",
        "layout: the mask where the layout has one, else the box. box: always the box. disc: a disc in the middle of "
        "the box (published).",
        options=SHAPES,
    )
    radius: float = setting(
        0.2,
        "Radius of a disc, as a share of the picture's side (published: 0.2).",
        minimum=0.02,
        maximum=1.0,
        step=0.01,
    )
    overlap: str = setting(
        "share",
        "Where regions overlap: share, the objects divide the place; add, their weights add up, as published.",
        options=OVERLAPS,
    )
    place: str = setting(
        "centre", "Where in a pixel its place is measured. The released code takes the corner.", options=PLACES
    )
    resolution: str = setting(
        "auto",
        "Size of the attention maps that are recorded. All layers are mixed.",
        options=("auto", "1/1", "1/2", "1/4", "1/8"),
    )


class SpaceTime(OutputMix):
    """out = g + Σ m·w·(l − g), or with the published rule g + Σ m·w·(l − u), u being the negative prompt's output.

    `table`, if given, holds weights [objects][steps] that were optimised (core/search/learned_weights.py); they take
    the place of the curve, spread evenly from start to end. `names` says which object each row is for; without it the
    rows go by order.
    """

    name = "space_time"
    title = "Space-Time Attention"
    paper = "2304.03869"
    PRESETS = {
        "paper": SpaceTimeSettings(),
        "repo": SpaceTimeSettings(
            rule="published", weight=5.0, divide=True, region="disc", overlap="add", place="corner"
        ),
        "scenes": SpaceTimeSettings(rule="published", weight=1.0, end=0.5, local="{}"),
        "demo": SpaceTimeSettings(rule="published", weight=1.0, local="{}"),  # it never learned "a photo of"
    }
    settings: SpaceTimeSettings

    def __init__(
        self,
        settings: SpaceTimeSettings | None = None,
        table: Sequence[Sequence[float]] | Tensor | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        super().__init__(settings)
        self.table = None if table is None else torch.as_tensor(table, dtype=torch.float32)
        self.names = names

    def applies(self, targets: Targets) -> bool:
        return bool(targets.objects)

    def check(self, targets: Targets) -> list[str]:
        if not targets.objects:
            return [
                "Space-Time Attention found no object in the prompt, so the picture is left unchanged. "
                "Name the objects in the list of words of Extract Targets."
            ]
        if "{}" not in self.settings.local:
            raise MethodError(
                f'The prompt for an object alone, "{self.settings.local}", has no place for the object. '
                "Write {} where its name goes, such as: a photo of {}"
            )
        return []

    @property
    def wants_unconditional(self) -> bool:
        return self.settings.rule == "published"

    def local_prompt(self, phrase: str) -> str:
        return self.settings.local.replace("{}", with_article(phrase))

    def regions(self, layout: Layout, h: int, w: int, view: View | None = None) -> Tensor:
        s = self.settings
        found = regions(layout, h, w, s.region, s.radius, s.place, view)
        # Where several objects claim a pixel, none gets more than its part, and together they get no more than one
        # would.
        return found / found.sum(dim=0).clamp_min(1.0) if s.overlap == "share" else found

    def weights(self, progress: float, layout: Layout) -> Tensor:
        count = len(layout.placements)
        along = self._along(progress)
        if self.table is not None:
            return self.table[self._rows(layout), _place(self.table.shape[1], along)]
        weight = self.settings.weight / count if self.settings.divide else self.settings.weight
        return torch.full((count,), weight * self._share(along))

    def column(self, progress: float, count: int) -> int:
        """Which of `count` weights of a table is in force at a point of the run."""
        return _place(count, self._along(progress))

    def check_layout(self, layout: Layout) -> None:
        if self.table is not None:
            self._rows(layout)

    def settings_text(self) -> str:
        optimised = (
            ""
            if self.table is None
            else f", optimised weights ({self.table.shape[0]} objects, {self.table.shape[1]} steps)"
        )
        return super().settings_text() + optimised

    def _along(self, progress: float) -> float:
        """A point of the run as a point of the method's window, 0 to 1."""
        s = self.settings
        return min(max((progress - s.start) / max(s.end - s.start, 1e-9), 0.0), 1.0)

    def _rows(self, layout: Layout) -> list[int]:
        """The table's row of each placement. Raises MethodError if the weights are those of other objects."""
        placed = [placement.name for placement in layout.placements]
        if not self.names and len(placed) == len(self.table):
            return list(range(len(placed)))
        free = list(enumerate(self.names))
        rows = []
        for name in placed:
            found = next((row for row in free if row[1] == name), None)
            if found is None:
                known = ", ".join(self.names) or f"{len(self.table)} objects"
                raise MethodError(
                    f"These weights were optimised for {known}, but the layout places {', '.join(placed)}. Optimise "
                    f"them again for this prompt and layout."
                )
            free.remove(found)
            rows.append(found[0])
        return rows

    def _share(self, along: float) -> float:
        """The curve at a point of the window, 0 to 1."""
        s = self.settings
        if s.curve == "linear":
            return 1 + (s.final - 1) * along
        if s.curve == "cosine":
            return s.final + (1 - s.final) * (1 + cos(pi * along)) / 2
        return _nth(s.values, along) if s.curve == "list" and s.values else 1.0

    def scaled(self, weights: Tensor, strength: float) -> Tensor:
        scaled = weights * strength
        return scaled.clamp(0, 1) if self.settings.rule == "convex" else scaled

    def mix(
        self,
        global_out: Tensor,
        local_outs: Tensor,
        regions: Tensor,
        weights: Tensor,
        unconditional: Tensor | None = None,
    ) -> Tensor:
        """Without the negative prompt's output (guidance 1), the published rule becomes the convex one."""
        taken_off = unconditional if self.wants_unconditional and unconditional is not None else global_out
        shares = (weights[:, None] * regions)[:, None, :, None]  # [O, 1, pixels, 1]
        change = (shares * (wide(local_outs) - wide(taken_off))).sum(dim=0)
        return (wide(global_out) + change).to(global_out.dtype)


def with_article(phrase: str) -> str:
    """ "black car" → "a black car", "orange" → "an orange"; plurals and phrases with an article stay."""
    words = phrase.lower().split()
    if (
        not words
        or words[0] in ("a", "an", "the", "some", "two", "three", "four", "five")
        or singular(words[-1]) != words[-1]
    ):
        return phrase
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {phrase}"


def _nth(values: tuple[float, ...], along: float) -> float:
    """The one of `values` that is in force at a point, 0 to 1, of their span."""
    return float(values[_place(len(values), along)])


def _place(count: int, along: float) -> int:
    """Which of `count` equal parts of a span a point, 0 to 1, lies in."""
    return min(int(along * count + 1e-6), count - 1)
