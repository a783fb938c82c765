"""Tensors inside torch.func's transforms (jvp, vmap, grad), which some solvers draw the model through.

There a tensor is a wrapper without storage: NumPy can't read it, it can't be kept beyond the transform, and code that
looks at values can't run on it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_functorch = torch._C._functorch


def is_transformed(tensor: Tensor) -> bool:
    """Whether a tensor lives inside a transform of torch.func."""
    return _functorch.is_functorch_wrapped_tensor(tensor)


def plain(tensor: Tensor) -> Tensor:
    """The tensor's own value, to be read or kept; of a batch that vmap makes, the mean."""
    if not is_transformed(tensor):
        return tensor
    with torch._C._DisableFuncTorch():
        while is_transformed(tensor):
            batched = _functorch.maybe_get_bdim(tensor) if _functorch.is_batchedtensor(tensor) else None
            tensor = _functorch.get_unwrapped(tensor)
            tensor = tensor if batched is None else tensor.mean(batched)
        return tensor.detach()


def apart(function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """function(tensor), worked out on ordinary tensors. In a derivative its result is a constant.

    `function` takes and gives a batch of independent rows along the first axis; a vmap adds to them.
    """
    return _Apart.apply(function, tensor) if is_transformed(tensor) else function(tensor)


class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
        return function(tensor)

    @staticmethod
    def setup_context(ctx, inputs, output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def jvp(ctx, *tangents) -> None:
        return None

    @staticmethod
    def backward(ctx, *gradients) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info, in_dims: tuple, function: Callable[[Tensor], Tensor], tensor: Tensor) -> tuple[Tensor, int]:
        rows = tensor.movedim(in_dims[1], 0).flatten(0, 1)
        return _Apart.apply(function, rows).unflatten(0, (info.batch_size, -1)), 0
