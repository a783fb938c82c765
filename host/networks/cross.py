"""Transformers with cross-attention: the picture's tokens attend to each other in one attention, to the text in the
next.
"""

from __future__ import annotations

from collections.abc import Callable

from .announcing import KEY as SITE
from .attention import CrossAttention, heads_first
from .base import Finder
from .cross_mixes import CrossMixes
from .transformer import Transformer


class Cross(Transformer):
    joint = False

    def finder(self) -> CrossFinder:
        return CrossFinder(self)

    def mixes(self, mixer, rows, local, learning: bool = False) -> CrossMixes:
        return CrossMixes(self, mixer, rows, self.local_prompts(local), learning)


class CrossFinder(Finder):
    """The cross-attentions are made to name themselves: a block's other attention may have as many keys."""

    def __init__(self, network: Cross):
        self._network = network
        self._announced = network.announced()

    def install(self, model_options: dict, listens: Callable, replaced: Callable) -> None:
        self._announced.put()

    def remove(self) -> None:
        self._announced.remove()

    def attention(self, q, k, v, heads, named, call_of) -> CrossAttention | None:
        options = named.get("transformer_options") or {}
        site = options.get(SITE)
        call = None if site is None else call_of(options)
        if call is None:
            return None
        reshaped = bool(named.get("skip_reshape"))
        width = q.shape[-1] if reshaped or q.ndim == 4 else q.shape[-1] // heads
        q, k, v = (heads_first(tensor, width, reshaped) for tensor in (q, k, v))
        further = self._network.family.further
        if not further and call.context not in (None, k.shape[2]):  # a picture that is attended to beside the text
            return None
        return CrossAttention(
            site,
            self._network.grid(*call.shape[1:]),
            options,
            q,
            k,
            v,
            named.get("mask"),
            named.get("scale"),
            bool(named.get("skip_output_reshape")),
        )
