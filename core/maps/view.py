"""What one network call shows of the pictures: all of them or some, each whole or a tile, a window, an area of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import torch
from torch import Tensor


@dataclass(frozen=True)
class Axis:
    """Which of the picture's latent rows (or columns) a call shows: `shown`, in the call's order, of `count`.

    Most often a stretch of them; a window that closes a loop, a rolled latent or a dilated one are lists like any.
    """

    shown: tuple[int, ...]
    count: int

    @classmethod
    def whole(cls, count: int) -> Axis:
        return cls(tuple(range(count)), count)

    @cached_property
    def is_whole(self) -> bool:
        return self.shown == tuple(range(self.count))

    @cached_property
    def is_stretch(self) -> bool:
        """Whether what is shown lies together and in order."""
        return self.shown == tuple(range(self.shown[0], self.shown[0] + len(self.shown)))

    def positions(self, pixels: int, offset: float = 0.5) -> Tensor:
        """[pixels] in 0..1 of the picture: where the pixels of a map of this axis stand.

        `offset` is the place inside a pixel that is meant: 0.5 its middle, 0 its upper or left corner.
        """
        along = (torch.arange(pixels, dtype=torch.float32) + offset) / pixels
        if self.is_whole:
            return along
        length = len(self.shown)
        if self.is_stretch:
            return (self.shown[0] + along * length) / self.count
        nearest = [self.shown[min(int(at * length), length - 1)] for at in along.tolist()]
        return (torch.tensor(nearest, dtype=torch.float32) + offset) / self.count

    def pixel_at(self, position: float, pixels: int) -> int | None:
        """The pixel of a map of this axis that shows a position, 0..1, of the picture; None if it is not shown."""
        place = min(max(int(position * self.count), 0), self.count - 1)
        if place not in self.shown:
            return None
        return self.shown.index(place) * pixels // len(self.shown)

    def spread(self, pixels: int, cells: int) -> Tensor:
        """[cells, pixels]: how much of each of `cells` along the whole picture each pixel of a map of this axis makes.

        Counted in latent rows, so that a map of any size finds its place in one of any other.
        """
        finer = ceil(max(cells / self.count, pixels / len(self.shown)))
        matrix = torch.zeros(cells, pixels)
        for index, place in enumerate(self.shown):
            for part in range(finer):
                cell = (place * finer + part) * cells // (self.count * finer)
                pixel = (index * finer + part) * pixels // (len(self.shown) * finer)
                matrix[cell, pixel] += 1.0
        return matrix


@dataclass(frozen=True)
class View:
    """The part of the picture's latent that a call shows."""

    down: Axis
    across: Axis

    @classmethod
    def whole(cls, height: int, width: int) -> View:
        return cls(Axis.whole(height), Axis.whole(width))

    @property
    def is_whole(self) -> bool:
        return self.down.is_whole and self.across.is_whole

    @property
    def height(self) -> int:
        """Of the whole picture's latent."""
        return self.down.count

    @property
    def width(self) -> int:
        return self.across.count

    def of(self, picture: Tensor) -> Tensor:
        """[..., height, width] of the whole picture → what is shown of it."""
        down = torch.tensor(self.down.shown, device=picture.device)
        across = torch.tensor(self.across.shown, device=picture.device)
        return picture.index_select(-2, down).index_select(-1, across)


@dataclass(frozen=True)
class Place:
    """Whose and which part of the run's pictures some rows of a call show: `images` of a batch of `batch`, in order."""

    view: View
    images: tuple[int, ...]
    batch: int

    @classmethod
    def whole(cls, batch: int, height: int, width: int) -> Place:
        return cls(View.whole(height, width), tuple(range(batch)), batch)

    @cached_property
    def has_all_images(self) -> bool:
        return self.images == tuple(range(self.batch))

    @cached_property
    def is_whole(self) -> bool:
        return self.has_all_images and self.view.is_whole


