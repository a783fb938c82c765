"""Text, colours and conversions that the pictures share."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from PIL import Image, ImageFont
from torch import Tensor

from .fonts import face_for
from .keeping import by_size

PAPER = (255, 255, 255)
INK = (40, 40, 46)
FAINT = (226, 226, 230)
# Okabe and Ito's palette, told apart by colour-blind readers too; yellow, too light for lines on white, left out.
LINE_COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (110, 110, 116),
)


def font(size: float, *texts: str) -> ImageFont.FreeTypeFont:
    """A font for `texts`: Pillow's own, the same on every machine, or where it lacks a character, the machine's."""
    return _font(*face_for("".join(texts)), max(int(size), 6))


@by_size
def _font(path: str | None, index: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size, index)


def line_height(face: ImageFont.FreeTypeFont) -> int:
    ascent, descent = face.getmetrics()
    return ascent + descent


def shortened(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """`text`, cut to fit `width` pixels, with an ellipsis if it was cut."""
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text.rstrip() + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""


def to_picture(image: Tensor, height: int | None = None) -> Image.Image:
    """[H, W, 3] in 0..1 as a PIL picture, scaled to `height` pixels if given."""
    array = (image[..., :3].detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(array)
    if height is None or picture.height == height:
        return picture
    return picture.resize((max(round(picture.width * height / picture.height), 1), height), Image.Resampling.BICUBIC)


def to_image(picture: Image.Image) -> Tensor:
    """A PIL picture as [H, W, 3] in 0..1."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255


def heat_colours(values: Tensor) -> Tensor:
    """Values 0..1 as colours, [...] → [..., 3], from dark violet over red to light yellow."""
    table = _heat_table()
    return table[(values.clamp(0, 1) * (len(table) - 1)).round().long()]


@cache
def _heat_table(size: int = 256) -> Tensor:
    """[size, 3] sRGB. Lightness rises in a straight line in Oklab (B. Ottosson, 2020), so equal steps look equal."""
    t = np.linspace(0.0, 1.0, size)
    lightness = 0.2 + 0.76 * t
    chroma = np.interp(t, [0.0, 0.35, 0.6, 1.0], [0.09, 0.17, 0.18, 0.13])
    hue = np.radians(np.interp(t, [0.0, 0.3, 0.6, 1.0], [285.0, 330.0, 400.0, 465.0]))
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = np.stack(
        [
            (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3,
            (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3,
            (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3,
        ],
        axis=-1,
    )
    to_linear_srgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = (cones @ to_linear_srgb.T).clip(0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return torch.from_numpy(srgb).float()
