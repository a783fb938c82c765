"""What is in a picture of emoji: a deterministic detector, and the score of what was found against a prompt.

Every emoji in every colour and size is a template, in every place of the grid. The templates explain the picture
greedily: the one that takes away most of the squared difference from the plain ground is an object; its box is wiped,
and so on until what is left is too little to be one. Squared differences of all templates in all places are two matrix
products, so a picture takes a few hundredths of a second.

Works on decoded pictures, which are soft, and on the model's own, which are not quite the emoji.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np

from . import data

STEP = 2  # pixels per side of a detector's cell
GRID = data.SIZE // STEP
PLACES = data.CELL // STEP  # cells between two places of the grid
LEAST = 2.2  # squared difference from the ground, summed over cells and colours, that an object has to explain
LIMIT = 0.5  # a residual above this is none of the nouns


@dataclass(frozen=True)
class Found:
    """An object in a picture. `noun` is None if it is like none of them; `colour` is data.OWN for an emoji's own
    colours; `box` is left, top, right, bottom in pixels; `residual` is what the best template leaves of the squared
    difference from the ground in its box (0 is perfect)."""

    noun: str | None
    colour: str
    box: tuple[float, float, float, float]
    residual: float

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Score:
    """How a picture does justice to its prompt; shares are of the wanted objects, in 0..1.

    presence: the noun is there, in whatever colour. binding: the noun is there in its own colour. extra: how many
    objects nobody asked for. success: everything asked for is there in its own colour.
    """

    presence: float
    binding: float
    extra: int
    success: bool


@dataclass(frozen=True)
class _Templates:
    """All (noun, colour) of one size: `paint` [templates, cells, 3] premultiplied colours, `through` [nouns, cells]."""

    size: int
    names: list[tuple[str, str]]
    paint: np.ndarray
    through: np.ndarray


@cache
def _templates(size: int) -> _Templates:
    names, paint, through = [], [], []
    for noun in data.NOUNS:
        for colour in (data.OWN, *data.COLOURS):
            colours, gaps = data.stamps()[noun, colour, size]
            names.append((noun, colour))
            paint.append(_shrink(colours).reshape(-1, 3))
        through.append(_shrink(gaps).reshape(-1))
    return _Templates(size, names, np.stack(paint).astype(np.float32), np.stack(through).astype(np.float32))


def _shrink(picture: np.ndarray) -> np.ndarray:
    """Means over STEP x STEP pixels: [h, w, c] -> [h / STEP, w / STEP, c]."""
    height, width, channels = picture.shape
    return picture.reshape(height // STEP, STEP, width // STEP, STEP, channels).mean((1, 3))


def ground_of(cells: np.ndarray) -> np.ndarray:
    """The ground's colour [3]: the commonest of the cells' colours [h, w, 3], then the mean of those like it."""
    flat = cells.reshape(-1, 3)
    coarse, counts = np.unique((flat * 24).round(), axis=0, return_counts=True)
    near = np.abs(flat - coarse[counts.argmax()] / 24).max(1) < 0.06
    return np.median(flat[near], axis=0) if near.any() else np.median(flat, axis=0)


@dataclass(frozen=True)
class _Candidates:
    """Every template in every place: what each explains of the difference from the ground, and what it leaves."""

    size: int
    gain: np.ndarray  # [templates, places, places]
    before: np.ndarray  # [places, places]: squared difference from the ground inside the box


def _candidates(difference: np.ndarray, ground: np.ndarray, size: int) -> _Candidates:
    kit = _templates(size)
    side = size // STEP
    windows = np.lib.stride_tricks.sliding_window_view(difference, (side, side), (0, 1))[::PLACES, ::PLACES]
    places = windows.shape[0]
    flat = windows.transpose(0, 1, 3, 4, 2).reshape(places * places, -1)  # [places, cells * 3]
    own = _own_difference(kit, ground).reshape(len(kit.names), -1)  # [templates, cells * 3]
    gain = 2.0 * own @ flat.T - (own * own).sum(1)[:, None]
    before = (flat * flat).sum(1)
    return _Candidates(size, gain.reshape(-1, places, places), before.reshape(places, places))


def _own_difference(kit: _Templates, ground: np.ndarray) -> np.ndarray:
    """A template's difference from the ground [templates, cells, 3]: its paint, and less of the ground where it covers
    it.
    """
    colours = len(kit.names) // len(kit.through)
    return kit.paint - np.repeat(1.0 - kit.through, colours, 0)[..., None] * ground


def detect(picture: np.ndarray, most: int = 6) -> list[Found]:
    """The objects in a picture [128, 128, 3] of floats in 0..1, most conspicuous first."""
    cells = _shrink(picture[..., :3].astype(np.float32))
    ground = ground_of(cells).astype(np.float32)
    difference = cells - ground
    found: list[Found] = []
    while len(found) < most:
        kit = max((_candidates(difference, ground, size) for size in data.SIZES), key=lambda kit: kit.gain.max())
        template, row, column = np.unravel_index(int(kit.gain.argmax()), kit.gain.shape)
        gain = float(kit.gain[template, row, column])
        if gain < LEAST:
            break
        noun, colour = _templates(kit.size).names[template]
        x, y = column * data.CELL, row * data.CELL
        residual = 1.0 - gain / float(kit.before[row, column])
        box = (float(x), float(y), float(x + kit.size), float(y + kit.size))
        found.append(Found(noun if residual <= LIMIT else None, colour, box, residual))
        # What it explains is done with, and so is what it leaves there: the next object has to stand elsewhere.
        part = difference[y // STEP : (y + kit.size) // STEP, x // STEP : (x + kit.size) // STEP]
        part[:] = 0.0
    return found


def score(found: list[Found], wanted: list[tuple[str, str]]) -> Score:
    """Compare what was found with `wanted` (noun, colour) pairs; data.OWN wants the emoji's own colours."""
    nouns, pairs = Counter(item.noun for item in found), Counter((item.noun, item.colour) for item in found)
    presence = (nouns & Counter(noun for noun, _ in wanted)).total() / len(wanted)
    binding = (pairs & Counter(wanted)).total() / len(wanted)
    return Score(presence, binding, max(0, len(found) - len(wanted)), binding == 1.0)
