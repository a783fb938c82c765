"""What CLIP is shown of a picture: its middle square, or the square around a box, at CLIP's size. All of it
differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout.boxes import Box


def clip_pixels(pictures: Tensor, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """[B, H, W, 3] in 0..1 → [B, 3, size, size], normalised: the shorter side is brought to `size` and the middle kept.

    The same as the host's own preprocessing but for its rounding to whole colour values, which has no gradient.
    """
    x = pictures[..., :3].movedim(-1, 1)
    if x.shape[-2:] != (size, size):
        scale = size / min(x.shape[-2:])
        x = torch.nn.functional.interpolate(
            x, size=tuple(round(side * scale) for side in x.shape[-2:]), mode="bicubic", antialias=True
        )
        top, left = ((side - size) // 2 for side in x.shape[-2:])
        x = x[..., top : top + size, left : left + size]
    mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None] for values in (mean, std))
    return (x.clamp(0.0, 1.0) - mean) / std


def crop(pictures: Tensor, box: Box) -> Tensor:
    """The part of [B, H, W, 3] around a box: a square where the picture has room for one, so that nothing is squashed
    or cut off.

    A box longer than the picture's shorter side keeps all of that side; CLIP's preprocessing then takes the middle.
    """
    height, width = pictures.shape[1:3]
    box = box.clamped()
    side = max(box.width * width, box.height * height, 1.0)
    top, bottom = _around((box.top + box.bottom) / 2 * height, side, height)
    left, right = _around((box.left + box.right) / 2 * width, side, width)
    return pictures[:, top:bottom, left:right]


def _around(middle: float, length: float, limit: int) -> tuple[int, int]:
    """A stretch of about `length` around `middle`, moved to lie within 0 and `limit`, in whole pixels."""
    pixels = min(max(round(length), 1), limit)
    start = min(max(round(middle - pixels / 2), 0), limit - pixels)
    return start, start + pixels
