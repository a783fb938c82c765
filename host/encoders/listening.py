"""What the encoders do while the host encodes: the shape of what they give out, and their attention between tokens."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral

import torch
from comfy.clip_model import CLIPAttention
from comfy.text_encoders.bert import BertAttention
from comfy.text_encoders.llama import Attention as LlamaAttention
from comfy.text_encoders.t5 import T5Attention

from ...core.maps.probabilities import probabilities, scores
from .encoder import Encoder

# Layers that are handed the attention function as an argument, so that a listener can be put around it.
_TAKES_ATTENTION = (CLIPAttention, BertAttention, T5Attention, LlamaAttention)


class Heard:
    """What was heard of one encoder: its outputs' shapes and the mean of its layers' attention."""

    def __init__(self) -> None:
        self.outputs = None  # the structure that the transformer gives out, its tensors on the meta device
        self.length = self.width = 0  # tokens of a chunk, and of an embedding's vector
        self._sum: torch.Tensor | None = None
        self._layers = 0

    def takes(self, token) -> bool:
        """Whether the encoder has a row for a token: a number, or an embedding's vector of its width."""
        return isinstance(token, Integral) or (isinstance(token, torch.Tensor) and token.shape[-1] == self.width)

    def give_out(self, args: tuple, kwargs: dict, outputs) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        given = kwargs.get("embeds", tensors[0])
        self.length = given.shape[1]
        self.width = given.shape[-1] if given.ndim > 2 else 0
        self.outputs = _shapes(outputs)

    def attend(self, probs: torch.Tensor) -> None:
        """One layer's probabilities [rows, heads, tokens, tokens]."""
        mean = probs.mean(dim=1).float().cpu()
        self._sum = mean if self._sum is None else self._sum + mean
        self._layers += 1

    @property
    def attention(self) -> torch.Tensor | None:
        """[rows, tokens, tokens] float32: mean over heads and layers; None if there was none to be heard."""
        return None if self._sum is None else self._sum / self._layers


@contextmanager
def listening(encoders: list[Encoder]) -> Iterator[dict[str, Heard]]:
    """Collects what is `Heard` of each encoder with a module. The hooks are taken off again whatever happens."""
    heard: dict[str, Heard] = {}
    handles = []
    try:
        for encoder in encoders:
            if encoder.module is None:
                continue
            one = heard[encoder.key] = Heard()
            for module in encoder.module.modules():
                hook = listener(module, one)
                if hook is not None:
                    handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            handles.append(encoder.module.transformer.register_forward_hook(_ear(one), with_kwargs=True))
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _ear(one: Heard) -> Callable:
    return lambda module, args, kwargs, outputs: one.give_out(args, kwargs, outputs)


def listener(module: torch.nn.Module, one: Heard) -> Callable | None:
    """A forward pre-hook by which `one` hears the attention of a layer; None for a module that is none."""
    if isinstance(module, _TAKES_ATTENTION):
        return _around_the_function(module, one)
    if type(module).__name__ == "GptOssAttention":
        return _beside_the_function(module, one)
    return None


def _around_the_function(module: torch.nn.Module, one: Heard) -> Callable:
    signature = inspect.signature(module.forward)

    def listen(module, args, kwargs):
        bound = signature.bind(*args, **kwargs)
        attention = bound.arguments["optimized_attention"]

        def heard(q, k, v, heads, mask=None, **rest):
            apart = rest.get("skip_reshape", False)
            queries, keys = (q, k) if apart else (_split(q, heads), _split(k, heads))
            one.attend(probabilities(queries, _each_head(keys, heads), mask=mask))
            return attention(q, k, v, heads, mask=mask, **rest)

        bound.arguments["optimized_attention"] = heard
        return bound.args, bound.kwargs

    return listen


def _beside_the_function(module: torch.nn.Module, one: Heard) -> Callable:
    """GPT-OSS fetches its attention function itself: its queries and keys are made once more. A sink, one score a head,
    takes a part of every token's attention.
    """
    signature = inspect.signature(module.forward)
    rotate = importlib.import_module(type(module).__module__).apply_rope

    def listen(module, args, kwargs):
        given = signature.bind(*args, **kwargs).arguments
        x, mask = given["hidden_states"], given["attention_mask"]
        q = _split(module.q_proj(x), module.num_heads)
        k = _split(module.k_proj(x), module.num_kv_heads)
        q, k = rotate(q, k, given["freqs_cis"])
        products = scores(q, _each_head(k, module.num_heads), mask=mask)
        sinks = module.sinks.to(products).view(1, -1, 1, 1).expand(*products.shape[:-1], 1)
        one.attend(torch.cat([products, sinks], dim=-1).softmax(dim=-1)[..., :-1])

    return listen


def _split(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """[rows, n, heads * d] -> [rows, heads, n, d]"""
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


def _each_head(keys: torch.Tensor, heads: int) -> torch.Tensor:
    """Grouped keys, one for each head of queries."""
    return keys if keys.shape[1] == heads else keys.repeat_interleave(heads // keys.shape[1], dim=1)


def _shapes(outputs):
    if isinstance(outputs, torch.Tensor):
        return torch.empty(outputs.shape, device="meta")
    if isinstance(outputs, dict):
        return {name: _shapes(value) for name, value in outputs.items()}
    if isinstance(outputs, (tuple, list)):
        return type(outputs)(map(_shapes, outputs))
    return outputs
