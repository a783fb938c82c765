"""Modules that say who they are: for the time of a run, the host's options inside them name the attention at work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch

from .base import Site
from .handed import handing_on, options_of, remembered

# In the transformer options inside an announced module. None there: whatever runs inside is not to be announced.
KEY = "prompt_fidelity_site"


class Announced:
    """Puts itself in front of the `forward` of modules, and takes itself off again.

    In front of, not into a hook: a block that is run a second time for a gradient is run by its `forward`. `keeps` is
    the network if it hands the host's options on to none of the modules.
    """

    def __init__(
        self,
        modules: Mapping[Site, torch.nn.Module],
        around: Callable | None = None,
        keeps: torch.nn.Module | None = None,
    ):
        self._modules = modules
        self._around = around or _with_site
        self._keeps = keeps
        self._before: list[tuple[torch.nn.Module, Callable | None]] = []

    def put(self) -> None:
        if self._keeps is not None:
            self._put(remembered, self._keeps, None)
        for site, module in self._modules.items():
            self._put(self._around, module, site)

    def _put(self, around: Callable, module: torch.nn.Module, site: Site | None) -> None:
        self._before.append((module, vars(module).get("forward")))
        module.forward = partial(around, handing_on(module.forward), site)

    def remove(self) -> None:
        for module, before in reversed(self._before):
            if before is None:
                del module.forward
            else:
                module.forward = before
        self._before = []


def _with_site(forward: Callable, site: Site, *arguments, **named):
    options = options_of(named)
    if options.get(KEY, site) is None:
        return forward(*arguments, **named)
    return forward(*arguments, **{**named, "transformer_options": {**options, KEY: site}})
