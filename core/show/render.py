"""Attention maps and results as pictures. Images are [..., H, W, 3] in 0..1, as the host has them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from ..drawing import INK, PAPER, font, heat_colours, line_height, shortened, to_image, to_picture
from .plot import loss_plot

__all__ = ["loss_plot", "masks", "overlays", "side_by_side"]

_BAND = (12, 12, 16, 190)  # behind labels on pictures
_LETTERS = (255, 255, 255, 255)
_SMALL_LETTERS = (255, 255, 255, 175)


def overlays(images: Tensor, maps: Tensor, names: Sequence[str]) -> Tensor:
    """Each target's map as a heat map over its image: [B, H, W, 3], [B, T, h, w] → [B·T, H, W, 3], image by image.

    Every map is spread over the whole range of colours; its highest value, as a share of the pixel's attention, stands
    beside the name where there is room. Raises ValueError if the numbers of images or names do not match.
    """
    if images.shape[0] != maps.shape[0]:
        raise ValueError(
            f"The record holds the maps of {maps.shape[0]} image(s), but {images.shape[0]} came in. "
            "Connect all images of the same run."
        )
    if len(names) != maps.shape[1]:
        raise ValueError(f"{maps.shape[1]} maps per image but {len(names)} names")
    size = images.shape[1:3]
    heat = masks(maps, size).unflatten(0, maps.shape[:2])  # [B, T, H, W]
    pictures = []
    for b in range(maps.shape[0]):
        image = images[b, ..., :3].detach().float().cpu().clamp(0, 1)
        grey = image.mean(dim=-1, keepdim=True)
        muted = 0.5 * image + 0.5 * grey
        for t, name in enumerate(names):
            share = (0.25 + 0.5 * heat[b, t])[..., None]
            blended = muted * (1 - share) + heat_colours(heat[b, t]) * share
            pictures.append(_labelled(blended, name, f"peak {float(maps[b, t].max()):.2f}"))
    return torch.stack(pictures) if pictures else torch.zeros(0, *size, 3)


def masks(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Each map from its lowest value (0) to its highest (1) at `size` (H, W): [B, T, h, w] → [B·T, H, W].

    A map that is the same everywhere is 0 everywhere.
    """
    maps = maps.detach().float().cpu().flatten(0, 1)
    if not len(maps):
        return torch.zeros(0, *size)
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    spread = (maps - low) / (high - low).clamp_min(1e-12)
    # Bicubic overshoots at peaks; clamped it is smooth, where bilinear draws diamonds.
    return interpolate(spread[:, None], tuple(size), mode="bicubic", align_corners=False)[:, 0].clamp(0, 1)


def side_by_side(rows: Sequence[Sequence[tuple[str, Tensor]]], titles: Sequence[str] = (), height: int = 256) -> Tensor:
    """Rows of (label, image [H, W, 3]) as one picture [1, H, W, 3]; every image is scaled to `height` pixels.

    `titles`, if given, holds one line of text per row, such as its prompt.
    """
    gap, face, title_face = max(height // 24, 6), font(max(height // 15, 12)), font(max(height // 13, 13))
    label_room = line_height(face) + gap // 2
    title_room = line_height(title_face) + gap // 2 if titles else 0
    cells = []
    for row in rows:
        pictures = [(label, to_picture(image, height)) for label, image in row]
        # A narrow picture gets room for its label, within reason.
        cells.append([(label, p, max(p.width, min(int(face.getlength(label)) + gap, height))) for label, p in pictures])
    width = gap + max((sum(room + gap for _, _, room in row) for row in cells), default=height)
    row_room = title_room + label_room + height + 2 * gap
    sheet = Image.new("RGB", (width, max(gap + row_room * len(cells), height)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for r, row in enumerate(cells):
        top, left = gap + r * row_room, gap
        if titles:
            draw.text((left, top), shortened(titles[r], title_face, width - 2 * gap), font=title_face, fill=INK)
        for label, picture, room in row:
            draw.text((left, top + title_room), shortened(label, face, room), font=face, fill=INK)
            sheet.paste(picture, (left, top + title_room + label_room))
            left += room + gap
    return to_image(sheet)[None]


def _labelled(image: Tensor, name: str, note: str) -> Tensor:
    """`image` [H, W, 3] with a band along its top that says `name`, and at its right `note` if both fit."""
    h, w, _ = image.shape
    face = font(min(max(min(h, w) / 18, 12), max(h / 4, 8), 48))
    pad = max(int(face.size) // 3, 2)
    band = Image.new("RGBA", (w, line_height(face) + pad), _BAND)
    draw = ImageDraw.Draw(band)
    text = shortened(name, face, w - 2 * pad)
    draw.text((pad, pad // 2), text, font=face, fill=_LETTERS)
    if text == name and face.getlength(text) + face.getlength(note) + 4 * pad <= w:
        draw.text((w - pad - face.getlength(note), pad // 2), note, font=face, fill=_SMALL_LETTERS)
    picture = to_picture(image)
    picture.paste(band, (0, 0), band)
    return to_image(picture)
