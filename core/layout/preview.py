"""A picture of a layout: boxes with their names, arrows for the relations, and what the arrows mean underneath."""

from __future__ import annotations

from math import hypot, sqrt

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..drawing import INK, LINE_COLOURS, PAPER, font, line_height, shortened, to_image, to_picture
from .boxes import Box, Layout, Placement

# The preview's area in pixels, and the least of its shorter side: small enough to be quick, large enough to read.
_AREA = 640 * 640
_SHORTER = 288
_LONGEST = 4096
_GROUND = (246, 246, 248)
_FILL = 46  # of 255
_BACKGROUND = 0.55  # share of a picture behind the boxes that shows

Point = tuple[float, float]


def preview(layout: Layout, background: Tensor | None = None) -> Tensor:
    """The layout as a picture [1, H, W, 3] in 0..1 of the layout's shape, with a strip of text below it.

    `background` [H, W, 3], if given, shows faintly behind the boxes.
    """
    width, height = _size(layout.width, layout.height)
    names = "".join(placement.name for placement in layout.placements)
    face = font(min(max(min(width, height) / 22, 15), 30), names)
    picture = Image.new("RGB", (width, height), _GROUND)
    if background is not None:
        faint = to_picture(background * _BACKGROUND + (1 - _BACKGROUND)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        picture.paste(faint, (0, 0))
    picture = Image.alpha_composite(picture.convert("RGBA"), _boxes(layout, width, height)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for placement in layout.placements:
        _outline(draw, placement, width, height)
    taken: list[tuple[int, int, int, int]] = []
    for placement in sorted(layout.placements, key=lambda p: p.box.area):
        _name(draw, placement, face, width, height, taken)
    for number, relation in enumerate(layout.relations, start=1):
        one, other = layout.of(relation.subject), layout.of(relation.object)
        if one is not None and other is not None:
            _arrow(draw, one.box, other.box, number, face, width, height)
    return to_image(_with_strip(picture, _lines(layout), face))[None]


def _size(width: int, height: int) -> tuple[int, int]:
    scale = max(sqrt(_AREA / (width * height)), _SHORTER / min(width, height))
    scale = min(scale, _LONGEST / max(width, height))
    return max(round(width * scale), 16), max(round(height * scale), 16)


def _colour(placement: Placement) -> tuple[int, int, int]:
    return LINE_COLOURS[placement.target % len(LINE_COLOURS)]


def _boxes(layout: Layout, width: int, height: int) -> Image.Image:
    """The coloured surfaces: of the box, or of the mask where there is one."""
    surfaces = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    for placement in layout.placements:
        cover = Image.new("L", (width, height), 0)
        if placement.mask is None:
            ImageDraw.Draw(cover).rectangle(_pixels(placement.box, width, height), fill=_FILL)
        else:
            values = (placement.mask * 2 * _FILL).round().to(torch.uint8).numpy()
            cover = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
        layer = Image.new("RGBA", (width, height), (*_colour(placement), 255))
        layer.putalpha(cover)
        surfaces = Image.alpha_composite(surfaces, layer)
    return surfaces


def _pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    return (
        round(box.left * width),
        round(box.top * height),
        round(box.right * width) - 1,
        round(box.bottom * height) - 1,
    )


def _outline(draw: ImageDraw.ImageDraw, placement: Placement, width: int, height: int) -> None:
    left, top, right, bottom = _pixels(placement.box, width, height)
    draw.rectangle((left, top, max(right, left), max(bottom, top)), outline=_colour(placement), width=3)


def _name(draw: ImageDraw.ImageDraw, placement: Placement, face, width: int, height: int, taken: list) -> None:
    """The name on a plate of the box's colour: in the box's corner, moved down past plates that are there already."""
    left, top, _, _ = _pixels(placement.box, width, height)
    text = shortened(placement.name, face, width - 8)
    across, down = int(face.getlength(text)) + 8, line_height(face) + 2
    left = max(min(left, width - across), 0)
    top = max(min(top, height - down), 0)
    while (
        any(
            left < right and its_left < left + across and top < bottom and its_top < top + down
            for its_left, its_top, right, bottom in taken
        )
        and top + 2 * down <= height
    ):
        top += down
    plate = (left, top, left + across, top + down)
    taken.append(plate)
    draw.rectangle(plate, fill=_colour(placement))
    light = sum(_colour(placement)) > 420
    draw.text((left + 4, top + 1), text, font=face, fill=INK if light else PAPER)


def _arrow(draw: ImageDraw.ImageDraw, one: Box, other: Box, number: int, face, width: int, height: int) -> None:
    """From the subject to the object, between their centres as far as it lies outside both, with its number on it."""
    start, end = _scaled(one.centre, width, height), _scaled(other.centre, width, height)
    length = hypot(end[0] - start[0], end[1] - start[1])
    if length < 1:
        return
    across, down = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    reach = [min(length * 0.3, 0.35 * min(box.width * width, box.height * height)) for box in (one, other)]
    start = (start[0] + across * reach[0], start[1] + down * reach[0])
    end = (end[0] - across * reach[1], end[1] - down * reach[1])
    draw.line((start, end), fill=INK, width=2)
    head = min(11.0, length * 0.3)
    wing = [(end[0] - head * (across + side * down), end[1] - head * (down - side * across)) for side in (0.5, -0.5)]
    draw.polygon([end, *wing], fill=INK)
    _badge(draw, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), str(number), face)


def _scaled(point: Point, width: int, height: int) -> Point:
    return point[0] * width, point[1] * height


def _badge(draw: ImageDraw.ImageDraw, at: Point, text: str, face) -> None:
    across, down = face.getlength(text), line_height(face)
    half = max(across, down) / 2
    draw.ellipse((at[0] - half, at[1] - half, at[0] + half, at[1] + half), fill=PAPER, outline=INK, width=2)
    draw.text((at[0] - across / 2, at[1] - down / 2), text, font=face, fill=INK)


def _lines(layout: Layout) -> list[str]:
    """What the arrows say, one numbered line each, and the notes."""
    names = {placement.target: placement.name for placement in layout.placements}
    said = [
        f"{number}  {names[r.subject]} {r.predicate} {names[r.object]}"
        for number, r in enumerate(layout.relations, start=1)
        if r.subject in names and r.object in names
    ]
    return [*said, *layout.notes]


def _with_strip(picture: Image.Image, lines: list[str], face) -> Image.Image:
    """The picture above its lines of text, wrapped to its width."""
    wrapped = [part for line in lines for part in _wrapped(line, face, picture.width - 16)]
    if not wrapped:
        return picture
    room = line_height(face) + 2
    sheet = Image.new("RGB", (picture.width, picture.height + len(wrapped) * room + 12), PAPER)
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(wrapped):
        draw.text((8, picture.height + 6 + row * room), line, font=face, fill=INK)
    return sheet


def _wrapped(text: str, face, width: float) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if face.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(f"    {word}")
    return [shortened(line, face, width) for line in lines]
