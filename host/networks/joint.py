"""Transformers with joint attention: the tokens of text and picture stand in one row and attend to all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from .announcing import KEY as SITE
from .announcing import Announced
from .attention import JointAttention, heads_first
from .base import Finder, Site
from .calls import Call
from .joint_mixes import JointMixes
from .transformer import Transformer


class Joint(Transformer):
    joint = True

    def finder(self) -> JointFinder:
        return JointFinder(self)

    def attention(self, **parts) -> JointAttention:
        """One of its attentions, by the fields of JointAttention."""
        return JointAttention(**parts)

    def mixes(self, mixer, rows, local, learning: bool = False) -> JointMixes:
        return JointMixes(self, mixer, rows, self.local_prompts(local), learning)

    def laid_out(self, size: tuple[int, int], context: int | None, tokens: int) -> tuple[slice, slice] | None:
        """Where the picture of `size` and a text of `context` tokens are among the `tokens` of an attention; None for
        one that is not of both.
        """
        if context is None:
            return None
        pixels = size[0] * size[1]
        lengths = {"text": self.filled_up(context), "picture": self.filled_up(pixels)}
        rest = tokens - self.family.registers - sum(lengths.values())
        if self.family.further:
            context, lengths["text"], rest = context + rest, lengths["text"] + rest, 0
        if rest < 0 or min(lengths.values()) < 1 or (rest and "references" not in self.family.order):
            return None
        starts, at = {}, self.family.registers
        for part in self.family.order:
            starts[part] = at
            at += lengths.get(part, rest)
        picture, text = starts["picture"], starts["text"]
        return slice(picture, picture + pixels), slice(text, text + context)

    def stretches(self, text: int, beside: Sequence[int]) -> tuple[int, ...]:
        """How many tokens of a row have which source, in their order, for so many of the text and of what is beside."""
        return (text,)

    def handed_in(self, text: Tensor) -> Tensor:
        return F.pad(text, (0, 0, max(self.family.front - text.shape[1], 0), 0))

    def filled_up(self, tokens: int) -> int:
        multiple = getattr(self.module, self.family.multiple, None) if self.family.multiple else None
        return tokens if multiple is None else math.ceil(tokens / multiple) * multiple


class JointFinder(Finder):
    """The host's options name the block, or the block itself is made to."""

    def __init__(self, network: Joint):
        self._network = network
        self._sites = network.sites
        self._announced = Announced({}) if network.family.announces else network.announced()

    def install(self, model_options: dict, listens: Callable, replaced: Callable) -> None:
        self._announced.put()

    def remove(self) -> None:
        self._announced.remove()

    def places(self, call: Call, context: int | None, tokens: int) -> tuple[slice, slice] | None:
        """As `Joint.laid_out`, of a call's picture."""
        return self._network.laid_out(self._network.grid(*call.shape[1:]), context, tokens)

    def site(self, options: dict) -> Site | None:
        if not self._network.family.announces:
            return options.get(SITE)
        site = Site(options.get("block_type", ""), options.get("block_index", -1))
        return site if site in self._sites else None

    def attention(self, q, k, v, heads, named, call_of) -> JointAttention | None:
        options = named.get("transformer_options") or {}
        site = self.site(options)
        call = None if site is None else call_of(options)
        if call is None:
            return None
        reshaped = bool(named.get("skip_reshape"))
        width = q.shape[-1] if reshaped or q.ndim == 4 else q.shape[-1] // heads
        q, k, v = (heads_first(tensor, width, reshaped) for tensor in (q, k, v))
        places = self.places(call, call.context, q.shape[2]) if q.shape[2] == k.shape[2] else None
        if places is None:  # the picture's attention to itself
            return None
        if k.shape[1] < q.shape[1]:  # keys that several heads share
            repeats = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        return self._network.attention(
            site=site,
            size=self._network.grid(*call.shape[1:]),
            options=options,
            q=q,
            k=k,
            v=v,
            mask=named.get("mask"),
            scale=named.get("scale"),
            heads_apart=bool(named.get("skip_output_reshape")),
            picture=places[0],
            text=places[1],
            filled_in_front=self._network.family.front > 0,
        )
