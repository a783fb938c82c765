"""The host's options inside networks that hand them on to none of their parts (PixArt, HunyuanDiT, Ernie-Image).

What a network is called with is remembered while it is at work. An attention that takes no options is made to: its own
code is run, in which the name of the host's attention function stands for that function with the options. Nothing
global is replaced: whoever else calls the function, or has put another in its place, notices nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import FunctionType

_NAME = "optimized_attention"  # of the host's attention function, in the modules of its networks
_AT_WORK: ContextVar[dict | None] = ContextVar("prompt_fidelity_options", default=None)


@contextmanager
def at_work(options: dict) -> Iterator[None]:
    """Parts of a network that are called meanwhile, in this thread, belong to a call with these `options`."""
    token = _AT_WORK.set(options)
    try:
        yield
    finally:
        _AT_WORK.reset(token)


def options_of(named: dict) -> dict:
    """The host's options of a part of a network, by the keyword arguments that it was called with."""
    return named.get("transformer_options") or _AT_WORK.get() or {}


def remembered(forward: Callable, _, *arguments, **named):
    """A whole network's `forward`, which its parts get to know the options of."""
    with at_work(options_of(named)):
        return forward(*arguments, **named)


class HandingOn:
    """An attention module's `forward` that takes no options, as one that takes them."""

    def __init__(self, forward: Callable):
        self._forward = forward

    def __call__(self, *arguments, transformer_options: dict | None = None, **named):
        function = getattr(self._forward, "__func__", None)
        if transformer_options is None or _NAME not in getattr(function, "__globals__", ()):
            return self._forward(*arguments, **named)
        attend = partial(function.__globals__[_NAME], transformer_options=transformer_options)
        names = {**function.__globals__, _NAME: attend}
        own = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
        own.__kwdefaults__ = function.__kwdefaults__
        return own(self._forward.__self__, *arguments, **named)


def handing_on(forward: Callable) -> Callable:
    """`forward` itself if it takes the host's options."""
    taken = inspect.signature(forward).parameters.values()
    takes = any(each.name == "transformer_options" or each.kind is each.VAR_KEYWORD for each in taken)
    return forward if takes else HandingOn(forward)
