"""Gradients inside the host, whose weights are inference tensors."""

from collections.abc import Mapping
from contextlib import contextmanager

import torch

# Subclasses (quantised weights) are converted to ordinary tensors in every call, so they need no alias.
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def _alias(tensor: torch.Tensor) -> torch.Tensor:
    """An ordinary tensor on the same storage: no copy, and autograd may save it."""
    alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return alias.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


@contextmanager
def differentiable(*modules: torch.nn.Module):
    """Leaves inference mode, with gradients on and every plain weight of `modules` replaced by an alias of itself.

    The host creates everything under `torch.inference_mode()`, and autograd refuses to save inference tensors. The
    modules are shared by all clones of a model, so the original weights are put back whatever happens. No memory is
    used and no gradient flows into the weights.
    """
    swapped: list[tuple[dict, str, torch.Tensor]] = []
    with torch.inference_mode(False), torch.enable_grad():
        try:
            for module in modules:
                for part in module.modules():
                    for tensors in (part._parameters, part._buffers):
                        for name, tensor in tensors.items():
                            if type(tensor) in _PLAIN and (tensor.is_inference() or tensor.requires_grad):
                                swapped.append((tensors, name, tensor))
                                tensors[name] = _alias(tensor)
            yield
        finally:
            for tensors, name, tensor in swapped:
                tensors[name] = tensor


def ordinary(arguments: Mapping) -> dict:
    """A sampler's arguments with every tensor copied: autograd may not keep one that was made in inference mode."""
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in arguments.items()}


def beside_the_network(guider) -> list[torch.nn.Module]:
    """What else the host has loaded for a run and runs with the network (ControlNets): it takes part in gradient
    passes.
    """
    loaded = [getattr(patcher, "model", None) for patcher in getattr(guider, "loaded_models", [])]
    return [model for model in loaded if isinstance(model, torch.nn.Module)]


def streams_weights(patcher) -> bool:
    """Whether the host brings some of the model's weights to the device one by one.

    A streamed weight sits in a buffer that later layers overwrite before the backward pass reads it: the gradient would
    be wrong without a word.
    """
    return getattr(patcher.model, "model_lowvram", False)


class HeldControl:
    """A ControlNet (the host's ControlBase) whose guidance is held fixed in a gradient pass.

    The host scales and adds its outputs in place, which autograd refuses, and a second network kept for backward would
    double the memory. The guidance is that of the latent in hand; only its own dependence on the latent is left out.
    """

    def __init__(self, control):
        self._control = control

    def get_control(self, x_noisy: torch.Tensor, *args, **kwargs):
        with torch.no_grad():
            return self._control.get_control(x_noisy.detach(), *args, **kwargs)

    def __getattr__(self, name: str):
        return getattr(self._control, name)
