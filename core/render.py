"""Attention maps, losses and results as pictures. Images are [..., H, W, 3] in 0..1, as the host has them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import cos, pi, sin

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

_BAND = (12, 12, 16, 190)  # behind labels on pictures
_LETTERS = (255, 255, 255, 255)
_PAPER = (255, 255, 255)
_INK = (40, 40, 46)


def overlays(images: Tensor, maps: Tensor, names: Sequence[str]) -> Tensor:
    """Each target's map as a heat map over its image: [B, H, W, 3], [B, T, h, w] → [B·T, H, W, 3], image by image.

    Every map is spread over the whole range of colours; its highest value, as a share of the pixel's attention, stands
    beside the name where there is room. Raises ValueError if the numbers of images or names do not match.
    """
    _check(images, maps, names)
    heat = masks(maps, images.shape[1:3])  # [B*T, H, W]
    pictures = []
    for i, (b, t) in enumerate((b, t) for b in range(maps.shape[0]) for t in range(maps.shape[1])):
        image = images[b, ..., :3].detach().float().cpu().clamp(0, 1)
        grey = image.mean(dim=-1, keepdim=True).expand_as(image)
        share = (0.35 + 0.45 * heat[i])[..., None]
        blended = (0.35 * image + 0.65 * grey) * (1 - share) + _colours(heat[i]) * share
        pictures.append(_labelled(blended, names[t], f"peak {float(maps[b, t].max()):.2f}"))
    return torch.stack(pictures) if pictures else images.new_zeros(0, *images.shape[1:3], 3)


def masks(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Each map from its lowest value (0) to its highest (1) at `size` (H, W): [B, T, h, w] → [B·T, H, W].

    A map that is the same everywhere is 0 everywhere.
    """
    maps = maps.detach().float().cpu().flatten(0, 1)[:, None]  # [B*T, 1, h, w]
    large = interpolate(maps, tuple(size), mode="bilinear", align_corners=False)[:, 0] if maps.numel() else maps.new_zeros(0, *size)
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    return (large - low) / (high - low).clamp_min(1e-12)


def side_by_side(rows: Sequence[Sequence[tuple[str, Tensor]]], titles: Sequence[str] = (), height: int = 256) -> Tensor:
    """Rows of (label, image [H, W, 3]) as one picture [1, H, W, 3]; every image is scaled to `height` pixels.

    `titles`, if given, holds one line of text per row, such as its prompt.
    """
    gap, label_font, title_font = max(height // 24, 6), _font(max(height // 15, 12)), _font(max(height // 13, 13))
    label_room, title_room = _line_height(label_font) + gap // 2, _line_height(title_font) + gap
    cells = [[(label, _to_pil(image, height)) for label, image in row] for row in rows]
    width = max((sum(picture.width + gap for _, picture in row) for row in cells), default=height) + gap
    row_height = label_room + height + gap + (title_room if titles else 0)
    sheet = Image.new("RGB", (width, gap + row_height * len(cells)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for r, row in enumerate(cells):
        top, left = gap + r * row_height, gap
        if titles:
            draw.text((left, top), _shortened(titles[r], title_font, width - 2 * gap), font=title_font, fill=_INK)
            top += title_room
        for label, picture in row:
            draw.text((left, top), _shortened(label, label_font, picture.width), font=label_font, fill=_INK)
            sheet.paste(picture, (left, top + label_room))
            left += picture.width + gap
    return _to_tensor(sheet)[None]


def _check(images: Tensor, maps: Tensor, names: Sequence[str]) -> None:
    if images.shape[0] != maps.shape[0]:
        raise ValueError(
            f"The record holds maps of {maps.shape[0]} image{'s'[: maps.shape[0] != 1]} but {images.shape[0]} came in. "
            "Connect the images of the same run, all of them."
        )
    if len(names) != maps.shape[1]:
        raise ValueError(f"{maps.shape[1]} maps per image but {len(names)} names")


def _labelled(image: Tensor, name: str, note: str = "") -> Tensor:
    """`image` [H, W, 3] with a band along its top that says `name`, and `note` at the right if both fit."""
    h, w, _ = image.shape
    font = _font(min(max(min(h, w) // 18, 11), max(h // 4, 6), 48))
    pad = max(int(font.size) // 3, 2)
    picture = _to_pil(image)
    band = Image.new("RGBA", (w, _line_height(font) + pad), _BAND)
    draw = ImageDraw.Draw(band)
    text = _shortened(name, font, w - 2 * pad)
    draw.text((pad, pad // 2), text, font=font, fill=_LETTERS)
    if note and font.getlength(text) + font.getlength(note) + 4 * pad <= w:
        draw.text((w - pad - font.getlength(note), pad // 2), note, font=font, fill=(255, 255, 255, 170))
    picture.paste(band, (0, 0), band)
    return _to_tensor(picture)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """`text`, cut to fit `width` pixels with an ellipsis if need be."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(int(size), 6))


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    ascent, descent = font.getmetrics()
    return ascent + descent


def _to_pil(image: Tensor, height: int | None = None) -> Image.Image:
    array = (image[..., :3].detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(array)
    if height is None or picture.height == height:
        return picture
    return picture.resize((max(round(picture.width * height / picture.height), 1), height), Image.Resampling.BICUBIC)


def _to_tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).float() / 255


def _colours(values: Tensor) -> Tensor:
    """Values 0..1 as colours: [...] → [..., 3], lightness rising evenly from a dark violet to a light yellow."""
    table = _colour_table()
    return table[(values.clamp(0, 1) * (len(table) - 1)).round().long()]


@cache
def _colour_table(size: int = 256) -> Tensor:
    """[size, 3] sRGB: a straight rise in the lightness of Oklab (Ottosson 2020), hue turning from violet over red to yellow."""
    t = np.linspace(0.0, 1.0, size)
    lightness = 0.2 + 0.76 * t
    chroma = np.interp(t, [0.0, 0.35, 0.6, 1.0], [0.09, 0.18, 0.19, 0.13])
    hue = np.interp(t, [0.0, 0.3, 0.6, 1.0], [285.0, 330.0, 400.0, 465.0]) * pi / 180
    a, b = chroma * np.vectorize(cos)(hue), chroma * np.vectorize(sin)(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return torch.from_numpy(srgb).float()
