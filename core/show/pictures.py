"""The maps over the picture: every object tinted and outlined in its own colour, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from ..drawing import INK, PAPER, font, line_height, shortened, to_image, to_picture
from ..fonts import writable
from .colours import Colour

# A smaller picture is enlarged, a whole number of times, until its shorter side has so many pixels.
_LEAST_SIDE = 384
# How strong the tint is where a map has the scale's highest value.
_TINT = 0.72
# An object is outlined where its map has this share of its own highest value.
_OUTLINE = 0.5
_FAINT_INK = (110, 110, 116)


def object_sheets(
    images: Tensor, maps: Tensor, names: Sequence[str], colours: Sequence[Colour], notes: Sequence[Sequence[str]] = ()
) -> Tensor:
    """For every image, all objects on one picture and then each by itself: [B, H, W, 3], [B, T, h, w] →
    [B·(1 + T), H', W', 3] in 0..1.

    Above each picture stands whose map it is, below it the scale, which all of them share. `notes` [B][T] are words
    next to the name. Small pictures are enlarged. Raises ValueError if the numbers of images, maps or names differ.
    """
    _check(images, maps, names)
    if not names:
        return images[..., :3].float()
    top = max(float(maps.max()), 1e-12)
    sheets = []
    for b in range(len(images)):
        picture = _large_enough(images[b])
        size = tuple(picture.shape[:2])
        heat = fine(maps[b], size)  # [T, H, W]
        number = f"{b + 1}/{len(images)}" if len(images) > 1 else ""
        everyone = list(range(len(names)))
        entries = [(names[t], colours[t], "") for t in everyone]
        sheets.append(_sheet(_tinted(picture, heat / top, colours, everyone), number, entries, top))
        for t in everyone:
            note = notes[b][t] if notes else ""
            highest = f"peak {float(maps[b, t].max()):.2f}"
            entries = [(names[t], colours[t], note or highest)]
            sheets.append(_sheet(_tinted(picture, heat / top, colours, [t]), number, entries, top))
    return torch.stack(_one_size(sheets))


def _one_size(sheets: list[Tensor]) -> list[Tensor]:
    """Sheets of one width, as high as the highest: paper is added above, where names may take several lines."""
    height = max(len(sheet) for sheet in sheets)
    return [torch.cat([torch.ones(height - len(sheet), *sheet.shape[1:]), sheet]) for sheet in sheets]


def fine(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [T, h, w] at a picture's size, smooth and never below 0."""
    if not len(maps):
        return torch.zeros(0, *size)
    maps = maps.detach().float().cpu()
    return interpolate(maps[:, None], size, mode="bicubic", align_corners=False)[:, 0].clamp_min(0)


def empty_masks(images: Tensor) -> Tensor:
    """[B, H, W] of nothing: what there is to mask where a prompt has no objects."""
    return torch.zeros(images.shape[:3])


