"""One run as the viewer shows it: names, colours and maps of its objects, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..control.record import Record, RunLog
from ..maps.recorder import shown_words
from ..prompt.naming import told_apart
from ..prompt.targets import Targets
from .colours import Colour, colours_of
from .ignored import of_prompt
from .report import notes
from .verdict import Seen, summary, verdicts

_NO_OBJECTS = "No object was found in the prompt, so there is nothing to look for: this is the picture as it is."


@dataclass(frozen=True)
class Viewed:
    """What of a run is shown with its pictures: T objects (and attributes, if asked for) with `names` and `colours`,
    `maps` [B, T, h, w], the picked `frames` (step, [B, T, h, w]), and `seen`, what is held for drawn in each picture.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    maps: Tensor
    frames: list[tuple[int, Tensor]]
    seen: list[list[Seen]]

    @property
    def marks(self) -> list[list[str]]:
        """Words beside each name: whether it is held for drawn; none where attributes are shown too."""
        if not self.seen or len(self.seen[0]) != len(self.names):
            return []
        return [["✓" if one.there else f"✗ {one.reason}" for one in picture] for picture in self.seen]


def viewed(run: RunLog, targets: Targets, images: Tensor, attributes: bool = False) -> Viewed:
    """What there is to show of a run with its pictures [B, H, W, 3]; nothing for a prompt without objects.

    Raises MethodError if nothing was recorded of these targets.
    """
    if not targets.objects:
        return Viewed((), (), torch.zeros(len(images), 0, 1, 1), [], [])
    names, maps = run.maps.shown(targets, attributes)
    columns = [run.maps.names.index(name) for name in names]
    frames = [(step, one[:, columns]) for step, one in run.maps.frames]
    looks = _looks(targets)
    labels, colours = zip(*(looks.get(name, (name, (110, 110, 116))) for name in names), strict=True)
    return Viewed(labels, colours, maps, frames, verdicts(run, images))


def said(record: Record, run: RunLog, view: Viewed, sure: bool) -> str:
    """What stands on the node: the verdict first, then what the artist should know. No settings."""
    prompt = of_prompt(run.targets) if run.targets is not None else []
    first = summary(view.seen, run.strength) if view.names else (prompt or [_NO_OBJECTS])[0]
    rest = [note for note in notes(run, sure) if note != first]
    return "\n\n".join(filter(None, [first, "\n".join(f"- {note}" for note in rest)]))


def _looks(targets: Targets) -> dict[str, tuple[str, Colour]]:
    """By recorded name: what an object is called in the pictures, and its colour, which its attributes share."""
    phrases = [target.phrase for target in targets.objects]
    apart = told_apart(targets.objects)
    found: dict[str, tuple[str, Colour]] = {}
    for name, target, colour in zip(apart, targets.objects, colours_of(targets), strict=True):
        found[name] = (target.phrase if phrases.count(target.phrase) == 1 else name, colour)
        for attribute in target.attributes:
            described = f"{attribute.text} ({target.name})"
            found.setdefault(described, (described, colour))
    return {name: found[name] for name, _ in shown_words(targets) if name in found}
