"""Several methods in one: each with its own schedule, step size and thresholds, all in one gradient pass."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import MethodError
from ..layout.boxes import Layout
from ..prompt.targets import Targets
from .base import Method, OutputMix, Part, Rearrangement, ScoreEdit, Situation


class CombinedMethods(Method):
    """The latent moves by the sum over the methods of weight × step size × gradient; scores are edited by weight ×
    edit.

    Raises MethodError if no method has a weight, if two of them look at attention maps of different sizes (one pass
    through the network gives the maps of one size), or if two of them edit scores, mix outputs or rearrange the noise.
    """

    def __init__(self, weighted: Sequence[tuple[Method, float]]) -> None:
        self.weighted = tuple((method, weight) for method, weight in weighted if weight > 0)
        if not self.weighted:
            raise MethodError("None of the combined methods has a weight above 0. Give at least one method a weight.")
        sizes = {part.method.resolution for part in self.parts} - {"auto"}
        if len(sizes) > 1:
            raise MethodError(
                f"The combined methods look at attention maps of different sizes ({', '.join(sorted(sizes))} of the "
                f"latent's). "
                "Set their resolution to the same size, or to auto."
            )
        if sum(isinstance(part.method, ScoreEdit) for part in self.parts) > 1:
            raise MethodError(
                "Two of the combined methods edit attention scores, and only one can. "
                "Use two Apply Attention Control nodes, one after the other."
            )
        if sum(isinstance(part.method, OutputMix) for part in self.parts) > 1:
            raise MethodError(
                "Two of the combined methods mix attention outputs, and only one can. "
                "Use two Apply Attention Control nodes, one after the other."
            )
        if sum(isinstance(part.method, Rearrangement) for part in self.parts) > 1:
            raise MethodError("Two of the combined methods rearrange the noise, and only one can. Choose one of them.")
        self._resolution = next(iter(sizes), "auto")

    @property
    def kind(self) -> str:
        """latent_loss if any of its methods is one, else score_edit if any is."""
        kinds = {part.method.kind for part in self.parts}
        return next(kind for kind in ("latent_loss", "score_edit", "output_mix", "rearrangement") if kind in kinds)

    @property
    def title(self) -> str:
        return " + ".join(method.title for method, _ in self.weighted)

    @property
    def paper(self) -> str:
        return ", ".join(dict.fromkeys(method.paper for method, _ in self.weighted))

    @property
    def preset(self) -> str:
        return " + ".join(method.preset for method, _ in self.weighted)

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(
            Part(part.method, weight * part.weight) for method, weight in self.weighted for part in method.parts
        )

    @property
    def window(self) -> tuple[float, float]:
        """From where the first begins to where the last ends."""
        starts, ends = zip(*(method.window for method, _ in self.weighted), strict=True)
        return min(starts), max(ends)

    @property
    def resolution(self) -> str:
        return self._resolution

    @property
    def takes_layout(self) -> bool:
        return any(method.takes_layout for method, _ in self.weighted)

    def blocks_for(self, family: str) -> str:
        """Those of the first that names some: one pass gives the maps of one choice of blocks."""
        named = (part.method.blocks_for(family) for part in self.parts)
        return next((blocks for blocks in named if blocks != "auto"), "auto")

    def placed(self, layout: Layout) -> CombinedMethods:
        return CombinedMethods([(method.placed(layout), weight) for method, weight in self.weighted])

    def applies(self, targets: Targets) -> bool:
        return any(method.applies(targets) for method, _ in self.weighted)

    def check(self, targets: Targets) -> list[str]:
        """What the methods themselves say; one without anything to do is left out of the combination."""
        someone = self.applies(targets)
        warnings = []
        for method, _ in self.weighted:
            own = method.check(targets)
            if someone and not method.applies(targets):
                own = [f"{method.title} finds nothing to work on in this prompt and is left out of the combination."]
            warnings += own
        return list(dict.fromkeys(warnings))

    def settings_text(self) -> str:
        return "; ".join(f"{weight:g} × {method.title} ({method.settings_text()})" for method, weight in self.weighted)

    def resolve(self, targets: Targets, situation: Situation) -> tuple[Method, str]:
        resolved = [(*method.resolve(targets, situation), weight) for method, weight in self.weighted]
        reasons = [reason for _, reason, _ in resolved if reason]
        return CombinedMethods([(method, weight) for method, _, weight in resolved]), " ".join(reasons)
