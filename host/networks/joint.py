"""Transformers with joint attention: the tokens of text and picture stand in one row and attend to all of it."""

from __future__ import annotations

from collections.abc import Callable

from .announcing import KEY as SITE
from .announcing import Announced
from .attention import JointAttention, heads_first
from .base import Finder, Site
from .calls import Call
from .joint_mixes import JointMixes
from .transformer import Transformer


class Joint(Transformer):
    """Text first, then the picture, then whatever else the network is shown (reference pictures)."""

    joint = True

    def finder(self) -> JointFinder:
        return JointFinder(self)

    def mixes(self, mixer, rows, local, learning: bool = False) -> JointMixes:
        return JointMixes(self.finder(), mixer, rows, local, learning)

    def text_start(self, call: Call) -> int:
        """The first of the tokens of an attention that is the text's."""
        return 0

    def laid_out(self, call: Call, tokens: int) -> tuple[slice, slice] | None:
        """Where the picture and the conditioning's columns are among the `tokens` of an attention; None if it has too
        few to be of both.
        """
        if call.context is None:
            return None
        h, w = self.grid(*call.shape[1:])
        start = self.text_start(call)
        text = slice(start, start + call.context)
        picture = slice(text.stop, text.stop + h * w)
        return (picture, text) if picture.stop <= tokens else None


class JointFinder(Finder):
    """The host's options name the block, or the block itself is made to."""

    def __init__(self, network: Joint):
        self._network = network
        self._sites = network.sites
        self._announced = Announced({} if network.family.announces else network.modules)

    def install(self, model_options: dict, listens: Callable, replaced: Callable) -> None:
        self._announced.put()

    def remove(self) -> None:
        self._announced.remove()

    def text_start(self, call: Call) -> int:
        return self._network.text_start(call)

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
        places = self._network.laid_out(call, q.shape[2]) if q.shape[2] == k.shape[2] else None
        if places is None:  # the picture's attention to itself
            return None
        if k.shape[1] < q.shape[1]:  # keys that several heads share
            repeats = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        return JointAttention(
            site,
            self._network.grid(*call.shape[1:]),
            options,
            q,
            k,
            v,
            named.get("mask"),
            named.get("scale"),
            bool(named.get("skip_output_reshape")),
            picture=places[0],
            text=places[1],
        )
