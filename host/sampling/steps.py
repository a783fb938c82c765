"""Where a sampling step begins, seen from inside the solver."""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ...core.copies import CopiesToItself
from ...core.maps.transforms import plain
from .samplers import UNKNOWN, SamplerFacts, facts_of
from .solvers import is_sampler
from .walks import Counted, Followed

# Some solvers shift their copy of a noise level a little.
_SAME = 1e-3


class StepClock:
    """Tells a step's first network call from the others: a method acts once per step, however often the solver calls.

    A sampler may be made of solvers (a wrapper around one of the host's, several in turn): each is followed by itself,
    in its own schedule and as what it is. `first` is the number of the run's first step, for a run that continues
    another.
    """

    def __init__(self, sampler, sigmas: torch.Tensor, first: int = 0):
        self.sigmas = [float(s) for s in sigmas]
        self.first = first
        self.total = first + len(self.sigmas) - 1
        self._recognised = 0
        self._followed = False  # whether a solver was, that is not the host's
        self._last = first - 1
        self._base = first
        self._facts, self._walk = self._solver(facts_of(sampler), self.sigmas)
        self._inside = 0

    @property
    def facts(self) -> SamplerFacts:
        """Those of the solver at work."""
        return self._facts

    def begins(self, sigma: float, x: torch.Tensor | None = None) -> int | None:
        """To be asked once at every network call: the step's number if this call begins it, else None."""
        index = self._walk.begins(sigma, x)
        if index is None:
            return None
        self._recognised += 1
        self._last = max(self._base + index, self._last + 1)
        return self._last

    def after(self, sigma: float) -> float:
        """The schedule's first noise level below `sigma`; 0 after the last."""
        return max((level for level in self.sigmas if level < sigma * (1 - _SAME)), default=0.0)

    def called_back(self, told) -> None:
        """To be told whatever the solver at work tells its callback."""
        self._walk.called_back(told)

    @property
    def taken_apart(self) -> bool:
        """Whether a solver inside the sampler is at work: what the sampler around it calls is none of its steps."""
        return self._inside > 0

    @contextmanager
    def solving(self, sampler, sigmas) -> Iterator[None]:
        """A solver inside the sampler is at work, in a schedule of its own."""
        before = self._facts, self._walk, self._base
        self._facts, self._walk = self._solver(facts_of(sampler), _levels(sigmas) or self.sigmas)
        self._base = self._last + 1
        self._inside += 1
        try:
            yield
        finally:
            self._facts, self._walk, self._base = before
            self._inside -= 1

    @property
    def recognised(self) -> int:
        """How many steps were told apart: all that a solver of the host makes of its schedule."""
        return self._recognised if self._followed else self.total - self.first

    def _solver(self, facts: SamplerFacts, sigmas: list[float]) -> tuple[SamplerFacts, Counted | Followed]:
        if facts is not UNKNOWN:
            return facts, Counted(facts, sigmas)
        self._followed = True
        return facts, Followed(sigmas)


def _levels(sigmas) -> list[float]:
    """A schedule as numbers; [] for what is none."""
    usable = isinstance(sigmas, torch.Tensor) and sigmas.dim() == 1 and len(sigmas) > 1
    return [float(sigma) for sigma in sigmas] if usable else []


class SolverModel(CopiesToItself):
    """Stands between a solver and its model, so that a step can begin with a look at the solver's own latent.

    Wrapping the model here, not further inside the host, matters for inpainting: the host mixes the mask into a fresh
    tensor before the network sees it, and no change to that tensor would reach the solver. What a solver sets on its
    model (Euler Dy a smaller mask for a while) is set on the model itself.
    """

    def __init__(self, model: Callable, before_call: Callable, passes: Callable[[], bool] = lambda: False):
        self.__dict__.update(_model=model, _before_call=before_call, _passes=passes)

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **kwargs) -> torch.Tensor:
        if self._passes():
            return self._model(x, sigma, **kwargs)
        return self._before_call(self._model, x, sigma, kwargs)

    def __getattr__(self, name: str):
        return getattr(self.__dict__["_model"], name)

    def __setattr__(self, name: str, value) -> None:
        setattr(self._model, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._model, name)


