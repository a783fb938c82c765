"""A layout: a box, and possibly a mask, for each object that has a place."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import MethodError
from ..prompt.targets import Relation, Targets

# Rounding to pixels and to the canvas's thousandths moves an edge by this much at most.
_SLACK = 2e-3


@dataclass(frozen=True)
class Box:
    """A rectangle in fractions of the picture: x runs from 0 (left) to 1 (right), y from 0 (top) to 1 (bottom)."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def shared(self, other: Box) -> float:
        """The area common to both, as a share of the smaller one."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        smaller = min(self.area, other.area)
        return max(across, 0.0) * max(down, 0.0) / smaller if smaller > 0 else 0.0

    @property
    def is_inside(self) -> bool:
        """Whether the box lies in the picture."""
        return min(self.left, self.top) >= -_SLACK and max(self.right, self.bottom) <= 1 + _SLACK

    def clamped(self) -> Box:
        left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in (self.left, self.top, self.right, self.bottom))
        return Box(left, top, right, bottom)


@dataclass(frozen=True)
class Placement:
    """Where one object goes. `target` is its index in `Targets.objects`, `name` its phrase.

    `mask` [H, W] float32 in 0..1, if there is one, says it more exactly; the box is then that of the mask.
    """

    target: int
    name: str
    box: Box
    mask: Tensor | None = None


@dataclass(frozen=True)
class Layout:
    """The placements of a picture of `width` × `height` pixels, in the order of the targets; `relations` as solved for.

    Not every target needs a place. `notes` are sentences for the artist, such as a relation that was given up.
    """

    placements: tuple[Placement, ...]
    width: int
    height: int
    relations: tuple[Relation, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, target: int) -> Placement | None:
        """The placement of a target, by its index."""
        return next((placement for placement in self.placements if placement.target == target), None)

    def check(self, targets: Targets) -> None:
        """Raises MethodError if the layout is of another prompt's objects."""
        names = [target.phrase for target in targets.objects]
        for placement in self.placements:
            if placement.target >= len(names) or names[placement.target] != placement.name:
                raise MethodError(
                    f'The layout has a place for "{placement.name}", which these targets do not hold '
                    f"({', '.join(names) or 'they are empty'}). Connect the targets that the layout was made from."
                )

    def holds(self, relation: Relation) -> bool | None:
        """Whether a relation holds: the two boxes lie apart along its axis, in its order.

        None for a relation that orders nothing, or one whose objects have no place.
        """
        one, other = self.of(relation.subject), self.of(relation.object)
        if relation.axis is None or one is None or other is None:
            return None
        axis, sign = relation.axis
        first, second = (one.box, other.box) if sign < 0 else (other.box, one.box)
        return (first.right <= second.left + _SLACK) if axis == "x" else (first.bottom <= second.top + _SLACK)

    def summary(self) -> str:
        """One line per object, and the notes."""
        if not self.placements:
            return "No object has a place."
        lines = []
        for placement in self.placements:
            x, y = placement.box.centre
            across, down = placement.box.width, placement.box.height
            lines.append(
                f"{placement.name}: centre {x:.0%} from the left, {y:.0%} from the top, {across:.0%} × {down:.0%}"
            )
        return "\n".join([*lines, *self.notes])
