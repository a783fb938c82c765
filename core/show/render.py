"""Attention maps and results as pictures. Images are [..., H, W, 3] in 0..1, as the host has them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from ..drawing import INK, PAPER, font, line_height, shortened, to_image, to_picture
from .plot import loss_plot

__all__ = ["loss_plot", "masks", "side_by_side"]


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
    labels = [label for row in rows for label, _ in row]
    gap, face, title_face = (
        max(height // 24, 6),
        font(max(height // 15, 12), *labels),
        font(max(height // 13, 13), *titles),
    )
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
