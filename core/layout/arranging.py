"""Where the pieces of a noisy latent are moved to, so that each object begins where it belongs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.signal import correlate
from torch import Tensor

_HALF = 0.5  # of a cell that a region must cover to hold it
_ROUNDING = 1e-12  # of a Fourier transform in float64


@dataclass(frozen=True)
class Arrangement:
    """`source` int64 [h·w]: for each cell of the new latent, the cell that it is taken from; every cell is taken once.

    `shifts` [objects, 2]: how far, in cells (down, across), each object's piece was moved; 0 of one without a region.
    """

    source: Tensor
    shifts: Tensor

    def of(self, x: Tensor) -> Tensor:
        """A latent [..., h, w] so arranged, a new tensor."""
        return x.flatten(-2)[..., self.source.to(x.device)].reshape(x.shape)


def arrangement(maps: Tensor, regions: Tensor) -> Arrangement:
    """Moves to each region [O, h, w] the piece of its shape in which its object's map [O, h, w] has the largest sum,
    wherever that is in the picture. A cell serves one object only, and larger regions choose first; what stood in a
    region goes where pieces were taken away.
    """
    h, w = regions.shape[-2:]
    cells = torch.arange(h * w).reshape(h, w)
    source = torch.full((h, w), -1)
    taken = torch.zeros(h, w, dtype=torch.bool)
    shifts = torch.zeros(len(regions), 2, dtype=torch.long)
    held = regions.cpu() > _HALF
    for place in torch.argsort(held.sum(dim=(1, 2)), descending=True, stable=True).tolist():
        rows, columns = held[place].nonzero(as_tuple=True)
        if not len(rows):
            continue
        down, across = _best(maps[place].cpu().double(), held[place], taken)
        origin = cells[rows - rows.min() + down, columns - columns.min() + across]
        # Where regions share a cell it is the first's; what another has taken cannot be taken again.
        free = (source[rows, columns] < 0) & ~taken.flatten()[origin]
        source[rows[free], columns[free]] = origin[free]
        taken.view(-1)[origin[free]] = True
        shifts[place] = torch.stack([rows.min() - down, columns.min() - across])
    return Arrangement(_filled(source.flatten(), taken.flatten()), shifts)


def _best(own: Tensor, held: Tensor, taken: Tensor) -> tuple[int, int]:
    """Upper left corner of the piece of the shape of `held` whose sum of `own` is largest, the first of several."""
    rows, columns = held.any(dim=1).nonzero().flatten(), held.any(dim=0).nonzero().flatten()
    shape = held[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # A piece that another object has taken is worth less than none.
    worth = torch.where(taken, -own.abs().max(), own)
    # By Fourier transform: summed one by one, the pieces of a large latent would take gigabytes.
    sums = correlate(worth.numpy(), shape.double().numpy(), mode="valid", method="fft")
    # Its rounding tells equal sums apart.
    same = sums >= sums.max() - _ROUNDING * float(worth.abs().sum())
    return tuple(int(i) for i in np.unravel_index(same.argmax(), same.shape))


def _filled(source: Tensor, taken: Tensor) -> Tensor:
    """The rest stays where it is, and what is left over goes, in order, where nothing is left."""
    cells = torch.arange(len(source))
    stays = (source < 0) & ~taken
    source = torch.where(stays, cells, source)
    source[source < 0] = cells[~taken & ~stays]
    return source
