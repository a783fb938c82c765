"""Which of the host's solvers a SAMPLER object is, or has inside: told by where a function lives, not by its name.

Other packs put theirs in the host's place under its names, and wrap the host's own: in a lambda, in a function that
gets the sampler as an option (Lying Sigma, Detail Daemon), in a partial.
"""

import functools
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType

import comfy.extra_samplers.uni_pc
import comfy.k_diffusion.sampling
import comfy.samplers

_HOMES = [vars(module) for module in (comfy.k_diffusion.sampling, comfy.extra_samplers.uni_pc, comfy.samplers)]
# Solver functions whose name does not follow the host's pattern `sample_<name>`.
_NAMES = {
    "sample_unipc": "uni_pc",
    "sample_unipc_bh2": "uni_pc_bh2",
    "dpm_fast_function": "dpm_fast",
    "dpm_adaptive_function": "dpm_adaptive",
}
# So many things are looked at before a sampler is taken for a stranger.
_MOST_LOOKS = 256
_OPENED = (FunctionType, MethodType, functools.partial, dict, list, tuple)


def is_sampler(thing) -> bool:
    """Whether it is a KSAMPLER of the host, or built like one."""
    return hasattr(thing, "sampler_function")


def solver_name(function) -> str | None:
    """The name in KSampler's list of a function of the host's own; None for any other, whatever it is called."""
    function = _undecorated(function)
    if not any(_home(function) is home for home in _HOMES):
        return None
    name = _NAMES.get(function.__name__, function.__name__.removeprefix("sample_"))
    return name if name in comfy.samplers.SAMPLER_NAMES else None


def solvers_of(sampler) -> list[str]:
    """The host's solvers that `sampler` may call, by their names in KSampler's list; [] for one that is no host's."""
    own = solver_name(getattr(sampler, "sampler_function", None))
    return [own] if own else sorted(set(_inside(sampler, [])))


def name_of(sampler) -> str:
    """For the artist: the host's name of a SAMPLER object; for another pack's, its own name and what is inside it."""
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        return type(sampler).__name__
    own = solver_name(function)
    if own:
        return own
    inside = " and ".join(solvers_of(sampler))
    name = _plain_name(function)
    if name is None:
        return f"{inside} (called by {_pack_of(function)})" if inside else f"one without a name of {_pack_of(function)}"
    if name in comfy.samplers.SAMPLER_NAMES:
        name = f"{name} of {_pack_of(function)}"
    return f"{name} around {inside}" if inside else name


def held_by(thing) -> Iterator:
    """All that a sampler, a function or a partial has in hand to call: options, keywords, defaults, closure."""
    if is_sampler(thing):
        yield thing.sampler_function
        yield from (value for name, value in _attributes(thing).items() if name != "sampler_function")
    elif isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, MethodType):
        yield from (thing.__func__, *_attributes(thing.__self__).values())
    elif isinstance(thing, FunctionType):
        yield from (*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values())
        for cell in thing.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not filled yet
                continue
    elif isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, (list, tuple)):
        yield from thing
    elif callable(thing) and not isinstance(thing, type):
        yield from _attributes(thing).values()


def _inside(thing, seen: list) -> Iterator[str]:
    """The host's solvers in the hand of `thing`, and in the hands of what it has in hand."""
    if len(seen) >= _MOST_LOOKS or any(thing is other for other in seen):
        return
    seen.append(thing)
    name = solver_name(thing)
    if name:
        yield name
        return
    solving = getattr(thing, "sampler_function", None)  # any callable, not a function alone
    hands = [held for held in held_by(thing) if held is solving or is_sampler(held) or isinstance(held, _OPENED)]
    found = [name for held in hands for name in _inside(held, seen)]
    yield from found
    if not found and getattr(thing, "__name__", "") == "<lambda>":
        yield from _called_by_name(thing)


def _called_by_name(function: FunctionType) -> Iterator[str]:
    """The host's solvers that a lambda's own code names: `lambda *a: sampling.sample_euler(*a)`."""
    for name in function.__code__.co_names:
        mine = function.__globals__.get(name, _HOMES[0].get(name))
        solver = solver_name(mine)
        if solver:
            yield solver


def _attributes(thing) -> dict:
    return getattr(thing, "__dict__", {})


def _home(function) -> dict:
    return getattr(function, "__globals__", {})


def _undecorated(function):
    """The function under torch's decorators (no_grad), which all of the host's solvers wear, and under partials."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif str(_home(function).get("__name__")).startswith("torch.") and hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return function


def _plain_name(function: Callable) -> str | None:
    function = _undecorated(function)
    name = getattr(function, "__name__", type(function).__name__)
    return None if name == "<lambda>" else name.removeprefix("sample_")


def _pack_of(function: Callable) -> str:
    """The folder or module of a function: a pack's module is named by its path."""
    function = _undecorated(function)
    module = _home(function).get("__name__") or getattr(function, "__module__", None) or "another pack"
    return module.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0]
