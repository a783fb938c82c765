"""Where a noise level stands in the run, and how far one unit of the papers' latent is in the sampler's own
coordinates.
"""

import math
from weakref import WeakKeyDictionary

import numpy as np
import torch

# The ends of the range are left out: there the host answers with sentinels (1e9 and 0).
PERCENTS = np.linspace(0.0, 1.0, 1001)[1:-1]
_LOOKED_AT = (99, 499, 899)
_tables: WeakKeyDictionary = WeakKeyDictionary()


def _log_sigmas(model_sampling, percents: np.ndarray) -> np.ndarray:
    return np.log([max(float(model_sampling.percent_to_sigma(p)), 1e-9) for p in percents])


def _table(model_sampling) -> np.ndarray:
    """The logarithm of the noise level at each of PERCENTS.

    A thousand calls of the host take as long as several steps of a small network, so a table is kept as long as its
    object lives, and made anew if that was changed in place, which three of the calls tell.
    """
    kept, some = _tables.get(model_sampling), list(_LOOKED_AT)
    if kept is None or not np.array_equal(kept[some], _log_sigmas(model_sampling, PERCENTS[some])):
        kept = _tables[model_sampling] = _log_sigmas(model_sampling, PERCENTS)
    return kept


class Coordinates:
    """Translates the sampler's noise levels for one model sampling object of the host (`model.model_sampling`)."""

    def __init__(self, model_sampling):
        self.model_sampling = model_sampling
        # The host only offers percent -> sigma; the inverse is read off a table.
        self._percents, self._log_sigmas = PERCENTS, _table(model_sampling)

    def progress(self, sigma: float) -> float:
        """Fraction of the noise schedule that lies behind noise level `sigma`: the host's own percent, 0 at pure noise
        and 1 at the picture.
        """
        if sigma <= 0:
            return 1.0
        log_sigma = math.log(sigma)
        if log_sigma > self._log_sigmas[0]:
            return 0.0
        return float(np.interp(-log_sigma, -self._log_sigmas, self._percents))

    def sigma_at(self, progress: float) -> float:
        """The noise level at a fraction of the schedule; 0 at its end."""
        if progress >= 1.0:
            return 0.0
        return float(np.exp(np.interp(progress, self._percents, self._log_sigmas)))

    def lever(self, sigma: float, step: float) -> float:
        """How much further the prediction must be moved than the latent, so that one Euler step ends at the same place.

        `step` is the length of that step as a fraction of the schedule. From σ to σ' the prediction counts with
        (σ − σ')/σ and the latent with σ'/σ.
        """
        following = min(self.sigma_at(self.progress(sigma) + step), sigma)
        return following / (sigma - following) if following < sigma else 0.0

    def factor(self, sigma: float) -> float:
        """What a step in the papers' latent z is multiplied by to act on the sampler's x.

        The papers descend on the variance-preserving z; the host's eps and v models sample x = z sqrt(1 + sigma^2), so
        z <- z - a dL/dz is x <- x - (1 + sigma^2) a dL/dx. The host's own input scaling c_in = z / x gives the factor
        as 1 / c_in^2 for every kind of model: 1 + sigma^2 for eps and v prediction, 1 for flow models, which sample z
        itself.
        """
        c_in = float(self.model_sampling.calculate_input(torch.tensor([sigma]), torch.ones(1, 1)))
        return 1.0 / (c_in * c_in)
