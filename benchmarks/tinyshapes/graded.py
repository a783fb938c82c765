"""Pictures, captions and how true each caption is of each picture: what TinyCLIP learns from.

A contrastive model that only ever sees true and random captions need not care who has which colour. So every scene
comes with its near misses: colours swapped, one object missing, another colour or noun, and crops around single
objects. And a caption is not only true or false of a picture: it is graded from 0 to 1, so that half-right pictures
get half the score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from . import data

SIDE = 64  # pixels per side of the pictures drawn here, which is what TinyCLIP sees
HALF_RIGHT = 0.35  # the right noun in a wrong colour, or the other way round
WRONG_PLACE = 0.75  # factor for objects that are all there but stand otherwise than the caption says


@dataclass(frozen=True)
class Seen:
    """What a picture shows: the objects, and how opaque each is drawn (0..1)."""

    shapes: tuple[data.Shape, ...]
    opacity: tuple[float, ...]


@dataclass(frozen=True)
class Said:
    """What a caption says: (noun, colour) pairs, and the relation of the first to the second if it states one."""

    names: tuple[tuple[str, str], ...]
    relation: str | None = None
    photo: bool = False

    @property
    def text(self) -> str:
        if self.relation:
            first, second = (f"a {colour} {noun}" for noun, colour in self.names)
            return f"{first} {self.relation} {second}"
        return ("a photo of " if self.photo else "") + data.enumerate_caption(list(self.names))


def truth(seen: Seen, said: Said) -> float:
    """0..1: how well the caption fits the picture, as an F1 of the objects under their best assignment."""
    present = sum(seen.opacity)
    if not said.names or present == 0:
        return 0.0
    likeness = np.array(
        [
            [alike(name, (shape.noun, shape.colour)) * alpha for shape, alpha in zip(seen.shapes, seen.opacity)]
            for name in said.names
        ]
    )
    if likeness.shape[0] > likeness.shape[1]:
        likeness = likeness.T
    columns = range(likeness.shape[1])
    matched = max(
        sum(likeness[row, column] for row, column in enumerate(chosen))
        for chosen in permutations(columns, likeness.shape[0])
    )
    score = 2.0 * matched / (len(said.names) + present)
    return score if _stand_as_said(seen, said) else WRONG_PLACE * score


def alike(a: tuple[str, str], b: tuple[str, str]) -> float:
    same = (a[0] == b[0]) + (a[1] == b[1])
    return (0.0, HALF_RIGHT, 1.0)[same]


def _stand_as_said(seen: Seen, said: Said) -> bool:
    if said.relation is None:
        return True
    places = {(shape.noun, shape.colour): shape for shape in seen.shapes}
    if not all(name in places for name in said.names):
        return True  # what is wrong has been counted already
    return data.relation_between(places[said.names[0]], places[said.names[1]]) == said.relation


def draw(rng: np.random.Generator, seen: Seen, window: tuple[float, float, float, float] | None = None) -> np.ndarray:
    """The picture [SIDE, SIDE, 3], of all or of a square window (left, top, right, bottom in pixels of 128): tinted,
    and mostly softened and stained as a decoded latent is."""
    left, top, right, _ = window or (0.0, 0.0, data.SIZE, data.SIZE)
    zoom = data.SIZE / (right - left)
    picture = np.full((SIDE, SIDE, 3), data.GROUND + rng.uniform(-0.06, 0.06), dtype=np.float32)
    for shape, alpha in zip(seen.shapes, seen.opacity):
        moved = replace(shape, x=(shape.x - left) * zoom, y=(shape.y - top) * zoom, scale=shape.scale * zoom)
        colour = np.clip(np.asarray(data.COLOURS[shape.colour]) + rng.normal(0.0, 0.04, 3), 0.0, 1.0)
        covered = (alpha * data.coverage(moved, SIDE))[..., None].astype(np.float32)
        picture = picture * (1.0 - covered) + covered * colour.astype(np.float32)
    return _as_decoded(rng, picture, zoom) if rng.random() < 0.8 else picture


def _as_decoded(rng: np.random.Generator, picture: np.ndarray, zoom: float) -> np.ndarray:
    """Means of the latent's cells (8 pixels of 128: 4 of 64, more in a crop), stained, and interpolated: what the VAE
    makes of it.
    """
    cell = 8 if 4 * zoom > 6.5 else 4
    cells = picture.reshape(SIDE // cell, cell, SIDE // cell, cell, 3).mean((1, 3))
    cells = cells + rng.normal(0.0, rng.uniform(0.0, 0.08), cells.shape)
    cells = cells + rng.uniform(0.0, 0.6) * (cells - _smooth(cells))  # the decoder sharpens a little
    return np.clip(_enlarge(cells, cell), 0.0, 1.0).astype(np.float32)


def _smooth(cells: np.ndarray) -> np.ndarray:
    padded = np.pad(cells, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] + 4 * cells) / 8


def _enlarge(cells: np.ndarray, by: int) -> np.ndarray:
    """Bilinear, cell centres kept."""
    count = cells.shape[0]
    at = np.clip((np.arange(count * by) + 0.5) / by - 0.5, 0, count - 1)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, count - 1), (at - low)[:, None, None]
    rows = cells[low] * (1 - share) + cells[high] * share
    return rows[:, low] * (1 - share[:, 0]) + rows[:, high] * share[:, 0]


def near_misses(rng: np.random.Generator, shapes: list[data.Shape]) -> list[list[data.Shape]]:
    """Two scenes that are nearly `shapes`: attributes wrong (swapped where there are several), and an object gone or
    another.
    """
    wrong = list(shapes)
    if len(shapes) > 1 and rng.random() < 0.7:
        i, j = rng.permutation(len(shapes))[:2]
        wrong[i], wrong[j] = replace(shapes[i], colour=shapes[j].colour), replace(shapes[j], colour=shapes[i].colour)
    else:
        i = int(rng.integers(len(shapes)))
        free = [colour for colour in data.COLOURS if colour not in {shape.colour for shape in shapes}]
        wrong[i] = replace(shapes[i], colour=str(rng.choice(free)))
    other = list(shapes)
    i = int(rng.integers(len(shapes)))
    if len(shapes) > 1 and rng.random() < 0.6:
        del other[i]
    else:
        free = [noun for noun in data.NOUNS if noun not in {shape.noun for shape in shapes}]
        other[i] = replace(shapes[i], noun=str(rng.choice(free)))
    return [wrong, other]


def _fading(rng: np.random.Generator, shapes: list[data.Shape], share: float = 0.15) -> Seen:
    """A share of the objects is only half there."""
    opacity = tuple(float(rng.uniform(0.2, 0.9)) if rng.random() < share else 1.0 for _ in shapes)
    return Seen(tuple(shapes), opacity)


def crop_around(
    rng: np.random.Generator, shapes: list[data.Shape], index: int
) -> tuple[tuple[float, float, float, float], Seen]:
    """A square window around an object, tight or wide, and what it shows: objects that lie in it by at least half."""
    box = shapes[index].box
    side = min(max(box[2] - box[0], box[3] - box[1]) * float(rng.uniform(1.0, 1.9)), float(data.SIZE))
    loose = [max(0.0, side - (box[2] - box[0])), max(0.0, side - (box[3] - box[1]))]
    left = float(np.clip(box[0] - rng.uniform(-0.05, 1.05) * loose[0], 0, data.SIZE - side))
    top = float(np.clip(box[1] - rng.uniform(-0.05, 1.05) * loose[1], 0, data.SIZE - side))
    window = (left, top, left + side, top + side)
    shown = [(shape, inside(shape.box, window)) for shape in shapes]
    kept = [(shape, share) for shape, share in shown if share > 0.1]
    return window, Seen(tuple(shape for shape, _ in kept), tuple(min(1.0, share / 0.8) for _, share in kept))


def inside(box: tuple[float, ...], window: tuple[float, ...]) -> float:
    """The share of a box's area that lies in a window."""
    width = max(0.0, min(box[2], window[2]) - max(box[0], window[0]))
    height = max(0.0, min(box[3], window[3]) - max(box[1], window[1]))
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]))


