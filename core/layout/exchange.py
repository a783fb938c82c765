"""Layouts from and to what the host's Create Bounding Boxes canvas understands, and from masks.

The canvas knows two forms: elements, `{"bbox": [top, left, bottom, right] in thousandths, "desc": text}`, and bounding
boxes in pixels, `{"x", "y", "width", "height"}`, with or without `{"metadata": {"desc": text}}`, in a list per frame.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from ..errors import MethodError
from ..prompt.commas import entries
from ..prompt.lexicon import singular
from ..prompt.targets import Target, Targets
from .boxes import Box, Layout, Placement

_ARTICLES = frozenset({"a", "an", "the", "some"})
# A mask counts where it is at least this share of its highest value.
_SOLID = 0.5


def to_elements(layout: Layout) -> list[dict]:
    """The layout as the canvas's elements."""
    elements = []
    for placement in layout.placements:
        box = placement.box
        edges = [round(edge * 1000) for edge in (box.top, box.left, box.bottom, box.right)]
        elements.append({"type": "obj", "bbox": edges, "desc": placement.name})
    return elements


def to_boxes(layout: Layout) -> list[list[dict]]:
    """The layout as one frame of bounding boxes in pixels, each with its name."""
    frame = []
    for placement in layout.placements:
        box = placement.box
        left, top = round(box.left * layout.width), round(box.top * layout.height)
        right, bottom = round(box.right * layout.width), round(box.bottom * layout.height)
        about = {"type": "obj", "text": "", "desc": placement.name, "palette": []}
        frame.append({"x": left, "y": top, "width": right - left, "height": bottom - top, "metadata": about})
    return [frame] if frame else []


def from_boxes(data: Any, targets: Targets, width: int, height: int) -> Layout:
    """A layout from elements, bounding boxes or JSON text of either; `width` × `height` is the canvas of pixel boxes.

    A box with a description goes to the object of that name, one without to the next object that has none. Raises
    MethodError, in the artist's words, for anything that cannot be placed.
    """
    described = [_read_box(item, index, width, height) for index, item in enumerate(_frame(data))]
    if len(described) > len(targets.objects):
        raise MethodError(
            f"There are {_number(len(described), 'box', 'boxes')} but only {_number(len(targets.objects), 'object')} "
            f"in the prompt "
            f"({_names(targets)}). Remove a box, or name the object in the prompt."
        )
    owners = _match([description for description, _ in described], targets, "box")
    placements = [Placement(i, targets.objects[i].phrase, box) for i, (_, box) in zip(owners, described)]
    return Layout(tuple(sorted(placements, key=lambda p: p.target)), width, height, targets.relations)


def from_masks(masks: Tensor, targets: Targets, names: str = "") -> Layout:
    """A layout from masks [M, H, W] in 0..1: the objects listed in `names`, or the first M in order.

    Raises MethodError for an empty mask, an unknown name, or more masks than objects.
    """
    masks = masks[None] if masks.ndim == 2 else masks
    listed = entries(names)
    if len(masks) > len(targets.objects):
        raise MethodError(
            f"There are {_number(len(masks), 'mask')} but only {_number(len(targets.objects), 'object')} in the prompt "
            f"({_names(targets)}). Remove a mask, or name the object in the prompt."
        )
    if listed and len(listed) != len(masks):
        raise MethodError(
            f"{_number(len(listed), 'name')} for {_number(len(masks), 'mask')}: give one name per mask, or none at all."
        )
    owners = _match(listed or [""] * len(masks), targets, "mask")
    placements = []
    for number, (owner, mask) in enumerate(zip(owners, masks), start=1):
        mask = mask.detach().to("cpu", torch.float32).clamp(0, 1)
        name = targets.objects[owner].phrase
        if not bool((mask > 0).any()):
            raise MethodError(
                f'Mask {number} ("{name}") is empty: paint where the object should be, or remove the mask.'
            )
        placements.append(Placement(owner, name, _around(mask), mask))
    height, width = masks.shape[-2:]
    return Layout(tuple(sorted(placements, key=lambda p: p.target)), width, height, targets.relations)


