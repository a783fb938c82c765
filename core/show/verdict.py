"""Which objects are there, as far as the run's record and the picture tell: the first thing that the artist wants to
know.

No detector looks at the picture. Where the model was asked whether it sees an object (core.check), that counts.
Otherwise an object is held for drawn if the model gave it attention, gave it the attention in a place of its own, gave
its words (red of a red ball) that place too, and if the picture has its colour there. The maps' thresholds were chosen
on the demo model of shapes, of four sets that were tried, `gain` on the dev half of the prompts of both demo models
(benchmarks/verdict.py); how often they agree with a detector stands in docs/figures.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ..control.record import RunLog
from ..maps.recorder import shown_words
from ..prompt.naming import told_apart
from ..prompt.targets import Targets
from .colours import NAMED, oklab


@dataclass(frozen=True)
class Thresholds:
    """Below these (above it, for `overlap`) an object is held for missing. Shares are relative to an equal one: 1 is
    what an object has where all objects are given the same.

    `attention`: of the objects' attention in the whole picture. `place`: of it in the object's own place, the tenth of
    the picture where its map is highest. `words`: of the attention to the objects' attributes there. `overlap`: share
    of its attention that lies where another object's lies as well. `colour`: share of its place that is near (within
    `near`, Oklab) to its colour. `gain`: by which part of the error the prompt must fit better than one without the
    object.
    """

    attention: float = 0.44
    place: float = 0.55
    words: float = 0.83
    overlap: float = 0.95
    colour: float = 0.05
    near: float = 0.17
    gain: float = 0.15


THRESHOLDS = Thresholds()
# The share of the picture that counts as an object's own place.
_PLACE = 0.10
# Pictures are looked at no larger than this: colours need no detail.
_SIDE = 128
# A stronger method helps up to here; beyond it pictures break.
_STRENGTHEN, _STRONGEST = 1.5, 3.0
# So many pictures get a line each.
_MOST_LINES = 4
_EMPTY = 1e-12


@dataclass(frozen=True)
class Signs:
    """What the record tells of one object in one picture, in the units of Thresholds; None what it cannot tell.

    `rival` is the object, by index, whose map has most in common with this one's; `wearer` the one whose attribute is
    strongest in its place.
    """

    attention: float
    place: float
    words: float | None
    overlap: float
    colour: float | None
    rival: int | None = None
    wearer: int | None = None


@dataclass(frozen=True)
class Seen:
    """One object of one picture: whether it is held for drawn, and if not, why."""

    name: str
    there: bool
    reason: str = ""


def verdicts(run: RunLog, images: Tensor, thresholds: Thresholds = THRESHOLDS) -> list[list[Seen]]:
    """What is held for drawn in each of the run's pictures [B, H, W, 3] in 0..1; empty if nothing was recorded."""
    if run.targets is None or run.maps.mean is None or len(run.maps.mean) != len(images):
        return []
    names = [target.phrase for target in run.targets.objects]
    if len(set(names)) < len(names):
        names = list(told_apart(run.targets.objects))
    by_maps = [
        [_judged(t, one, names, run.targets, thresholds) for t, one in enumerate(picture)]
        for picture in signs(run.maps.mean, run.targets, images, thresholds.near)
    ]
    if run.evidence is None:
        return by_maps
    return [
        [_confirmed(one, gain, thresholds.gain) for one, gain in zip(picture, gains, strict=True)]
        for picture, gains in zip(by_maps, run.evidence.gains.tolist(), strict=True)
    ]


def _confirmed(seen: Seen, gain: float, limit: float) -> Seen:
    """What the maps tell of an object, overruled by what the model sees in the picture, if it was asked."""
    if math.isnan(gain):
        return seen
    if gain > limit:
        return Seen(seen.name, True)
    return Seen(seen.name, False, seen.reason or "the model does not see it in the picture")


def signs(maps: Tensor, targets: Targets, images: Tensor, near: float = THRESHOLDS.near) -> list[list[Signs]]:
    """The signs of every object in every picture: maps [B, words, h, w] of `shown_words(targets)`, [B, H, W, 3]."""
    columns = _columns(targets)
    return [
        _of_picture(one, columns, targets, _looks(image), near) for one, image in zip(maps.float(), images, strict=True)
    ]


def summary(seen: Sequence[Sequence[Seen]], strength: float = 1.0) -> str:
    """One line per picture: "✓ red ball  ✗ blue ring: the model looked for it on the red ball; try another seed, …"."""
    if not any(seen):
        return ""
    if len(seen) > _MOST_LINES:
        whole = sum(all(one.there for one in picture) for picture in seen)
        lines = [f"Everything is there in {whole} of {len(seen)} pictures."]
        for t, one in enumerate(seen[0]):
            lines.append(f"  {one.name}: in {sum(picture[t].there for picture in seen)} of {len(seen)}")
        missing = whole < len(seen)
    else:
        lines = ["  ".join(map(_said, picture)) for picture in seen]
        if len(seen) > 1:
            lines = [f"Picture {number}: {said}" for number, said in enumerate(lines, start=1)]
        missing = not all(one.there for picture in seen for one in picture)
    if missing:
        advice = _advice(strength)
        lines = [lines[0] + f"; {advice}"] if len(seen) == 1 else [*lines, f"Where something is missing: {advice}."]
    return "\n".join(lines)


