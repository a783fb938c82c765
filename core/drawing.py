"""Text, colours and conversions that the pictures share."""

from __future__ import annotations

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
