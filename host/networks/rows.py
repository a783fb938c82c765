"""Which conditionings, and which rows of a network call, belong to a prompt whose targets are controlled."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from ...core.copies import CopiesToItself
from ...core.maps.view import Place
from ...core.prompt.targets import CROSS_ATTENTION, Targets
from .attention import Attention
from .calls import NEGATIVE, Call, Calls

log = logging.getLogger("prompt_fidelity")

# An extra key in a conditioning's dict survives to the sampler, through ControlNet, Combine and area nodes. Under it
# lies the targets' handle.
KEY = "prompt_fidelity_targets"

UNKNOWN_ROWS = (
    "Another node changes the rows that some attention layers work on (as Attention Couple does) without saying whose "
    "they are, so these layers were left out."
)
UNKNOWN_TOKENS = (
    "Another node changes the tokens that some attention layers attend to, so that the prompt's words cannot be found "
    "there; these layers were left out."
)
UNKNOWN_PIXELS = (
    "Another node merges or adds pixels in some attention layers, so that they make no map; these layers were left out."
)


def carries(cond: dict, targets: Targets) -> bool:
    """Whether a conditioning was encoded from the very prompt that `targets` were found in."""
    return cond.get(KEY) == targets.handle


def controlled(guider, targets: Targets) -> list[dict]:
    """The guider's conditionings of the controlled prompt, in its order, negatives left out."""
    lists = (conds for name, conds in guider.conds.items() if name != "negative")
    return [cond for conds in lists for cond in conds if carries(cond, targets)]


def text_columns(cond: dict, targets: Targets) -> int:
    """How many columns of text the network makes of a conditioning: those of its first tensor, which may be longer than
    the prompt's (another one joined to it), and those of the tensors that are appended to it or read in its place.
    """
    own = targets.columns_of(CROSS_ATTENTION)
    return targets.length - own + (cond[CROSS_ATTENTION].shape[1] if own else 0)


@dataclass(frozen=True)
class Part:
    """The rows of one controlled conditioning in a layer: what they show (None if that is not known), and how many
    of the layer's columns are the prompt's own, before they are repeated, from the `first` of them on.
    """

    rows: slice
    uuid: object
    place: Place | None
    tokens: int
    first: int = 0

    @property
    def whole(self) -> bool:
        return self.place is not None and self.place.is_whole


class Rows(CopiesToItself):
    """Finds the controlled rows in the calls of the network.

    A chunk of a call's rows is known by the uuid of its conditioning, never by its place: the host puts the negative
    rows first, guiders for three prompts number theirs differently, and a call may hold any of them. Where the host
    has copied the positive's entry, uuid included, into the negatives (it does for area prompts), index 0 tells.
    `warn` gets a sentence for what had to be left out.
    """

    def __init__(self, guider, targets: Targets, calls: Calls, warn: Callable[[str], None] = log.warning):
        conds = controlled(guider, targets)
        self.guider = guider
        self.tokens = {cond["uuid"]: text_columns(cond, targets) for cond in conds}
        self.appended = targets.length > targets.columns_of(CROSS_ATTENTION)
        self.in_areas = {cond["uuid"] for cond in conds if "area" in cond}
        self.length = targets.length
        self.calls = calls
        self.warn = warn

    @property
    def copied(self) -> set:
        """Asked at each call: the host copies entries only after a run of ours has been made."""
        return {cond["uuid"] for cond in self.guider.conds.get("negative", []) if cond.get("uuid") in self.tokens}

    def controls(self, uuid, kind: int) -> bool:
        """Whether the conditioning `uuid` in a call's list of number `kind` is controlled."""
        return uuid in self.tokens and (uuid not in self.copied or kind == 0)

    def call(self, options: dict) -> Call | None:
        """The call of the network that a layer with the host's `options` is in, as far as it is known."""
        return self.calls.of(options)

    def again(self) -> Callable[[], AbstractContextManager]:
        """See `Calls.again`."""
        return self.calls.again()

    def parts_of(self, attention: Attention) -> list[Part]:
        """The controlled parts of an attention."""
        return self.parts(attention.options, attention.rows, attention.words, attention.filled_in_front)

    def parts(
        self, options: dict, count: int, keys: torch.Tensor | None = None, filled_in_front: bool = False
    ) -> list[Part]:
        """The controlled parts of a layer with `count` rows, whose projected text is `keys` [rows, columns, ...], if
        that matters. Empty where the call holds none of them, or where the layer cannot be understood.
        `filled_in_front`: a text shorter than the layer's stands at its end, once.
        """
        if not any(map(self.controls, options.get("uuids", ()), options.get("cond_or_uncond", ()))):
            return []
        call = self.calls.of(options)
        rows = None if call is None else call.rows_in_layer(count, options)
        if rows is None:
            self.warn(UNKNOWN_ROWS)
            return []
        parts = []
        for chunk, at in zip(call.chunks, rows):
            if not self.controls(chunk.uuid, chunk.kind):
                continue
            tokens, first = self.tokens[chunk.uuid], 0
            if filled_in_front:
                first = keys.shape[1] - tokens
            elif keys is not None:
                tokens = self._own_tokens(call, chunk.uuid, keys)
            if tokens is None or first < 0:
                self.warn(UNKNOWN_TOKENS)
            else:
                parts.append(Part(at, chunk.uuid, chunk.place, tokens, first))
        return parts

    def negative(self, options: dict, part: Part, count: int) -> slice | None:
        """The negative prompt's rows, in the same call, of the very pictures that `part` shows."""
        call = self.calls.of(options)
        rows = call.rows_in_layer(count, options)
        same = (at for chunk, at in zip(call.chunks, rows) if chunk.kind == NEGATIVE and chunk.place == part.place)
        return next(same, None)

    def makes_map(self, size: tuple[int, int], pixels: int) -> bool:
        """Whether a layer with so many pixels has one for each of its place's, which has the `size` (h, w)."""
        whole = size[0] * size[1]
        if pixels != whole:
            self.warn(UNKNOWN_PIXELS)
        return pixels == whole

    def _own_tokens(self, call: Call, uuid, keys: torch.Tensor) -> int | None:
        """How many of a layer's columns are one copy of the prompt; None if its words cannot be found in them.

        The text that the host hands in is a whole number of copies of the prompt. A patch may repeat it again (to go
        with a longer one), or take keys and values from every other token (CLIP NegPip): that halves every copy.
        """
        columns, own = keys.shape[1], self.tokens[uuid]
        context = columns if call.context is None or self.appended else call.context
        if context % own:
            return None
        if columns == context or (columns % context == 0 and _repeats(keys, context)):
            return own
        fewer, rest = divmod(context, columns)
        if rest or own % fewer or own // fewer < self.length:
            return None
        return own // fewer


def _repeats(keys: torch.Tensor, length: int) -> bool:
    """Whether projected tokens repeat after `length` of them, but for rounding."""
    copies = keys.detach().float().unflatten(1, (-1, length))
    return torch.allclose(copies, copies[:, :1].expand_as(copies), rtol=1e-2, atol=1e-3)
