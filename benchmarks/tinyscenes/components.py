"""The picture's code: 8 x 8 patches as their 16 largest principal components, scaled to about unit variance.

Fitted once on scenes like those of the training; host/scenes_vae.py does the same sums inside the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import data

CHANNELS = 16
FLOOR = 0.12  # no component is scaled up further than one with this share of the largest one's deviation
GRID = data.SIZE // data.CELL  # cells per side of a whole picture


@dataclass(frozen=True)
class Components:
    """`mean` [192], `basis` [16, 192] with orthonormal rows, `scale` [16]: what a component is divided by."""

    mean: np.ndarray
    basis: np.ndarray
    scale: np.ndarray

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """[b, side, side, 3] in 0..1 -> latents [b, 16, side / 8, side / 8]."""
        side = pictures.shape[1] // data.CELL
        codes = (patches(pictures) - self.mean) @ self.basis.T / self.scale
        return np.ascontiguousarray(codes.transpose(0, 2, 1)).reshape(-1, CHANNELS, side, side)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """The inverse, as far as 16 components can tell; clipped to 0..1."""
        side = latents.shape[-1]
        codes = latents.reshape(len(latents), CHANNELS, -1).transpose(0, 2, 1)
        flat = (codes * self.scale) @ self.basis + self.mean
        grid = flat.reshape(-1, side, side, data.CELL, data.CELL, 3).transpose(0, 1, 3, 2, 4, 5)
        return grid.reshape(-1, side * data.CELL, side * data.CELL, 3).clip(0.0, 1.0)


def patches(pictures: np.ndarray) -> np.ndarray:
    """[b, side, side, 3] -> [b, cells, 192], a patch's values in the order row, column, colour."""
    side = pictures.shape[1] // data.CELL
    cut = pictures.reshape(-1, side, data.CELL, side, data.CELL, 3).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(len(pictures), side * side, -1)


def fit(seed: int = 0, count: int = 1500) -> Components:
    """Principal components of `count` random scenes."""
    rng = np.random.default_rng([seed, 77])
    scenes = []
    for _ in range(count):
        things, _ = data.sample(rng, (0.45, 0.45, 0.1), 0.3)
        scenes.append(data.render(things, data.ground(rng)))
    flat = patches(np.stack(scenes)).reshape(-1, 3 * data.CELL**2)
    mean = flat.mean(0)
    values, vectors = np.linalg.eigh(np.cov((flat - mean).T))
    deviations = np.sqrt(values[::-1][:CHANNELS])
    scale = np.maximum(deviations, FLOOR * deviations[0])
    return Components(
        mean.astype(np.float32), vectors[:, ::-1][:, :CHANNELS].T.astype(np.float32), scale.astype(np.float32)
    )
