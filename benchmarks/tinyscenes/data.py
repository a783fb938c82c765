"""Scenes of tinted emoji and their captions: the training data of TinyScenes, made as it is needed.

A picture is 128 x 128 pixels: one to three emoji on a quiet ground. Places lie on a grid of eight pixels, the cells of
the latent, and there are few sizes and no rotation: each emoji then has few patterns of cells, and a small model draws
it crisply. Needs NumPy and Pillow, and the sprites that sprites.py rendered; nothing here needs the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

SPRITES = Path(__file__).resolve().parent.parent.parent / "assets" / "scenes_sprites.png"
SIZE = 128  # pixels per side
CELL = 8  # pixels per latent cell: the grid of places
SIZES = (48, 56)  # pixels per side of an object's box
OWN = "own"  # the colour of an object that the caption gives none

# Our noun -> the emoji's name.
NOUNS: dict[str, str] = {
    "cat": "cat", "dog": "dog", "bird": "bird", "bear": "bear", "lion": "lion", "horse": "horse",
    "elephant": "elephant", "monkey": "monkey", "frog": "frog", "turtle": "turtle", "rabbit": "rabbit",
    "mouse": "mouse", "backpack": "backpack", "glasses": "glasses", "crown": "crown", "suitcase": "luggage",
    "chair": "chair", "balloon": "balloon", "bow": "ribbon", "car": "automobile", "bowl": "bowl-with-spoon",
    "clock": "alarm-clock", "apple": "red-apple",
}  # fmt: skip
ANIMALS = tuple(NOUNS)[:12]
OBJECTS = tuple(NOUNS)[12:]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 130, 32),
    "yellow": (250, 210, 40),
    "green": (50, 160, 70),
    "blue": (45, 90, 210),
    "purple": (130, 60, 170),
    "pink": (250, 130, 180),
    "brown": (130, 85, 50),
    "black": (45, 45, 52),
    "white": (245, 245, 245),
}
# Dark enough for white objects to stand out.
GROUNDS: tuple[tuple[int, int, int], ...] = (
    (206, 198, 182),
    (182, 199, 212),
    (194, 208, 184),
    (198, 198, 201),
)
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
DARKER, LIGHTER = 1.1, 0.9  # how much of a sprite's own relief a tint keeps below and above its mean


@dataclass(frozen=True)
class Thing:
    """One object: what it is and where. `x`, `y` are the box's left and top in pixels, `size` its side."""

    noun: str
    colour: str
    x: int
    y: int
    size: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels."""
        return self.x, self.y, self.x + self.size, self.y + self.size

    @property
    def name(self) -> str:
        return phrase(self.noun, self.colour)


def phrase(noun: str, colour: str) -> str:
    """ "a red cat", or "a cat", "an elephant", "glasses" where it keeps its own colours."""
    words = noun if colour == OWN else f"{colour} {noun}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@cache
def sprites() -> dict[tuple[str, int], np.ndarray]:
    """(noun, size) -> [size, size, 4] float32 in 0..1, colours not premultiplied."""
    atlas = np.asarray(Image.open(SPRITES), dtype=np.float32) / 255.0
    tall, parts = max(SIZES), {}
    for row, noun in enumerate(NOUNS):
        left = 0
        for size in SIZES:
            parts[noun, size] = atlas[row * tall : row * tall + size, left : left + size]
            left += size
    return parts


def tint(colours: np.ndarray, cover: np.ndarray, colour: str) -> np.ndarray:
    """A sprite's colours [h, w, 3] in another hue: its relief of light and dark around the colour, dark parts towards
    black, light parts towards white.
    """
    if colour == OWN:
        return colours
    light = colours @ LUMINANCE
    relief = light - (light * cover).sum() / cover.sum()
    base = np.asarray(COLOURS[colour], dtype=np.float32) / 255.0
    dark = np.clip(-relief * DARKER, 0.0, 0.85)[..., None]
    bright = np.clip(relief * LIGHTER, 0.0, 0.85)[..., None]
    return base * (1.0 - dark) * (1.0 - bright) + bright


@cache
def stamps() -> dict[tuple[str, str, int], tuple[np.ndarray, np.ndarray]]:
    """(noun, colour, size) -> premultiplied colours [size, size, 3] and what shows through [size, size, 1], float32."""
    made = {}
    for (noun, size), sprite in sprites().items():
        cover = sprite[..., 3]
        for colour in (OWN, *COLOURS):
            made[noun, colour, size] = tint(sprite[..., :3], cover, colour) * cover[..., None], 1.0 - cover[..., None]
    return made


def render(things: list[Thing], ground: tuple[float, float, float] = GROUNDS[0], side: int = SIZE) -> np.ndarray:
    """Draw objects on a plain ground (0..255). Returns [side, side, 3] float32 in 0..1."""
    picture = np.empty((side, side, 3), dtype=np.float32)
    picture[:] = np.asarray(ground, dtype=np.float32) / 255.0
    for thing in things:
        paint, through = stamps()[thing.noun, thing.colour, thing.size]
        part = picture[thing.y : thing.y + thing.size, thing.x : thing.x + thing.size]
        part *= through
        part += paint
    return picture


def ground(rng: np.random.Generator) -> tuple[float, float, float]:
    """A ground to draw on: one of a few, a little lighter or darker (0..255)."""
    shade = float(rng.uniform(-5.0, 5.0))
    red, green, blue = GROUNDS[int(rng.integers(len(GROUNDS)))]
    return red + shade, green + shade, blue + shade


def place(rng: np.random.Generator, names: list[tuple[str, str]], side: int = SIZE) -> list[Thing]:
    """Random places on the grid for (noun, colour) pairs so that no two boxes overlap: whole layouts at a time."""
    while True:
        things: list[Thing] = []
        for noun, colour in names:
            size = SIZES[int(rng.integers(len(SIZES)))] if len(names) < 3 else SIZES[0]
            x, y = (CELL * rng.integers(0, (side - size) // CELL + 1, 2)).tolist()
            if any(_meet(x, y, size, other) for other in things):
                break
            things.append(Thing(noun, colour, x, y, size))
        if len(things) == len(names):
            return things


def _meet(x: int, y: int, size: int, other: Thing) -> bool:
    left, top, right, bottom = other.box
    return x < right and left < x + size and y < bottom and top < y + size


def sample_names(rng: np.random.Generator, count: int, plain: float) -> list[tuple[str, str]]:
    """`count` (noun, colour) pairs, nouns all different, colours too; each keeps its own colours with probability
    `plain`.
    """
    nouns = list(NOUNS)
    colours = list(COLOURS)
    chosen = rng.permutation(len(nouns))[:count]
    hues = rng.permutation(len(colours))[:count]
    own = rng.random(count) < plain
    return [(nouns[n], OWN if o else colours[h]) for n, h, o in zip(chosen, hues, own)]


def caption_of(names: list[tuple[str, str]]) -> str:
    """ "a red cat", "a cat and a blue dog", "a red cat, a bowl and a white bird"."""
    phrases = [phrase(noun, colour) for noun, colour in names]
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def sample(
    rng: np.random.Generator, counts: tuple[float, ...], plain: float, side: int = SIZE
) -> tuple[list[Thing], str]:
    """One training example. `counts` are the shares of pictures with one, two, three objects; `plain` is the share of
    objects without a colour word; `side` is the picture's, in pixels.
    """
    u, count = rng.random(), 1
    while count < len(counts) and u >= sum(counts[:count]):
        count += 1
    names = sample_names(rng, count, plain)
    return place(rng, names, side), caption_of(names)