def with_solver_model(sampler, before_call: Callable, clock: StepClock | None = None):
    """A copy of a host KSAMPLER whose solver calls `before_call(model, x, sigma, kwargs) -> denoised` instead of its
    model.

    A sampler that has others among its options hands them a model of its own (Lying Sigma and Detail Daemon tell the
    network another noise level than the solver's): those are wrapped as well, inside, where the solver's own latent and
    noise level are. `clock` hears of everything that the solvers tell.
    """
    proxied, function = _with_samplers_inside(sampler, before_call, clock or _Deaf())
    proxied.sampler_function = _around(function, before_call, clock or _Deaf())
    return proxied


def _with_samplers_inside(sampler, before_call: Callable, clock: StepClock) -> tuple:
    """(copy of the sampler, its function), with the samplers that are among their options wrapped."""

    def wrapped(held):
        return _called_by_another(held, before_call, clock) if is_sampler(held) else held

    proxied, function = copy.copy(sampler), sampler.sampler_function
    options = getattr(sampler, "extra_options", None) or {}
    proxied.extra_options = {name: wrapped(held) for name, held in options.items()}
    if isinstance(function, functools.partial):
        keywords = {name: wrapped(held) for name, held in function.keywords.items()}
        function = functools.partial(function.func, *map(wrapped, function.args), **keywords)
    return proxied, function


def _called_by_another(sampler, before_call: Callable, clock: StepClock):
    """A copy of a sampler that another one calls."""
    proxied, function = _with_samplers_inside(sampler, before_call, clock)
    if any(is_sampler(held) for held in _options(sampler)):
        proxied.sampler_function = _around(function, before_call, clock)  # what counts is the solver that it calls
        return proxied

    @functools.wraps(function)
    def solver(model, *args, **kwargs):
        sigmas = kwargs.get("sigmas", args[1] if len(args) > 1 else None)
        with clock.solving(sampler, sigmas):
            return function(SolverModel(model, before_call), *args, **_overheard(clock.called_back, kwargs))

    proxied.sampler_function = solver
    return proxied


def _around(function: Callable, before_call: Callable, clock: StepClock) -> Callable:
    """A sampler's function as the host calls it. What it calls while a solver inside it is at work is that solver's."""

    def report(told) -> None:
        if not clock.taken_apart:
            clock.called_back(told)

    @functools.wraps(function)
    def wrapped(model, *args, **kwargs):
        model = SolverModel(model, before_call, lambda: clock.taken_apart)
        return function(model, *args, **_overheard(report, kwargs))

    return wrapped


def _options(sampler) -> list:
    function = sampler.sampler_function
    bound = [*function.args, *function.keywords.values()] if isinstance(function, functools.partial) else []
    return [*(getattr(sampler, "extra_options", None) or {}).values(), *bound]


def _overheard(listen: Callable, kwargs: dict) -> dict:
    """A solver's arguments, with `listen(report)` told whatever it tells its callback."""
    callback = kwargs.get("callback")
    if callback is None:
        return kwargs

    def told(report, *args, **more):
        listen(report)
        return callback(report, *args, **more)

    return {**kwargs, "callback": told}


def level_of(sigma: torch.Tensor) -> float:
    """The noise level of a call, also inside a functorch transform (solvers that take a derivative of the model)."""
    return float(plain(sigma).flatten()[0])


class _Deaf:
    """In the place of a clock where none follows the steps."""

    taken_apart = False

    def called_back(self, told) -> None:
        pass

    @contextmanager
    def solving(self, sampler, sigmas) -> Iterator[None]:
        yield