class Shown:
    """What of the pictures has been shown so far."""

    def __init__(self) -> None:
        self._shown: Tensor | None = None  # bool [B, H, W]

    def add(self, place: Place) -> bool:
        """Take in a place; whether anything of it is new."""
        if self._shown is None:
            self._shown = torch.zeros(place.batch, place.view.height, place.view.width, dtype=torch.bool)
        images, down, across = (
            torch.tensor(indices) for indices in (place.images, place.view.down.shown, place.view.across.shown)
        )
        where = (images[:, None, None], down[:, None], across)
        new = not bool(self._shown[where].all())
        self._shown[where] = True
        return new

    def view(self, h: int, w: int) -> View | None:
        """The part of the pictures, in pixels of a map of h × w, that holds all that was shown of any of them; None for
        all of it.
        """
        if self._shown is None:
            return None
        shown = self._shown.any(dim=0)
        down, across = (_stretch(shown.any(dim=dim), cells) for dim, cells in ((1, h), (0, w)))
        view = View(down, across)
        return None if view.is_whole else view


def view_of(shown: Mapping[object, Shown], size: tuple[int, int] | None) -> View | None:
    """What the layers of a pass have shown of the pictures, in pixels of maps of `size`; None for all of it.

    All of them are shown the same.
    """
    first = next(iter(shown.values()), None)
    return None if first is None or size is None else first.view(*size)


def _stretch(shown: Tensor, cells: int) -> Axis:
    """The stretch of `cells` along the picture that holds all of its rows that are `shown` [rows]."""
    rows = Axis(tuple(shown.nonzero().flatten().tolist()), len(shown))
    touched = rows.spread(len(rows.shown), cells).sum(dim=1).nonzero().flatten().tolist()
    return Axis(tuple(range(touched[0], touched[-1] + 1)), cells)


def place_of(part: Tensor, pictures: Tensor) -> Place | None:
    """Where in `pictures` [B, C, H, W] the latents `part` [b, C, h, w] were cut from, found by their numbers.

    Noise is different everywhere, so that a pixel's channels tell where it comes from, whoever cut it out and however:
    a stretch, a list, around a corner. None if not every number is found where the others say, or in several places.
    """
    if part.shape == pictures.shape and torch.equal(part, pictures):
        return Place.whole(pictures.shape[0], *pictures.shape[-2:])
    if part.shape[1] != pictures.shape[1]:
        return None
    found = {place for start in _same_pixels(part[0, :, 0, 0], pictures) if (place := _from(start, part, pictures))}
    return found.pop() if len(found) == 1 else None


# A pixel that many others equal tells nothing (a latent of zeros).
_MOST_STARTS = 8


def _same_pixels(pixel: Tensor, pictures: Tensor) -> list[tuple[int, int, int]]:
    """Image, row and column of every pixel of `pictures` that equals `pixel` [C] in all channels."""
    starts = (pictures == pixel[None, :, None, None]).all(dim=1).nonzero().tolist()
    return [tuple(start) for start in starts] if len(starts) <= _MOST_STARTS else []


def _from(start: tuple[int, int, int], part: Tensor, pictures: Tensor) -> Place | None:
    """The place of `part` if its first pixel is the one at `start`."""
    image, y, x = start
    height, width = pictures.shape[-2:]
    down = _along(part[0, :, :, 0], pictures[image, :, :, x], y)
    across = _along(part[0, :, 0, :], pictures[image, :, y, :], x)
    if down is None or across is None:
        return None
    view = View(Axis(down, height), Axis(across, width))
    shown = view.of(pictures)
    images = [_first((shown == one[None]).flatten(1).all(dim=1)) for one in part]
    return None if None in images else Place(view, tuple(images), pictures.shape[0])


def _along(part: Tensor, whole: Tensor, start: int) -> tuple[int, ...] | None:
    """Where in `whole` [C, n] each column of `part` [C, m] is; together from `start` on, if that fits."""
    length = part.shape[1]
    if start + length <= whole.shape[1] and torch.equal(part, whole[:, start : start + length]):
        return tuple(range(start, start + length))
    same = (part[:, :, None] == whole[:, None, :]).all(dim=0)  # [m, n]
    if not bool((same.sum(dim=1) == 1).all()):
        return None
    return tuple(same.int().argmax(dim=1).tolist())


def _first(found: Tensor) -> int | None:
    places: Sequence[int] = found.nonzero().flatten().tolist()
    return places[0] if places else None
