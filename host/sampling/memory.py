"""How a run's gradient passes get along with the memory there is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import comfy.model_management

from ..errors import HostError
from ..networks.base import Network, Site
from ..networks.families import network_of
from .recompute import CHOICES

T = TypeVar("T")
_ROOMY = 0.7  # of a device's memory, which a model may take and leave room for gradients


class Memory:
    """One run's dealings with memory. `run_again` says whether blocks are run again in its gradient passes from now on:
    as the artist chose, or (auto) if what would be kept is more than what the host says is free. A pass ends at the
    last of `sites`; None for one that goes through the whole network.
    """

    def __init__(self, choice: str, patcher, shape: tuple[int, ...], sites: frozenset[Site] | None):
        if choice not in CHOICES:
            raise HostError(f'recompute can be {", ".join(CHOICES)}; "{choice}" is none of these.')
        self.choice = choice
        self.patcher = patcher
        self._shape = tuple(shape)
        self._network = network_of(patcher.model)
        self._sites = sites
        self._short = False  # whether memory has run out once

    def kept(self, run_again: bool) -> int:
        """Bytes that a gradient pass keeps."""
        itemsize = comfy.model_management.dtype_size(self.patcher.model.get_dtype_inference())
        return self._network.kept_bytes(self._shape, itemsize, run_again, self._sites)

    @property
    def run_again(self) -> bool:
        if self.choice != "auto":
            return self.choice == "on" or self._short
        return self._short or self.kept(False) > comfy.model_management.get_free_memory(self.patcher.load_device)

    @property
    def network(self) -> Network | None:
        """The network whose blocks are to be run again, if they are."""
        return self._network if self.run_again else None

    def rows_to_ask_for(self) -> int:
        """How many images' memory the host is to provide in the place of the run's own number: it reckons with two rows
        for each, and a gradient pass has one, and what it keeps. Where the model would have to make way for what is
        kept, blocks are run again instead.
        """
        device = self.patcher.load_device
        room = comfy.model_management.get_total_memory(device) - self.patcher.model_size()
        model, images = self.patcher.model, self._shape[0]
        plain = model.memory_required([2 * images, *self._shape[1:]])
        whole = self.kept(False)
        run_again = self.choice == "on" or (self.choice == "auto" and plain / 2 + whole > room)
        needed = plain / 2 + (self.kept(True) if run_again else whole)
        return max(images, math.ceil(images * needed / plain))

    def tried(self, attempt: Callable[[], T], what: str) -> T:
        """`attempt()`; if the memory does not suffice, once more with all freed that can be, then with blocks run
        again, then a sentence to the artist. An attempt that failed must have left nothing behind.
        """
        for remedy in (self._free, self._run_again, None):
            try:
                return attempt()
            except Exception as error:  # looked at only: everything but a lack of memory passes through
                if not is_out_of_memory(error):
                    raise
            # Outside of the handler, so that nothing that the failed attempt held is kept by its traceback.
            if remedy is not None:
                remedy()
        raise HostError(
            f"The graphics card's memory does not suffice for the gradient that {what} needs, though everything else "
            "was freed and the network's blocks were run again instead of being kept. Use a smaller picture or batch, "
            "or a method without gradients: Attention Regulation or Space-Time Attention."
        )

    def _free(self) -> None:
        device = self.patcher.load_device
        ours = [each for each in comfy.model_management.current_loaded_models if _is_of(each, self.patcher)]
        if device.type != "cpu":
            comfy.model_management.free_memory(self.kept(False), device, ours)
        comfy.model_management.soft_empty_cache(True)

    def _run_again(self) -> None:
        self._short = True
        comfy.model_management.soft_empty_cache(True)


def is_tight(patcher) -> bool:
    """Whether the device holds little more than the model, so that what a gradient keeps would push weights out."""
    return patcher.model_size() > _ROOMY * comfy.model_management.get_total_memory(patcher.load_device)


def _is_of(loaded, patcher) -> bool:
    """Whether one of the host's loaded models is the run's own, or one that takes part in it (a ControlNet)."""
    model = getattr(loaded, "model", None)
    return model is None or model.model is patcher.model or getattr(loaded, "currently_used", False)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on whatever device."""
    of_the_host = comfy.model_management.OOM_EXCEPTION
    if of_the_host is not Exception and isinstance(error, of_the_host):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
