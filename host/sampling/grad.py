"""Gradients inside the host, whose tensors are inference tensors and whose weights come and go."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch

from ..networks.base import Network
from ..networks.tap import Tap
from .kept import Kept
from .layers import weights_fetched_again
from .recompute import blocks_run_again


@contextmanager
def differentiable(
    *modules: torch.nn.Module, run_again: Network | None = None, taps: Iterable[Tap] = ()
) -> Iterator[Kept]:
    """Leaves inference mode, with gradients on: what the host and other packs run meanwhile can be differentiated.

    The layers of `modules` keep no weights for the backward pass but fetch them again (`layers`), so that they may lie
    wherever the host likes. Nothing is copied, and no gradient flows into weights. The modules are shared by all clones
    of a model, so they are put back whatever happens. The blocks of the network `run_again` keep nothing but what goes
    in (`recompute`); `taps` are what may be listening to it.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(weights_fetched_again(*modules))
        kept = stack.enter_context(Kept())
        if run_again is not None:
            stack.enter_context(blocks_run_again(run_again, kept, taps))
        yield kept


def ordinary(arguments: Mapping) -> dict:
    """A sampler's arguments with every tensor copied: autograd may not keep one that was made in inference mode."""
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in arguments.items()}


def beside_the_network(guider) -> list[torch.nn.Module]:
    """What else the host has loaded for a run and runs with the network (ControlNets): it takes part in gradient
    passes.
    """
    loaded = [getattr(patcher, "model", None) for patcher in getattr(guider, "loaded_models", [])]
    return [model for model in loaded if isinstance(model, torch.nn.Module)]


class HeldControl:
    """A ControlNet (the host's ControlBase) whose guidance is held fixed in a gradient pass.

    The host scales and adds its outputs in place, which autograd refuses, and a second network kept for backward would
    double the memory. The guidance is that of the latent in hand; only its own dependence on the latent is left out.
    """

    def __init__(self, control):
        self._control = control

    def get_control(self, x_noisy: torch.Tensor, *args, **kwargs):
        with torch.inference_mode():  # the host's own way; what comes out is made ordinary where it is used
            return self._control.get_control(x_noisy.detach(), *args, **kwargs)

    def __getattr__(self, name: str):
        return getattr(self._control, name)
