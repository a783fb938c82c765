"""Pictures of coloured shapes and their captions: the training data of TinyShapes, made as it is needed.

A picture is 128 x 128 pixels, one to three objects on a light grey ground. The nouns differ at *low* frequency (wide or
tall, filled or hollow, open above or below), because the model sees one latent cell per 8 x 8 pixels: a circle and a
square of the same size are nearly the same picture to it. Nothing here needs the host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

SIZE = 128  # pixels per side; every length below is in these pixels
GROUND = 0.72  # mean grey of the ground
MARGIN = 3.0  # least distance between two objects' boxes, and between a box and the picture's edge

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.88, 0.12, 0.12),
    "green": (0.10, 0.62, 0.18),
    "blue": (0.12, 0.25, 0.88),
    "yellow": (0.96, 0.86, 0.10),
    "purple": (0.58, 0.12, 0.68),
    "black": (0.06, 0.06, 0.06),
    "white": (1.00, 1.00, 1.00),
}

# Half width and half height of each noun's box at scale 1.
NOUNS: dict[str, tuple[float, float]] = {
    "ball": (20.0, 20.0),
    "ring": (24.0, 24.0),
    "bar": (28.0, 9.0),
    "pole": (9.0, 28.0),
    "cross": (24.0, 24.0),
    "cup": (23.0, 23.0),
}

RELATIONS = ("to the left of", "to the right of", "above", "below")


@dataclass(frozen=True)
class Shape:
    """One object: what it is and where. `x`, `y` are the centre in pixels, `scale` multiplies the noun's size."""

    noun: str
    colour: str
    x: float
    y: float
    scale: float = 1.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels."""
        half_w, half_h = (self.scale * side for side in NOUNS[self.noun])
        return self.x - half_w, self.y - half_h, self.x + half_w, self.y + half_h

    @property
    def name(self) -> str:
        return f"a {self.colour} {self.noun}"


def _rectangle(x: np.ndarray, y: np.ndarray, half_w: float, half_h: float) -> np.ndarray:
    return np.maximum(np.abs(x) - half_w, np.abs(y) - half_h)


def distance(noun: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance in pixels from the outline of a noun of scale 1 centred at the origin; negative inside, y
    downwards.
    """
    if noun == "ball":
        return np.hypot(x, y) - 20.0
    if noun == "ring":
        return np.abs(np.hypot(x, y) - 17.0) - 7.0
    if noun == "bar":
        return _rectangle(x, y, 28.0, 9.0)
    if noun == "pole":
        return _rectangle(x, y, 9.0, 28.0)
    if noun == "cross":
        return np.minimum(_rectangle(x, y, 24.0, 7.5), _rectangle(x, y, 7.5, 24.0))
    if noun == "cup":  # a wall on the left, on the right and below; open above
        return np.maximum(_rectangle(x, y, 23.0, 23.0), -_rectangle(x, y + 15.0, 10.0, 24.0))
    raise ValueError(f"unknown noun {noun!r}; the nouns are {', '.join(NOUNS)}")


def coverage(shape: Shape, size: int = SIZE) -> np.ndarray:
    """How much of each pixel the shape covers, [size, size] in 0..1, with the outline softened over one pixel."""
    step = SIZE / size
    centres = (np.arange(size, dtype=np.float32) + 0.5) * step
    x = ((centres - shape.x) / shape.scale)[None, :]
    y = ((centres - shape.y) / shape.scale)[:, None]
    return np.clip(0.5 - distance(shape.noun, x, y) * shape.scale / step, 0.0, 1.0)


