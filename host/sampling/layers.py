"""Layers that keep no weight for the backward pass: they fetch it a second time when the gradient comes by.

The host may bring weights to the device one by one, into buffers that later layers write over (`--lowvram`, dynamic
VRAM). A weight that autograd keeps would be another's by then, without a word. So a layer keeps itself, and asks the
host again: LoRAs that are patched on the fly, hooks, fp8 and quantised weights are what the host's own path makes of
them. Layers whose weights stay where they are never come here, as the host takes them as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.ops
import torch
from torch import Tensor

from .kept import convolution_gradient

# The host's way into a layer whose weights have to be brought, converted or patched first.
_ENTRANCE = "forward_comfy_cast_weights"
# The host's quantised layers have a backward pass of their own, which keeps the weight; this switches it off.
_PLAIN_PATH = "comfy_force_cast_weights"
_CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


@contextmanager
def fetched(module: torch.nn.Module, dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The layer's weight and bias as the host brings them; not to be used afterwards.

    The host does this in inference mode, where the buffers that it writes to were made.
    """
    with torch.inference_mode():
        weight, bias, stream = comfy.ops.cast_bias_weight(
            module, dtype=dtype, device=device, bias_dtype=dtype, offloadable=True
        )
    try:
        yield _plain(weight, dtype), _plain(bias, dtype)
    finally:
        with torch.inference_mode():
            comfy.ops.uncast_bias_weight(module, weight, bias, stream)


def _plain(weight: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A quantised weight as an ordinary one."""
    if weight is None or type(weight) in (Tensor, torch.nn.Parameter):
        return weight
    return weight.dequantize().to(dtype)


class _Product(torch.autograd.Function):
    """What a layer makes of its input, linear in it. Keeps the layer and the input's shape, no tensor."""

    @staticmethod
    def forward(ctx, x: Tensor, layer: "_Layer", arguments: dict) -> Tensor:
        ctx.layer, ctx.arguments = layer, arguments
        ctx.like = (x.shape, x.stride(), x.dtype, x.device)
        return layer.product(x, **arguments)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        return ctx.layer.gradient(gradient, *ctx.like, **ctx.arguments), None, None


class _Layer:
    """One of the host's layers in a gradient pass, called in the place of its own `forward_comfy_cast_weights`."""

    def __init__(self, module: torch.nn.Module):
        self.module = module
        self.original: Callable = getattr(module, _ENTRANCE)

    def __call__(self, x: Tensor, *arguments, **named) -> Tensor:
        if torch.is_inference_mode_enabled():  # another thread's picture, or a ControlNet's part of the pass
            return self.original(x, *arguments, **named)
        if torch.is_grad_enabled() and x.requires_grad:
            return _Product.apply(x, self, {"arguments": arguments, "named": named})
        with torch.no_grad():
            return self.product(x, arguments, named)

    def product(self, x: Tensor, arguments: tuple = (), named: dict | None = None) -> Tensor:
        """The layer's output, without a graph."""
        return self.original(x, *arguments, **(named or {}))

    def gradient(self, gradient: Tensor, shape, stride, dtype, device, arguments: tuple, named: dict) -> Tensor:
        """The gradient of the input, for any layer linear in it: done once more, with the gradient following at once,
        while the layer holds its weight.
        """
        with torch.enable_grad():
            x = torch.empty_strided(shape, stride, dtype=dtype, device=device).zero_().requires_grad_()
            return torch.autograd.grad(self.original(x, *arguments, **named), x, gradient)[0]


class _Linear(_Layer):
    def product(self, x: Tensor, arguments: tuple = (), named: dict | None = None) -> Tensor:
        with fetched(self.module, x.dtype, x.device) as (weight, bias):
            return torch.nn.functional.linear(x, weight, bias)

    def gradient(self, gradient: Tensor, shape, stride, dtype, device, arguments: tuple, named: dict) -> Tensor:
        with fetched(self.module, dtype, device) as (weight, _):
            return (gradient.reshape(-1, gradient.shape[-1]) @ weight).view(shape)


class _Convolution(_Layer):
    def product(self, x: Tensor, arguments: tuple = (), named: dict | None = None) -> Tensor:
        with fetched(self.module, x.dtype, x.device) as (weight, bias):
            return self.module._conv_forward(x, weight, bias, *arguments, **(named or {}))

    def gradient(self, gradient: Tensor, shape, stride, dtype, device, arguments: tuple, named: dict) -> Tensor:
        module = self.module
        with fetched(module, dtype, device) as (weight, bias):
            if _is_usual(module) and not arguments and not named:
                geometry = (module.stride, module.padding, module.dilation, module.groups)
                return convolution_gradient(gradient, (shape, stride, dtype, device), weight, bias, geometry)
            with torch.enable_grad():
                x = torch.empty_strided(shape, stride, dtype=dtype, device=device).zero_().requires_grad_()
                return torch.autograd.grad(module._conv_forward(x, weight, bias, *arguments, **named), x, gradient)[0]


def _is_usual(module: torch.nn.Module) -> bool:
    """Whether a convolution is what its numbers say; packs for seamless pictures put another in its place."""
    return (
        module.padding_mode == "zeros" and not isinstance(module.padding, str) and "_conv_forward" not in vars(module)
    )


def _layer(module: torch.nn.Module) -> _Layer | None:
    """How a module takes part, or None if its weights are small or its input is not what the gradient is of.

    Norms' weights are kept as copies (see `kept`). A layer of another pack's own fetches its weight in its own way.
    """
    entrance = getattr(module, _ENTRANCE, None)
    if entrance is None or isinstance(entrance, _Layer) or isinstance(module, torch.nn.Embedding):
        return None
    hosts = getattr(entrance, "__module__", "") == comfy.ops.__name__ and _ENTRANCE not in vars(module)
    if hosts and hasattr(module, "in_features"):
        return _Linear(module)
    if hosts and isinstance(module, _CONVOLUTIONS):
        return _Convolution(module)
    return _Layer(module) if hasattr(module, "in_features") or hasattr(module, "in_channels") else None


@contextmanager
def weights_fetched_again(*modules: torch.nn.Module):
    """For its time the layers of `modules` keep no weights; of two such times, one in the other, the outer counts."""
    changed: list[tuple[dict, str, object]] = []
    try:
        for module in modules:
            for part in module.modules():
                layer = _layer(part)
                if layer is not None:
                    _put(vars(part), _ENTRANCE, layer, changed)
                    if hasattr(part, _PLAIN_PATH) or hasattr(part, "layout_type") or hasattr(part, "quant_format"):
                        _put(vars(part), _PLAIN_PATH, True, changed)
        yield
    finally:
        for attributes, name, before in reversed(changed):
            if before is _ABSENT:
                attributes.pop(name, None)
            else:
                attributes[name] = before


_ABSENT = object()


def _put(attributes: dict, name: str, value: object, changed: list) -> None:
    changed.append((attributes, name, attributes.get(name, _ABSENT)))
    attributes[name] = value
