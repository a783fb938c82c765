"""Space-Time Attention's weights [objects, steps] as something that is learned, kept and written down.

Wu et al. (ICCV 2023, arXiv 2304.03869) optimise the weights with Adam on a CLIP loss of the finished picture. With
their learning rate of .005 and 3 epochs a weight moves by .015 at most, which no picture shows; the defaults here move
it further.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from ..errors import MethodError
from ..layout.boxes import Layout
from ..methods.space_time import SpaceTime, SpaceTimeSettings
from ..settings import from_plain

EPOCHS = 5
RATE = 0.1
MOST = 10.0  # a weight of the published rule: as high as the setting goes


@dataclass
class Epoch:
    """One evaluation: the loss, and its parts by name (the full prompt's, each object's), each 1 − cosine."""

    loss: float
    parts: dict[str, float]
    weights: Tensor  # [O, K], as evaluated


@dataclass
class Learning:
    """What an optimisation did. `best` is the epoch whose weights are kept."""

    epochs: list[Epoch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> Epoch:
        return min(self.epochs, key=lambda epoch: epoch.loss)

    @property
    def change(self) -> Tensor:
        """[O, K]: how much the kept weights differ from those at the start."""
        return (self.best.weights - self.epochs[0].weights).abs()

    def report(self, names: tuple[str, ...]) -> str:
        """In the artist's words."""
        first, best = self.epochs[0], self.best
        number = self.epochs.index(best)
        kept = (
            f"after {number} update{'s' if number != 1 else ''}"
            if number
            else "at the start: no update made it lower, so the weights are as they were"
        )
        lines = [f"Loss {first.loss:.3f} → {best.loss:.3f} ({kept})."]
        lines += [f"  {name}: {first.parts[name]:.3f} → {best.parts[name]:.3f}" for name in first.parts]
        lines.append(
            f"The weights changed by {float(self.change.mean()):.3f} on average, {float(self.change.max()):.3f} "
            "at most:"
        )
        for name, before, after in zip(names, first.weights, best.weights):
            lines.append(
                f"  {name}: {float(before.mean()):.2f} → {float(after.mean()):.2f} ({float(after.min()):.2f} to "
                f"{float(after.max()):.2f} over the run)"
            )
        return "\n".join([*lines, *self.notes])


def start_weights(method: SpaceTime, layout: Layout, count: int) -> Tensor:
    """[O, count]: the method's own weights at `count` points spread over its window."""
    s = method.settings
    points = [s.start + (s.end - s.start) * (k + 0.5) / count for k in range(count)]
    return torch.stack([method.weights(point, layout) for point in points], dim=1)


def optimise(
    weights: Tensor,
    evaluate: Callable[[Tensor, bool], tuple[Epoch, Tensor | None]],
    *,
    epochs: int = EPOCHS,
    rate: float = RATE,
    most: float = 1.0,
) -> Learning:
    """Adam on weights [O, K] in 0..`most`, `epochs` updates; every evaluation is kept and the best is to be used.

    `evaluate(weights, with_gradient)` gives an Epoch and the gradient. A gradient that is not finite ends the search
    with a note.
    """
    learning = Learning()
    current = weights.detach().clone().requires_grad_()
    adam = torch.optim.Adam([current], lr=rate)
    for number in range(epochs + 1):
        epoch, slope = evaluate(current.detach().clone(), number < epochs)
        if not torch.isfinite(torch.tensor(epoch.loss)):
            if not learning.epochs:
                raise MethodError(
                    "The loss of the very first picture is not a number, so there is nothing to optimise. Try a "
                    "model or VAE of higher precision."
                )
            learning.notes.append(f"The loss was not a number after {number} updates, so the search ended there.")
            break
        learning.epochs.append(epoch)
        if slope is None:
            break
        if not bool(torch.isfinite(slope).all()):
            learning.notes.append(f"The gradient was not finite after {number} updates, so the search ended there.")
            break
        current.grad = slope
        adam.step()
        with torch.no_grad():
            current.clamp_(0.0, most)
    return learning


def most_of(settings: SpaceTimeSettings) -> float:
    """The highest weight that a rule knows."""
    return 1.0 if settings.rule == "convex" else MOST


def to_text(method: SpaceTime) -> str:
    """The method with its table as JSON that can be kept in a workflow."""
    default = SpaceTimeSettings()
    changed = {name: value for name, value in asdict(method.settings).items() if value != getattr(default, name)}
    rows = [[round(value, 4) for value in row] for row in method.table.tolist()]
    return json.dumps({"space_time": changed, "objects": list(method.names), "weights": rows})


def from_text(text: str) -> SpaceTime:
    """The method that `to_text` wrote. Raises MethodError, saying what is wrong, for any other text."""
    wanted = (
        'The weights must be the text that Optimise Space-Time gives, such as {"space_time": {}, '
        '"objects": ["cat", "dog"], "weights": [[0.5, 0.4], [0.5, 0.6]]}'
    )
    try:
        read = json.loads(text)
    except json.JSONDecodeError as problem:
        raise MethodError(f"{wanted}; this text is no JSON (line {problem.lineno}, column {problem.colno}).") from None
    if not isinstance(read, dict):
        raise MethodError(f"{wanted}; this is no object in braces.")
    settings, names, rows = read.get("space_time", {}), read.get("objects"), read.get("weights")
    if not isinstance(settings, dict):
        raise MethodError(f'{wanted}; "space_time" must hold settings in braces.')
    try:
        settings = from_plain(SpaceTimeSettings, settings)
    except MethodError as problem:
        raise MethodError(f'{wanted}. In "space_time": {problem}') from None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise MethodError(f'{wanted}; "objects" must be a list of names.')
    numbers = isinstance(rows, list) and all(
        isinstance(row, list) and row and all(type(value) in (int, float) and 0 <= value <= MOST for value in row)
        for row in rows
    )
    if not numbers or len(rows) != len(names) or len({len(row) for row in rows}) != 1:
        raise MethodError(
            f'{wanted}; "weights" must hold one list of numbers from 0 to {MOST:g} for each object, all of the same '
            f"length."
        )
    return SpaceTime(settings, table=rows, names=tuple(names))