def filmstrip(
    frames: Sequence[tuple[int, Tensor]], image: Tensor, names: Sequence[str], colours: Sequence[Colour], b: int = 0
) -> Tensor:
    """One picture's objects over the run, a small picture per step: frames of (step, [B, T, h, w]) → [1, H, W, 3]."""
    if not frames:
        return image[None, ..., :3].float()
    side = 192
    small = to_image(to_picture(image, side))
    top = max(float(maps[b].max()) for _, maps in frames) or 1.0
    cells = []
    for step, maps in frames:
        heat = fine(maps[b].float(), tuple(small.shape[:2])) / top
        cells.append((f"step {step}", _tinted(small, heat, colours, range(len(names)))))
    across = min(len(cells), 6)
    room, face = 24, font(15)
    width = across * (small.shape[1] + 8) + 8
    legend = _legend_lines([(n, c, "") for n, c in zip(names, colours, strict=True)], face, width - 16)
    below = len(legend) * (line_height(face) + 4) + 8
    sheet = Image.new("RGB", (width, ceil(len(cells) / across) * (side + room + 8) + below), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (label, cell) in enumerate(cells):
        left, above = 8 + i % across * (small.shape[1] + 8), 4 + i // across * (side + room + 8)
        draw.text((left, above), label, font=face, fill=INK)
        sheet.paste(to_picture(cell), (left, above + room))
    _draw_legend(draw, legend, face, 8, sheet.height - below + 2)
    return to_image(sheet)[None]


def before_and_after(
    before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], names: Sequence[str], colours: Sequence[Colour]
) -> Tensor:
    """(image [H, W, 3], maps [T, h, w]) of two runs beside each other, all objects on one scale: [1, H', W', 3]."""
    top = max(float(maps.max()) for _, maps in (before, after)) or 1.0
    entries = [(name, colour, "") for name, colour in zip(names, colours, strict=True)]
    halves = []
    for label, (image, maps) in (("before", before), ("after", after)):
        picture = _large_enough(image)
        heat = fine(maps, tuple(picture.shape[:2])) / top
        halves.append(_sheet(_tinted(picture, heat, colours, range(len(names))), label, entries, top))
    if halves[0].shape[0] != halves[1].shape[0]:
        halves[1] = to_image(to_picture(halves[1], halves[0].shape[0]))
    gap = torch.ones(halves[0].shape[0], 8, 3)
    return torch.cat([halves[0], gap, halves[1]], dim=1)[None]


def _check(images: Tensor, maps: Tensor, names: Sequence[str]) -> None:
    if images.shape[0] != maps.shape[0]:
        raise ValueError(
            f"The record holds the maps of {maps.shape[0]} image(s), but {images.shape[0]} came in. "
            "Connect all images of the same run."
        )
    if len(names) != maps.shape[1]:
        raise ValueError(f"{maps.shape[1]} maps per image but {len(names)} names")


def _large_enough(image: Tensor) -> Tensor:
    image = image[..., :3].detach().float().cpu().clamp(0, 1)
    times = ceil(_LEAST_SIDE / min(image.shape[:2]))
    return image if times <= 1 else to_image(to_picture(image, image.shape[0] * times))


def tint(picture: Tensor, heat: Tensor, inks: Tensor) -> Tensor:
    """A picture [H, W, 3] under the objects' tints: heat [T, H, W] in 0..1 of the scale, inks [T, 3] in 0..1."""
    # Where tints meet, the stronger map has more of the mixture; together they are no stronger than one alone.
    mixture = torch.einsum("nhw,nc->hwc", heat**2, inks) / (heat**2).sum(0).clamp_min(1e-9)[..., None]
    amount = _TINT * heat.amax(0)[..., None].sqrt()
    return picture * (1 - amount) + mixture * amount


def _tinted(picture: Tensor, heat: Tensor, colours: Sequence[Colour], which: Sequence[int]) -> Tensor:
    """The picture in its own colours, under the objects' tints and outlines; heat [T, H, W] in 0..1 of the scale."""
    which = list(which)
    if not which:
        return picture
    inks = torch.tensor([colours[t] for t in which]).float() / 255  # [n, 3]
    chosen = heat[which].clamp(0, 1)
    result = tint(picture, chosen, inks)
    thick = max(round(min(picture.shape[:2]) / 170), 1)
    for one, ink in zip(chosen, inks, strict=True):
        line, halo = _outline(one, thick)
        light = float(ink @ torch.tensor([0.299, 0.587, 0.114])) > 0.5
        result[halo] = 0.08 if light else 0.95
        result[line] = ink
    return result


