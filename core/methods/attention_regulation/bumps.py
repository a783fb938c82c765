"""The smooth bumps that an edit of Attention Regulation is made of. Zhang et al., ECCV 2024, arXiv 2403.06381."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...keeping import by_size

# Bumps are cut off where they are far below the last digit of the sum (also for the denormal numbers' sake).
_BUMP_FLOOR = 1e-12


@dataclass(frozen=True)
class Bumps:
    """Gaussians on a grid over the map. `matrix` [centres, h·w] holds one in each row, `transposed` is its transpose.

    As published, σ is a sixteenth of the side in whole pixels, centres are 2σ apart and the first is at 2σ; the x of a
    centre varies slowest. Side is the shorter one; σ is never below one pixel, and a side too short has one centre.
    """

    matrix: Tensor
    transposed: Tensor

    @property
    def count(self) -> int:
        return self.matrix.shape[0]

    @staticmethod
    @by_size
    def on(h: int, w: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Bumps:
        sigma = max(min(h, w) // 16, 1)
        with torch.inference_mode(False), torch.no_grad():
            across, down = _profile(w, sigma), _profile(h, sigma)  # [centres in x, w], [centres in y, h]
            matrix = torch.einsum("ax,by->abyx", across, down).flatten(2).flatten(0, 1)
            matrix = torch.where(matrix < _BUMP_FLOOR, 0.0, matrix).to(device, dtype)
            return Bumps(matrix, matrix.t().contiguous())


def _profile(side: int, sigma: int) -> Tensor:
    """The bumps along one axis, [centres, side]."""
    centres = list(range(2 * sigma, side, 2 * sigma)) or [(side - 1) / 2]
    distance = torch.arange(side, dtype=torch.float64) - torch.tensor(centres, dtype=torch.float64)[:, None]
    return torch.exp(-(distance**2) / (2 * sigma**2)).float()
