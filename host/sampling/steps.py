"""Where a sampling step begins, seen from inside the solver."""

import copy
import functools
import math
from collections.abc import Callable

import torch

from .samplers import UNKNOWN, facts_of

# Some solvers shift their copy of the first sigma a little; schedules of 1000 steps still differ by more than this.
_SAME_SIGMA = 1e-3


class StepClock:
    """Tells a step's first network call from the others: a method acts once per step, however often the solver calls.

    Known solvers make a fixed number of calls per step (samplers.py). For an unknown one, the first call at each noise
    level of the schedule counts as a step.
    """

    def __init__(self, sampler, sigmas: torch.Tensor):
        self.sigmas = [float(s) for s in sigmas]
        self.total = len(self.sigmas) - 1
        self.facts = facts_of(sampler)
        self._index = -1
        self._left = 0

    def begins(self, sigma: float) -> int | None:
        """To be asked once at every network call: the step's index if this call begins it, else None."""
        if self.facts is UNKNOWN:
            return self._by_noise_level(sigma)
        if self._left > 0:
            self._left -= 1
            return None
        self._index += 1
        calls = min(self.facts.calls, self.total - self._index) if self.facts.tapers else self.facts.calls
        self._left = calls - 1
        return self._index

    def after(self, sigma: float) -> float:
        """The schedule's first noise level below `sigma`; 0 after the last."""
        return max((level for level in self.sigmas if level < sigma * (1 - _SAME_SIGMA)), default=0.0)

    def _by_noise_level(self, sigma: float) -> int | None:
        for index in range(self._index + 1, self.total):
            if math.isclose(sigma, self.sigmas[index], rel_tol=_SAME_SIGMA):
                self._index = index
                return index
        return None


class SolverModel:
    """Stands between a solver and its model, so that a step can begin with a look at the solver's own latent.

    Wrapping the model here, not further inside the host, matters for inpainting: the host mixes the mask into a fresh
    tensor before the network sees it, and no change to that tensor would reach the solver.
    """

    def __init__(self, model: Callable, before_call: Callable):
        self._model = model
        self._before_call = before_call

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **kwargs) -> torch.Tensor:
        return self._before_call(self._model, x, sigma, kwargs)

    def __getattr__(self, name: str):
        return getattr(self._model, name)


def with_solver_model(sampler, before_call: Callable):
    """A copy of a host KSAMPLER whose solver calls `before_call(model, x, sigma, kwargs) -> denoised` instead of its
    model.
    """
    function = sampler.sampler_function

    @functools.wraps(function)
    def wrapped(model, *args, **kwargs):
        return function(SolverModel(model, before_call), *args, **kwargs)

    proxied = copy.copy(sampler)
    proxied.sampler_function = wrapped
    return proxied
