"""What a relation between two objects asks of their boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import MethodError
from ..prompt.targets import Relation

# What can be arranged in a moment; the time grows with the square of their number and more.
MOST_OBJECTS = 60

# Predicates whose subject (or object) lies within the other's box.
_SUBJECT_WITHIN = frozenset({"in", "inside", "within"})
_OBJECT_WITHIN = frozenset({"wearing", "around"})
# Predicates whose boxes overlap in depth: nearer things stand lower in a picture.
_DEPTH = {"in front of": (1, 0), "behind": (0, 1)}
_SIDE_BY_SIDE = frozenset({"next to", "opposite"})
# How much of their heights a nearer and a farther thing keep apart: they overlap by about half.
_DEPTH_APART = 0.5


@dataclass(frozen=True)
class Apart:
    """`first` comes before `second` along `axis` (0 is x, 1 is y): centres at least `share` of the boxes' half sizes
    apart.

    `share` 1 keeps the boxes from overlapping. `touching` asks for no gap, as of a thing that lies on another.
    """

    first: int
    second: int
    axis: int
    share: float = 1.0
    touching: bool = False


@dataclass
class Constraints:
    """What a set of relations asks for. Pairs that nothing is said about must only not overlap."""

    apart: list[Apart] = field(default_factory=list)
    within: list[tuple[int, int]] = field(default_factory=list)  # (inner, outer)
    level: list[tuple[int, int, int]] = field(default_factory=list)  # (i, j, axis): centres alike on that axis
    near: list[tuple[int, int]] = field(default_factory=list)
    given_up: list[Relation] = field(default_factory=list)
    after: dict[tuple[int, int], set[int]] = field(default_factory=dict)  # (axis, first): what comes right after it

    @property
    def ordered(self) -> set[frozenset[int]]:
        """Pairs that are already kept apart, or may overlap."""
        return {frozenset((c.first, c.second)) for c in self.apart} | {frozenset(pair) for pair in self.within}


def read(relations: tuple[Relation, ...], count: int) -> Constraints:
    """The constraints of `relations` among `count` objects. One that contradicts those before it is given up. Raises
    `MethodError` for more objects than can be arranged.

    Relations of direction go first, so that a vague one ("in") never displaces a definite one.
    """
    if count > MOST_OBJECTS:
        raise MethodError(
            f"{count} objects are too many for a layout: at most {MOST_OBJECTS} can be placed. Name those that matter "
            "in the list of words of Extract Targets."
        )
    constraints = Constraints()
    directed = [r for r in relations if r.axis is not None]
    for relation in directed:
        axis, sign = relation.axis
        ends = (relation.subject, relation.object) if sign < 0 else (relation.object, relation.subject)
        index = 0 if axis == "x" else 1
        if not _order(constraints, Apart(*ends, index, touching=relation.predicate == "on")):
            constraints.given_up.append(relation)
            continue
        constraints.level.append((*ends, 1 - index))
        constraints.near.append(ends)
    for relation in relations:
        if relation.axis is None:
            _vague(constraints, relation, relations)
    return constraints


def _vague(constraints: Constraints, relation: Relation, relations: tuple[Relation, ...]) -> None:
    """A relation that names no direction of the picture."""
    subject, predicate, other = relation.subject, relation.predicate, relation.object
    constraints.near.append((subject, other))
    if frozenset((subject, other)) in constraints.ordered:
        return
    if predicate in _SUBJECT_WITHIN or predicate in _OBJECT_WITHIN:
        inner, outer = (subject, other) if predicate in _SUBJECT_WITHIN else (other, subject)
        if _lies_in(constraints, outer, inner):
            constraints.given_up.append(relation)
        else:
            constraints.within.append((inner, outer))
    elif predicate in _DEPTH:
        ends = (other, subject) if _DEPTH[predicate] == (1, 0) else (subject, other)
        _order(constraints, Apart(*ends, 1, share=_DEPTH_APART))
        constraints.level.append((subject, other, 0))
    elif predicate == "between":
        # The first of the two goes to one side, the second to the other.
        both = [r.object for r in relations if r.subject == subject and r.predicate == "between"]
        ends = (other, subject) if other == both[0] else (subject, other)
        _order(constraints, Apart(*ends, 0))
        constraints.level.append((subject, other, 1))
    elif predicate in _SIDE_BY_SIDE:
        constraints.level.append((subject, other, 1))


def _lies_in(constraints: Constraints, inner: int, outer: int) -> bool:
    """Whether a thing already lies in another, directly or within what lies in it."""
    around = {inner}
    for _ in constraints.within:
        wider = around | {o for i, o in constraints.within if i in around}
        if wider == around:
            break
        around = wider
    return outer in around


def _order(constraints: Constraints, new: Apart) -> bool:
    """Adds an order unless it closes a circle ("a left of b, b left of a"); whether it did."""
    seen, waiting = {new.second}, [new.second]
    while waiting:
        here = waiting.pop()
        if here == new.first:
            return False
        coming = constraints.after.get((new.axis, here), set()) - seen
        seen |= coming
        waiting += coming
    constraints.after.setdefault((new.axis, new.first), set()).add(new.second)
    if new not in constraints.apart:
        constraints.apart.append(new)
    return True
