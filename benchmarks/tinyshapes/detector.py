"""What is in a picture of coloured shapes: a deterministic detector, and the score of what was found against a prompt.

1. Project each pixel's difference from the grey ground on the way from the ground to each colour: a coverage per
colour. 2. Pixels mostly covered by the same colour that touch form a component. 3. Fit each noun's template to the
component's coverage at a few sizes and places; the least squared residual names it.

Works on decoded pictures, which are soft: the latent holds one mean per 8 x 8 pixels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from . import data

GRID = 64  # the picture is reduced to this many cells per side: two pixels a cell
CELL = data.SIZE / GRID
COVERED = 0.45  # a cell belongs to a colour that covers at least this much of it
CONTRAST = 0.12  # and differs from the ground by at least this much (Euclidean, of colours in 0..1)
LEAST_AREA = 40  # cells; the smallest noun covers about 220
SOFTNESS = 1.6  # cells: standard deviation of the blur that encoding and decoding amount to
SIZES = (0.9, 1.0, 1.1)
SHIFTS = (-3, -2, -1, 0, 1, 2, 3)  # cells around the place where the centres of mass agree
WINDOW = 48  # cells per side of the patch in which templates are compared
LIMIT = 0.30  # a residual above this is none of the nouns


@dataclass(frozen=True)
class Found:
    """An object in a picture. `noun` is None if it is like none of them; `box` is left, top, right, bottom in pixels;
    `residual` is the squared difference from the best template relative to the template's own square (0 is perfect)."""

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

    presence: the noun is there, in whatever colour. binding: the noun is there in its own colour.
    relation: the share of wanted relations that hold (1 if none is wanted). extra: how many objects nobody asked for.
    success: everything asked for is there, in its own colour and place.
    """

    presence: float
    binding: float
    relation: float
    extra: int
    success: bool


@cache
def _templates() -> tuple[list[str], np.ndarray]:
    """All nouns at all sizes, centre of mass in the middle: their names and soft coverages
    [templates, WINDOW, WINDOW].
    """
    names, patches = [], []
    for noun in data.NOUNS:
        for size in SIZES:
            drawn = data.coverage(data.Shape(noun, "black", data.SIZE / 2, data.SIZE / 2, size), GRID)
            soft = ndimage.gaussian_filter(drawn, SOFTNESS)
            middle = np.array(ndimage.center_of_mass(soft))
            patches.append(_patch(soft, middle))
            names.append(noun)
    return names, np.stack(patches)


def _patch(cells: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The WINDOW x WINDOW cells around `middle` (row, column), which comes to lie on the patch's centre; nought
    outside.
    """
    offset = middle - (WINDOW - 1) / 2
    return ndimage.shift(np.pad(cells, WINDOW), -(offset + WINDOW), order=1)[:WINDOW, :WINDOW]


def colour_coverage(picture: np.ndarray) -> np.ndarray:
    """[size, size, 3] in 0..1 -> [colours, GRID, GRID]: how much of each cell its one likeliest colour covers, else
    nought.
    """
    step = picture.shape[0] // GRID
    cells = picture[..., :3].astype(np.float64).reshape(GRID, step, GRID, step, 3).mean((1, 3))
    ground = np.median(cells.reshape(-1, 3), axis=0)
    difference = cells - ground  # [GRID, GRID, 3]
    ways = np.array([data.COLOURS[colour] for colour in data.COLOURS]) - ground  # [colours, 3]
    amount = np.clip(difference @ ways.T / (ways**2).sum(1), 0.0, 1.0)  # [GRID, GRID, colours]
    rest = ((difference[:, :, None] - amount[..., None] * ways) ** 2).sum(-1)
    likeliest = rest.argmin(-1)
    amount[np.linalg.norm(difference, axis=-1) < CONTRAST] = 0.0
    return np.stack([amount[..., k] * (likeliest == k) for k in range(len(ways))])


def _fit(cells: np.ndarray) -> tuple[str, float]:
    """The noun whose template is nearest to a component's coverage [GRID, GRID], and the residual."""
    names, templates = _templates()
    patch = _patch(cells, np.array(ndimage.center_of_mass(cells)))
    power = (templates**2).sum((1, 2))
    best_name, best = "", np.inf
    for dy in SHIFTS:
        for dx in SHIFTS:
            moved = np.roll(patch, (dy, dx), (0, 1))
            residuals = ((templates - moved) ** 2).sum((1, 2)) / power
            index = int(residuals.argmin())
            if residuals[index] < best:
                best_name, best = names[index], float(residuals[index])
    return best_name, best


def detect(picture: np.ndarray) -> list[Found]:
    """All objects in a picture [size, size, 3] of floats in 0..1 (size a multiple of 64), in
    reading order of colours.
    """
    found = []
    for colour, amount in zip(data.COLOURS, colour_coverage(picture)):
        components, count = ndimage.label(amount > COVERED, structure=np.ones((3, 3)))
        for index in range(1, count + 1):
            inside = components == index
            if inside.sum() < LEAST_AREA:
                continue
            near = ndimage.binary_dilation(inside, iterations=3) & ((components == index) | (components == 0))
            noun, residual = _fit(amount * near)
            rows, columns = np.nonzero(inside)
            box = tuple(float(CELL * side) for side in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
            found.append(Found(noun if residual <= LIMIT else None, colour, box, residual))
    return found


def relation_holds(a: Found, relation: str, b: Found) -> bool:
    """Whether `a` is `relation` (one of data.RELATIONS) `b`, by their centres."""
    (ax, ay), (bx, by) = a.centre, b.centre
    return {"to the left of": ax < bx, "to the right of": ax > bx, "above": ay < by, "below": ay > by}[relation]


def score(
    found: list[Found], wanted: list[tuple[str, str]], relations: list[tuple[int, str, int]] | None = None
) -> Score:
    """Compare what was found with `wanted` (noun, colour) pairs and `relations` (index into wanted,
    relation, index).
    """
    nouns, pairs = Counter(item.noun for item in found), Counter((item.noun, item.colour) for item in found)
    wanted_nouns, wanted_pairs = Counter(noun for noun, _ in wanted), Counter(wanted)
    presence = (nouns & wanted_nouns).total() / len(wanted)
    binding = (pairs & wanted_pairs).total() / len(wanted)
    held = []
    for first, relation, second in relations or []:
        these, those = (
            [item for item in found if (item.noun, item.colour) == wanted[index]] for index in (first, second)
        )
        held.append(any(relation_holds(a, relation, b) for a in these for b in those))
    share = sum(held) / len(held) if held else 1.0
    return Score(presence, binding, share, max(0, len(found) - len(wanted)), binding == 1.0 and share == 1.0)