def _around(mask: Tensor) -> Box:
    """The box of the part of a mask [H, W] that counts."""
    solid = mask >= _SOLID * mask.max()
    rows, columns = solid.any(dim=1).nonzero().flatten(), solid.any(dim=0).nonzero().flatten()
    h, w = mask.shape
    return Box(int(columns[0]) / w, int(rows[0]) / h, (int(columns[-1]) + 1) / w, (int(rows[-1]) + 1) / h)


def _frame(data: Any) -> list:
    """The boxes of the first frame, whichever form they come in."""
    if data is None:
        return []
    if isinstance(data, str):
        if not data.strip():
            return []
        try:
            data = json.loads(data)
        except ValueError as error:
            raise MethodError(
                f'The boxes are not valid JSON ({error}). Write them as [{{"bbox": [top, left, bottom, right], "desc": '
                f'"cat"}}].'
            ) from None
    if isinstance(data, dict):
        return [data]
    if not isinstance(data, (list, tuple)):
        raise MethodError(
            f"The boxes must be a list, not {type(data).__name__}. Connect the canvas's elements or bboxes output."
        )
    if data and isinstance(data[0], (list, tuple)):
        return list(data[0])
    return list(data)


def _read_box(item: Any, index: int, width: int, height: int) -> tuple[str, Box]:
    """(description, box) of one element or bounding box."""
    name = f"Box {index + 1}"
    if not isinstance(item, dict):
        raise MethodError(f"{name} is not a box but {item!r}. Connect the canvas's elements or bboxes output.")
    about = item.get("metadata") if isinstance(item.get("metadata"), dict) else item
    description = str(about.get("desc") or about.get("text") or "").strip()
    if description:
        name += f' ("{description}")'
    try:
        if "bbox" in item:
            top, left, bottom, right = (float(edge) / 1000 for edge in item["bbox"])
        else:
            left, top = float(item["x"]) / width, float(item["y"]) / height
            right, bottom = left + float(item["width"]) / width, top + float(item["height"]) / height
    except (KeyError, TypeError, ValueError):
        raise MethodError(
            f"{name} has no readable edges: it needs x, y, width and height in pixels, or bbox with top, left, bottom "
            f"and right in thousandths."
        ) from None
    box = Box(min(left, right), min(top, bottom), max(left, right), max(top, bottom))
    if not box.is_inside:
        raise MethodError(
            f"{name} lies outside the picture: it reaches from {box.left:.0%} to {box.right:.0%} across and from "
            f"{box.top:.0%} to {box.bottom:.0%} down. "
            f"Move it inside, or set width and height ({width} × {height}) to those of the canvas."
        )
    if min(box.width * width, box.height * height) < 1:
        raise MethodError(f"{name} is empty: draw it at least one pixel wide and high.")
    return description, box.clamped()


def _match(descriptions: list[str], targets: Targets, what: str) -> list[int]:
    """The target of each description, in order; the empty ones get the objects left over, in order."""
    free = list(range(len(targets.objects)))
    owners: dict[int, int] = {}
    for index, description in enumerate(descriptions):
        if not description:
            continue
        fitting = [i for i in range(len(targets.objects)) if _is_name(description, targets.objects[i])]
        if not fitting:
            raise MethodError(
                f'There is a {what} for "{description}", which is not an object of the prompt. Its objects are: '
                f"{_names(targets)}. "
                f"Give the {what} one of these names, or none."
            )
        left = [i for i in fitting if i in free]
        if not left:
            raise MethodError(
                f'There are two {what}{"es" if what == "box" else "s"} for "{description}". Every object has one '
                f"place: remove one of them."
            )
        # "cat" may mean several; the phrase in full comes first.
        left.sort(key=lambda i: _plain(targets.objects[i].phrase) != _plain(description))
        owners[index] = left[0]
        free.remove(left[0])
    return [owners[index] if index in owners else free.pop(0) for index in range(len(descriptions))]


def _is_name(description: str, target: Target) -> bool:
    return _plain(description) in (_plain(target.name), _plain(target.phrase))


def _plain(text: str) -> str:
    """Lower case, singular and without articles: "The Dogs" is "dog"."""
    return " ".join(singular(word) for word in text.lower().split() if word not in _ARTICLES)


def _names(targets: Targets) -> str:
    return ", ".join(target.phrase for target in targets.objects) or "none"


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
