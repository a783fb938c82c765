"""The mean map of a whole picture, put together from what the network's calls show of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .probabilities import wide
from .view import Place


class PictureMaps:
    """Mean map [B, h, w, length] over all heads of all layers and calls (a layer counts by its heads).

    The map has one size, `size`, or that of the first layer seen. A layer of another size, or one that was shown a part
    of the picture or of the batch, goes to its place; where nothing was shown the map is 0.
    """

    def __init__(self, length: int, size: tuple[int, int] | None = None) -> None:
        self.length = length  # the prompt's own tokens: a conditioning that another was appended to has more
        self.size = size
        self._sum: Tensor | None = None
        self._weight: float | Tensor = 0.0  # heads that made each pixel: one number, or [B, h, w] once there are parts

    def add(
        self, probs: Tensor, h: int, w: int, place: Place | None = None, columns: Sequence[int] | None = None
    ) -> None:
        """Take in one layer's probabilities [b, heads, h·w, tokens] at `place`, None for whole pictures; they may be
        those of some `columns` alone.
        """
        heads = probs.shape[1]
        total = wide(probs).sum(dim=1)
        if columns is not None:
            index = torch.tensor(list(columns), device=total.device)
            total = total.new_zeros(*total.shape[:-1], self.length).index_copy(-1, index, total)
        total = total[..., : self.length]  # [b, h*w, length]
        self.size = self.size or (h, w)
        if (place is None or place.is_whole) and (h, w) == self.size:
            self._sum = total if self._sum is None else self._sum + total
            self._weight = self._weight + heads
            return
        place = place or Place.whole(probs.shape[0], h, w)
        added, weight = self._placed(total.unflatten(1, (h, w)), place, heads)
        self._sum = added if self._sum is None else self._sum + added
        self._weight = self._weight + weight

    def _placed(self, total: Tensor, place: Place, heads: int) -> tuple[Tensor, Tensor]:
        """One layer's sum [b, h, w, length] as sum [B, h·w, length] and weight [B, h, w] of the whole pictures."""
        _, h, w, _ = total.shape
        down = place.view.down.spread(h, self.size[0]).to(total)
        across = place.view.across.spread(w, self.size[1]).to(total)
        # Over latent pixels, so that a map's pixel made of several has their mean.
        amount = torch.outer(down.sum(dim=1), across.sum(dim=1))
        spread = torch.einsum("yh,bhwt,xw->byxt", down, total, across)
        covered = amount > 0
        spread = spread / torch.where(covered, amount, 1.0)[..., None]
        index = torch.tensor(place.images, device=total.device)
        canvas = spread.new_zeros(place.batch, *spread.shape[1:]).index_add(0, index, spread)
        weight = spread.new_zeros(place.batch, *self.size)
        weight = weight.index_add(0, index, (covered.to(spread) * heads).expand(len(place.images), -1, -1))
        return canvas.flatten(1, 2), weight

    @property
    def complete(self) -> bool:
        """Whether every pixel of every image has been shown."""
        weight = self._weight
        return bool((weight > 0).all()) if isinstance(weight, Tensor) else weight > 0

    @property
    def mean(self) -> Tensor | None:
        """[B, h, w, length], differentiable if the probabilities were; None if nothing was seen."""
        if self._sum is None:
            return None
        weight = self._weight
        if isinstance(weight, Tensor):
            weight = weight.clamp_min(1.0).flatten(1)[..., None]
        return (self._sum / weight).unflatten(1, self.size)

    @property
    def shown(self) -> Tensor | None:
        """`mean` without the rows and columns at the edges that no image was shown: what a loss may look at."""
        mean = self.mean
        if mean is None or not isinstance(self._weight, Tensor) or self.complete:
            return mean
        seen = (self._weight > 0).any(dim=0)
        rows, columns = (seen.any(dim=dim).nonzero().flatten() for dim in (1, 0))
        return mean[:, int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
