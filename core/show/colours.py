"""Each object's own colour in the pictures: the one that the prompt gives it, else one of a palette."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..prompt.targets import Target, Targets

Colour = tuple[int, int, int]

# sRGB of the prompt's colour words; shades that artists mix up share one.
NAMED: dict[str, Colour] = {
    "black": (20, 20, 20),
    "charcoal": (54, 60, 66),
    "white": (250, 250, 250),
    "ivory": (250, 246, 230),
    "cream": (250, 240, 205),
    "beige": (226, 209, 172),
    "khaki": (189, 174, 121),
    "tan": (201, 165, 118),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
    "silver": (184, 188, 194),
    "red": (222, 36, 36),
    "crimson": (205, 20, 60),
    "scarlet": (235, 45, 20),
    "ruby": (190, 15, 70),
    "maroon": (128, 16, 32),
    "burgundy": (120, 10, 40),
    "coral": (255, 127, 80),
    "salmon": (250, 128, 114),
    "rust": (176, 70, 20),
    "pink": (255, 130, 180),
    "fuchsia": (236, 20, 160),
    "magenta": (236, 20, 160),
    "orange": (250, 140, 10),
    "peach": (255, 190, 145),
    "amber": (255, 180, 10),
    "yellow": (245, 220, 20),
    "gold": (220, 178, 40),
    "golden": (220, 178, 40),
    "blonde": (235, 210, 130),
    "blond": (235, 210, 130),
    "ochre": (200, 125, 35),
    "bronze": (176, 116, 48),
    "copper": (184, 106, 60),
    "brown": (128, 74, 34),
    "brunette": (92, 54, 32),
    "green": (30, 160, 60),
    "lime": (160, 220, 30),
    "olive": (128, 128, 20),
    "mint": (140, 225, 180),
    "emerald": (0, 150, 90),
    "teal": (0, 128, 128),
    "turquoise": (40, 200, 195),
    "aqua": (20, 210, 220),
    "cyan": (20, 210, 220),
    "blue": (35, 85, 225),
    "azure": (40, 140, 240),
    "navy": (20, 30, 110),
    "sapphire": (20, 65, 170),
    "indigo": (70, 30, 150),
    "purple": (140, 40, 180),
    "violet": (140, 60, 220),
    "plum": (130, 50, 110),
    "lavender": (190, 165, 235),
    "lilac": (200, 162, 200),
    "mauve": (180, 130, 170),
}
# Eight of Okabe and Ito (Color Universal Design, 2008), and four that stay apart from them: two from Krzywinski's
# palette of twelve (Canadian Genome Sciences Centre) and two dark ones; a test simulates red- and
# green-blindness (Machado et al., 2009).
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (159, 1, 98),
    (0, 252, 207),
    (90, 40, 10),
    (40, 0, 90),
    (0, 0, 0),
)
# Two objects whose colours are nearer than this (Oklab, 0 to 1) are told apart by the palette instead.
_ALIKE = 0.10


def colours_of(targets: Targets) -> list[Colour]:
    """Every object's colour, in order: "a red ball" red; a second red one, and one without a colour word, another."""
    found: list[Colour | None] = []
    for target in targets.objects:
        own = named_colour(target)
        found.append(own if own is not None and _is_apart(own, found) else None)
    for place, colour in enumerate(found):
        if colour is None:
            found[place] = _from_palette(found, place)
    return found


def named_colour(target: Target) -> Colour | None:
    """The colour that the prompt gives an object, if it gives one that can be shown."""
    words = [word for attribute in target.attributes for word in attribute.text.lower().replace("-", " ").split()]
    return next((NAMED[word] for word in words if word in NAMED), None)


def distance(one: Colour, other: Colour) -> float:
    """How far apart two colours look: Euclidean in Oklab (B. Ottosson, 2020)."""
    return float(np.linalg.norm(oklab(one) - oklab(other)))


def oklab(colour: Sequence[float] | np.ndarray) -> np.ndarray:
    """sRGB [..., 3] in 0..255 → Oklab [..., 3]."""
    srgb = np.asarray(colour, dtype=np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_OKLAB.T


_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _is_apart(colour: Colour, others: Sequence[Colour | None]) -> bool:
    return all(distance(colour, other) > _ALIKE for other in others if other is not None)


def _from_palette(taken: Sequence[Colour | None], place: int) -> Colour:
    """The first colour of the palette that is like none of those taken; beyond twelve they come again."""
    return next((colour for colour in PALETTE if _is_apart(colour, taken)), PALETTE[place % len(PALETTE)])