def _said(rng: np.random.Generator, shapes: list[data.Shape]) -> Said:
    """A caption of a whole scene, true of it."""
    if len(shapes) == 2 and rng.random() < 0.2:
        return Said(tuple((shape.noun, shape.colour) for shape in shapes), data.relation_between(*shapes))
    order = rng.permutation(len(shapes))
    return Said(tuple((shapes[i].noun, shapes[i].colour) for i in order), photo=bool(rng.random() < 0.3))


def near_caption(rng: np.random.Generator, said: Said) -> Said:
    """A caption that is nearly the same: two colours swapped, or a noun or a colour changed."""
    names = list(said.names)
    kind, i = rng.random(), int(rng.integers(len(names)))
    if len(names) > 1 and kind < 0.5:
        j = (i + 1) % len(names)
        names[i], names[j] = (names[i][0], names[j][1]), (names[j][0], names[i][1])
    elif kind < 0.8:
        names[i] = (str(rng.choice([noun for noun in data.NOUNS if noun not in dict(names)])), names[i][1])
    else:
        names[i] = (
            names[i][0],
            str(rng.choice([colour for colour in data.COLOURS if colour not in dict(names).values()])),
        )
    return replace(said, names=tuple(names))


def group(rng: np.random.Generator, counts: tuple[float, ...]) -> tuple[list[np.ndarray], list[Seen], list[Said]]:
    """A scene, its two near misses and a crop: four pictures, what they show, and their captions."""
    shapes = data.place(rng, data.sample_names(rng, 1 + int(rng.choice(len(counts), p=counts))))
    scenes = [shapes, *near_misses(rng, shapes)]
    pictures, seen, said = [], [], []
    for scene in scenes:
        seen.append(_fading(rng, scene))
        pictures.append(draw(rng, seen[-1]))
        said.append(_said(rng, scene))
    scene = scenes[int(rng.integers(3))]
    index = int(rng.integers(len(scene)))
    # A place where an object was asked for but not drawn is worth knowing too.
    gone = rng.random() < 0.15
    window, shown = crop_around(rng, scene, index)
    if gone:
        kept = [(s, a) for s, a in zip(shown.shapes, shown.opacity) if s != scene[index]]
        shown = Seen(tuple(s for s, _ in kept), tuple(a for _, a in kept))
    pictures.append(draw(rng, shown, window))
    seen.append(shown)
    said.append(Said(((scene[index].noun, scene[index].colour),), photo=bool(rng.random() < 0.7)))
    return pictures, seen, said