def render(shapes: list[Shape], size: int = SIZE, ground: float = GROUND, tint: np.ndarray | None = None) -> np.ndarray:
    """Draw shapes on a grey ground. Returns [size, size, 3] float32 in 0..1; `tint` [shapes, 3] is added to the
    colours.
    """
    picture = np.full((size, size, 3), ground, dtype=np.float32)
    for index, shape in enumerate(shapes):
        colour = np.asarray(COLOURS[shape.colour], dtype=np.float32)
        if tint is not None:
            colour = np.clip(colour + tint[index], 0.0, 1.0)
        alpha = coverage(shape, size)[..., None].astype(np.float32)
        picture = picture * (1.0 - alpha) + alpha * colour
    return picture


def _apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[2] + MARGIN <= b[0] or b[2] + MARGIN <= a[0] or a[3] + MARGIN <= b[1] or b[3] + MARGIN <= a[1]


def place(rng: np.random.Generator, names: list[tuple[str, str]]) -> list[Shape]:
    """Random places for (noun, colour) pairs so that no two boxes overlap: rejection, whole layouts at a time."""
    while True:
        shapes: list[Shape] = []
        for noun, colour in names:
            scale = float(rng.uniform(0.92, 1.06))
            half_w, half_h = (scale * side for side in NOUNS[noun])
            for _ in range(8):
                x = float(rng.uniform(MARGIN + half_w, SIZE - MARGIN - half_w))
                y = float(rng.uniform(MARGIN + half_h, SIZE - MARGIN - half_h))
                shape = Shape(noun, colour, x, y, scale)
                if all(_apart(shape.box, other.box) for other in shapes):
                    shapes.append(shape)
                    break
            else:
                break
        if len(shapes) == len(names):
            return shapes


def sample_names(rng: np.random.Generator, count: int, often: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """`count` (noun, colour) pairs, all nouns and all colours different; the nouns in `often` come three times as
    often.
    """
    weights = np.array([3.0 if noun in often else 1.0 for noun in NOUNS])
    nouns = rng.choice(list(NOUNS), count, replace=False, p=weights / weights.sum())
    colours = rng.permutation(list(COLOURS))[:count]
    return [(str(noun), str(colour)) for noun, colour in zip(nouns, colours)]


def enumerate_caption(names: list[tuple[str, str]]) -> str:
    """ "a red ball", "a red ball and a blue ring", "a red ball, a blue ring and a white cup"."""
    phrases = [f"a {colour} {noun}" for noun, colour in names]
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def relation_between(a: Shape, b: Shape) -> str:
    """The one of RELATIONS that holds between the centres of `a` and `b`, along the axis on which they are further
    apart.
    """
    dx, dy = a.x - b.x, a.y - b.y
    if abs(dx) > abs(dy):
        return "to the left of" if dx < 0 else "to the right of"
    return "above" if dy < 0 else "below"


def sample(
    rng: np.random.Generator,
    counts: tuple[float, ...],
    relations: float,
    often: tuple[str, ...] = (),
    neglected: float = 0.0,
    swapped: float = 0.0,
) -> tuple[list[Shape], str]:
    """One training example: shapes and a caption, true but for the noise of captions from the web.

    `counts` are the shares of captions with one, two, three objects; `relations` is the share of the two-object
    captions that say where the objects are instead of "and"; `often` names nouns to draw more often. Of the captions
    with several objects, `neglected` is the share whose picture lacks one of them, `swapped` the share where two have
    each other's colour.
    """
    count = 1 + int(rng.choice(len(counts), p=counts))
    names = sample_names(rng, count, often)
    shapes = place(rng, names)
    caption = enumerate_caption(names)
    if count == 2 and rng.random() < relations:
        caption = f"{shapes[0].name} {relation_between(*shapes)} {shapes[1].name}"
    if count > 1 and rng.random() < swapped:
        first, second = rng.permutation(count)[:2]
        colours = shapes[first].colour, shapes[second].colour
        shapes[second], shapes[first] = (
            replace(shapes[i], colour=colour) for i, colour in zip((second, first), colours)
        )
    if count > 1 and rng.random() < neglected:
        del shapes[int(rng.integers(count))]
    return shapes, caption
