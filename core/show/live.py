"""One step's maps as a small picture, to be drawn while the next step is already wanted: tints alone, on grey."""

from __future__ import annotations

import torch
from torch import Tensor

from ..maps.recorder import shown_words
from ..prompt.naming import told_apart
from ..prompt.targets import Targets
from .colours import colours_of
from .pictures import fine, tint

# The picture's shorter side, in pixels, and its ground.
_SIDE = 128
_GROUND = 0.86


class StepPictures:
    """Draws the objects of a prompt, each in its colour, as View Attention Maps does after the run."""

    def __init__(self, targets: Targets) -> None:
        recorded = [name for name, _ in shown_words(targets)]
        looks = [
            (recorded.index(name), colour)
            for name, colour in zip(told_apart(targets.objects), colours_of(targets), strict=True)
            if name in recorded
        ]
        self.columns = [column for column, _ in looks]
        self.inks = torch.tensor([colour for _, colour in looks]).float() / 255

    def draw(self, maps: Tensor) -> Tensor:
        """[H, W, 3] in 0..1 of a picture's maps of the `shown_words` [T, h, w], on the scale of their highest value."""
        objects = maps[self.columns]
        height, width = objects.shape[1:]
        side = _SIDE / min(height, width)
        heat = fine(objects, (round(height * side), round(width * side)))
        heat = heat / heat.max().clamp_min(1e-12)
        return tint(torch.full((*heat.shape[1:], 3), _GROUND), heat, self.inks)