def _outline(one: Tensor, thick: int) -> tuple[Tensor, Tensor]:
    """bool [H, W] each: a line around where a map is strong, and a thinner one around that, so that it shows on any
    ground.
    """
    if float(one.max()) <= 0:
        return torch.zeros_like(one, dtype=torch.bool), torch.zeros_like(one, dtype=torch.bool)
    inside = (one >= _OUTLINE * one.max()).float()
    line = (_grown(inside, thick) - inside) > 0.5
    halo = (_grown(inside, thick + max(thick // 2, 1)) - inside) > 0.5
    return line, halo & ~line


def _grown(mask: Tensor, by: int) -> Tensor:
    across = max_pool2d(mask[None, None], (1, 2 * by + 1), stride=1, padding=(0, by))
    return max_pool2d(across, (2 * by + 1, 1), stride=1, padding=(by, 0))[0, 0]


_Entry = tuple[str, Colour, str]


def _sheet(picture: Tensor, number: str, entries: Sequence[_Entry], top: float) -> Tensor:
    """A picture [H, W, 3] between its names, above, and the scale, below."""
    h, w, _ = picture.shape
    size = min(max(min(h, w) / 22, 15), 64)
    face = font(size, number, *(name + note for name, _, note in entries))
    pad, row = int(size * 0.4), line_height(face) + int(size * 0.35)
    left = pad + (int(face.getlength(number)) + 2 * pad if number else 0)
    lines = _legend_lines(entries, face, w - left - pad)
    above, below = pad + row * max(len(lines), 1), int(size * 1.9)
    sheet = Image.new("RGB", (w, above + h + below), PAPER)
    draw = ImageDraw.Draw(sheet)
    if number:
        draw.text((pad, pad // 2), number, font=face, fill=_FAINT_INK)
    _draw_legend(draw, lines, face, left, pad // 2)
    sheet.paste(to_picture(picture), (0, above))
    _scale(draw, entries, (pad, above + h + int(size * 0.45), w - pad, above + h + int(size * 1.45)), size, top)
    return to_image(sheet)


def _legend_lines(entries: Sequence[_Entry], face, width: float) -> list[list[tuple[str, Colour, str, int]]]:
    """Names with their colours, broken into lines; each with its place from the left."""
    lines: list[list[tuple[str, Colour, str, int]]] = [[]]
    at, swatch = 0, int(face.size * 1.3)
    for number, (name, colour, note) in enumerate(entries, start=1):
        text = shortened(writable(name, f"object {number}"), face, width - swatch)
        room = swatch + int(face.getlength(text)) + int(face.size)
        if note and swatch + face.getlength(f"{text}  {note}") > width:
            note = ""
        if at and at + room > width:
            lines.append([])
            at = 0
        lines[-1].append((text, colour, note, at))
        at += room
    return lines


def _draw_legend(draw: ImageDraw.ImageDraw, lines, face, left: int, top: int) -> None:
    for r, line in enumerate(lines):
        y = top + r * (line_height(face) + int(face.size * 0.35))
        for text, colour, note, at in line:
            side = int(face.size * 0.9)
            down = y + (line_height(face) - side) // 2
            draw.rectangle((left + at, down, left + at + side, down + side), fill=colour, outline=INK)
            begin = left + at + int(face.size * 1.3)
            draw.text((begin, y), text, font=face, fill=INK)
            if note:
                draw.text((begin + face.getlength(text + "  "), y), note, font=face, fill=_FAINT_INK)


def _scale(draw: ImageDraw.ImageDraw, entries: Sequence[_Entry], box, size: float, top: float) -> None:
    """The bar from no attention to the highest of all maps, in the objects' colours, as they tint grey."""
    left, above, right, below = box
    face = font(size * 0.8, "attention")
    low, high = "attention 0", f"{top:.2f}"
    begin, end = left + int(face.getlength(low)) + 8, right - int(face.getlength(high)) - 8
    middle = (above + below - line_height(face)) / 2
    draw.text((left, middle), low, font=face, fill=_FAINT_INK)
    draw.text((end + 8, middle), high, font=face, fill=_FAINT_INK)
    height = (below - above) / max(len(entries), 1)
    for i, (_, colour, _) in enumerate(entries):
        for x in range(begin, max(end, begin + 1)):
            amount = _TINT * ((x - begin) / max(end - begin, 1)) ** 0.5
            ink = tuple(round(205 * (1 - amount) + part * amount) for part in colour)
            draw.line((x, above + i * height, x, above + (i + 1) * height - 1), fill=ink)