def _said(one: Seen) -> str:
    return f"✓ {one.name}" if one.there else f"✗ {one.name}: {one.reason}"


def _advice(strength: float) -> str:
    if strength <= 0:
        return "try another seed, or a strength above 0"
    stronger = min(max(round(_STRENGTHEN * strength, 2), strength), _STRONGEST)
    return f"try another seed, or strength {stronger:g}" if stronger > strength else "try another seed"


def _judged(t: int, one: Signs, names: Sequence[str], targets: Targets, limits: Thresholds) -> Seen:
    """The reasons are asked for in the order in which they say most."""
    colour = next((a.text for a in targets.objects[t].attributes if _colour_in(a.text)), None)
    if one.attention < limits.attention:
        reason = "the model hardly looked for it"
    elif one.overlap > limits.overlap or one.place < limits.place:
        reason = f"the model looked for it on the {names[one.rival]}" if one.rival is not None else ""
    elif one.words is not None and one.words < limits.words:
        reason = (
            f"the model looked for it on the {names[one.wearer]}"
            if one.wearer not in (None, t)
            else "the model did not look for its attributes there"
        )
    elif one.colour is not None and one.colour < limits.colour:
        reason = f"where the model looked for it, the picture is not {colour}"
    else:
        return Seen(names[t], True)
    return Seen(names[t], False, reason)


def _columns(targets: Targets) -> list[tuple[int, list[int]]]:
    """Each object's column among the recorded words, and those of its attributes."""
    columns: list[tuple[int, list[int]]] = []
    at = 0
    for target in targets.objects:
        attributes = [i for i, attribute in enumerate(target.attributes, start=1) if attribute.positions]
        columns.append((at, [at + place for place, _ in enumerate(attributes, start=1)]))
        at += 1 + len(attributes)
    if at != len(shown_words(targets)):
        raise ValueError(f"{len(shown_words(targets))} words are shown, but {at} are known")
    return columns


def _of_picture(
    maps: Tensor, columns: list[tuple[int, list[int]]], targets: Targets, looks: Tensor, near: float
) -> list[Signs]:
    """One picture's signs: maps [words, h, w], looks [h', w', 3] in Oklab."""
    objects = torch.stack([maps[column] for column, _ in columns])  # [T, h, w]
    described = {t: maps[attributes].amax(0) for t, (_, attributes) in enumerate(columns) if attributes}
    count = len(objects)
    weights = objects / objects.sum(dim=(1, 2), keepdim=True).clamp_min(_EMPTY)
    means = objects.mean(dim=(1, 2))
    found = []
    for t in range(count):
        place = _place(weights[t])
        shared = {k: float(torch.minimum(weights[t], weights[k]).sum()) for k in range(count) if k != t}
        rival = max(shared, key=shared.get) if shared else None
        own = objects[t] / objects.sum(dim=0).clamp_min(_EMPTY)
        words, wearer = None, None
        if t in described and len(described) > 1:
            there = {k: float(described[k][place].mean()) for k in described}
            words = len(there) * there[t] / max(sum(there.values()), _EMPTY)
            wearer = max(there, key=there.get)
        found.append(
            Signs(
                attention=float(means[t] / means.mean().clamp_min(_EMPTY)),
                place=count * float(own[place].mean()),
                words=words,
                overlap=shared[rival] if rival is not None else 0.0,
                colour=_colour_share(objects[t], targets.objects[t].attributes, looks, near),
                rival=rival,
                wearer=wearer,
            )
        )
    return found


def _place(one: Tensor) -> Tensor:
    """bool [h, w]: the tenth of the picture where a map is highest."""
    count = max(round(_PLACE * one.numel()), 1)
    place = torch.zeros(one.numel(), dtype=torch.bool)
    place[one.flatten().topk(count).indices] = True
    return place.view(one.shape)


def _colour_in(attribute: str) -> str | None:
    return next((word for word in attribute.lower().replace("-", " ").split() if word in NAMED), None)


def _colour_share(one: Tensor, attributes, looks: Tensor, near: float) -> float | None:
    """How much of an object's place [h, w] is near to one of its colours; None if it has none."""
    colours = [word for attribute in attributes if (word := _colour_in(attribute.text))]
    if not colours:
        return None
    fine = interpolate(one[None, None], looks.shape[:2], mode="bicubic", align_corners=False)[0, 0]
    place = _place(fine)
    wanted = torch.from_numpy(np.stack([oklab(NAMED[word]) for word in colours])).float()
    distance = (looks[place][:, None] - wanted).norm(dim=-1).amin(dim=1)
    return float((distance < near).float().mean())


def _looks(image: Tensor) -> Tensor:
    """A picture [H, W, 3] in 0..1, small, in Oklab."""
    image = image[..., :3].detach().float().cpu().clamp(0, 1).movedim(-1, 0)
    size = tuple(min(side, _SIDE) for side in image.shape[1:])
    small = adaptive_avg_pool2d(image, size).movedim(0, -1)
    return torch.from_numpy(oklab(small.numpy() * 255)).float()
