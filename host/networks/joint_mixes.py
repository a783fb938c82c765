"""Mixes the outputs of joint attentions: each object's own prompt is attended to in the object's region.

A local prompt is more than keys and values there: its tokens attend to the picture and to each other, block after
block. So the local prompts run as further rows of the batch. In every attention their picture is the drawn one's, which
attends to the local text in the place of the prompt's; what comes of that is mixed into the drawn picture's rows. A
pass costs as many more rows as there are objects, in the steps where they have a weight. What the prompt says to the
picture in other ways (pooled vectors) stays the prompt's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import comfy.patcher_extension
import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor

from ...core.control.outputs import OutputMixer
from .attention import JointAttention
from .base import Mixes
from .calls import named_neighbours
from .local import LocalPrompt
from .mixes import UNKNOWN_PLACE, is_mixed_by
from .passes import draws_the_picture
from .rows import Part, Rows
from .rows_added import KEY as ADDED
from .rows_added import rows_taken

if TYPE_CHECKING:
    from .joint import Joint

KEY = "prompt_fidelity_joint_mixes"


@dataclass(frozen=True)
class _Group:
    """The rows of one object's own prompt beside those of the `part` that it is mixed into. Of each stretch of its text
    the first so many `tokens` are its own, the others fill up.
    """

    local: LocalPrompt
    part: Part
    rows: slice
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class _Work:
    """One call: rows before ours, all rows, the tokens of the prompt and those that the texts were filled up to, in
    each stretch of a row's text (`Joint.stretches`).
    """

    before: int
    count: int
    tokens: tuple[int, ...]
    filled: tuple[int, ...]
    groups: list[_Group]


class JointMixes(Mixes):
    """The rest as in `Network.mixes`."""

    def __init__(
        self, network: Joint, mixer: OutputMixer, rows: Rows, local: Sequence[LocalPrompt], learning: bool = False
    ):
        self.mixer = mixer
        self.rows = rows
        self.local = local
        self.learning = learning
        self._network = network
        self._finder = network.finder()
        self._neighbours = ""
        self._work: _Work | None = None

    def install(self, model_options: dict) -> None:
        self._neighbours = named_neighbours(model_options)
        is_mixed_by(model_options, self.mixer)
        options = model_options.setdefault("transformer_options", {})
        options["optimized_attention_override"] = self._override(options.get("optimized_attention_override"))
        self._finder.install(model_options, lambda tensor, options: False, lambda *arguments: None)
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, self._apply_model, model_options, is_model_options=True
        )

    def remove(self) -> None:
        self._finder.remove()

    def _apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, options=None, **more):
        """The host's APPLY_MODEL wrapper: the local prompts' rows are added, and left out of what comes back."""
        options = more.pop("transformer_options", {}) if options is None else options
        acts = self.mixer.weighs and (self.learning or draws_the_picture(x, options))
        parts = self._parts(options) if acts and c_crossattn is not None else []
        if not parts:
            return executor(x, t, c_concat, c_crossattn, control, options, **more)
        work, index = self._laid_out(parts, x.shape[0], c_crossattn, more)
        given = [rows_taken(value, index, x.shape[0]) for value in (x, t, c_concat)]
        control = rows_taken(control, index, x.shape[0])
        beside = {
            name: _stacked(more[name], [(group.local.beside[name], group.rows) for group in work.groups])
            for name in self._network.family.beside
        }
        more = {**rows_taken(more, index, x.shape[0]), **beside}
        text = _stacked(c_crossattn, [(group.local.text, group.rows) for group in work.groups])
        options = {**options, ADDED: options.get(ADDED, 0) + len(index) - x.shape[0]}
        before, self._work = self._work, work
        try:
            return executor(*given, text, control, options, **more)[: x.shape[0]]
        finally:
            self._work = before

    def _parts(self, options: dict) -> list[Part]:
        call = self.rows.call(options)
        parts = [] if call is None else self.rows.parts(options, call.shape[0])
        if any(part.place is None for part in parts):
            self.rows.warn(UNKNOWN_PLACE.format(self._neighbours))
        return [part for part in parts if part.place is not None]

    def _laid_out(self, parts: list[Part], count: int, context: Tensor, more: dict) -> tuple[_Work, Tensor]:
        """The call's rows, and of which of the host's each is a copy."""
        index, groups = list(range(count)), []
        for part in parts:
            for local in self.local:
                size = part.rows.stop - part.rows.start
                own = self._stretches(local.text, local.beside)
                groups.append(_Group(local, part, slice(len(index), len(index) + size), own))
                index += range(part.rows.start, part.rows.stop)
        tokens = self._stretches(context, more)
        filled = tuple(map(max, zip(tokens, *(group.tokens for group in groups))))
        return _Work(count, len(index), tokens, filled, groups), torch.tensor(index)

    def _stretches(self, text: Tensor, beside: dict) -> tuple[int, ...]:
        lengths = [beside[name].shape[-2] for name in self._network.family.beside]
        return self._network.stretches(text.shape[1], lengths)

    def _override(self, previous: Callable | None) -> Callable:
        def attend(func, q, k, v, heads, *args, **kwargs):
            def inner(q, k, v, **named):
                named = {**kwargs, **named}
                return previous(func, q, k, v, heads, **named) if previous else func(q, k, v, heads, **named)

            if args:
                kwargs["mask"] = args[0]
            work = self._work
            if work is None or q.shape[0] != work.count:
                return inner(q, k, v)
            return self._attended(func, inner, q, k, v, heads, kwargs, work)

        return attend

    def _attended(self, func, inner: Callable, q, k, v, heads: int, named: dict, work: _Work) -> Tensor:
        """The output of all rows: those of the host as they are without ours, mixed with what ours give."""
        host, mask = slice(0, work.before), named.pop("mask", None)
        call = self.rows.call(named["transformer_options"])
        tokens = q.shape[2 if named.get("skip_reshape") else 1]
        places = None if call is None else self._finder.places(call, work.filled[0], tokens)
        if places is None:
            return inner(q, k, v, mask=mask)
        texts = _Texts(places[0], places[1].start, work.filled, named)
        plain = [texts.of_rows(tensor, host, work.tokens) for tensor in (q, k, v)]
        plain_mask = texts.of_mask(mask, host, work.tokens, work.count)
        attention = self._finder.attention(*plain, heads, {**named, "mask": plain_mask}, self.rows.call)
        if attention is None:
            return inner(q, k, v, mask=mask)
        kernel = attention_pytorch if q.requires_grad else func
        alone = {key: value for key, value in named.items() if key != "transformer_options"}
        outs = [inner(*plain, mask=plain_mask)]
        for group in work.groups:
            given = []
            for tensor in (q, k, v):
                own, drawn = texts.of_rows(tensor, group.rows, group.tokens), tensor[group.part.rows]
                given.append(texts.with_picture(own, drawn, group.tokens, self.learning))
            own_mask = texts.of_mask(mask, group.rows, group.tokens, work.count)
            outs.append(kernel(*given, heads, mask=own_mask, **alone))
        outs[0] = self._mixed(outs[0], outs[1:], attention, work, texts)
        lengths = [work.tokens, *(group.tokens for group in work.groups)]
        return torch.cat([texts.filled(out, length) for out, length in zip(outs, lengths, strict=True)])

    def _mixed(self, out: Tensor, local: list[Tensor], attention: JointAttention, work: _Work, texts: _Texts) -> Tensor:
        """The host's rows of the output, each object mixed in where its region is shown."""
        h, w = attention.size
        flat = texts.flat(out).clone()
        for part in {group.part.rows.start: group.part for group in work.groups}.values():
            view = None if part.place.view.is_whole else part.place.view
            covered = self.mixer.covered(h, w, out.device, view)
            if not len(covered):
                self.mixer.saw(attention.site)
                continue
            own = [
                texts.flat(out)[:, covered + texts.picture_from(group.tokens)]
                for group, out in zip(work.groups, local, strict=True)
                if group.part == part
            ]
            own = torch.stack(own if self.learning else [each.detach() for each in own])
            at = attention.picture.start + covered
            negative = self.rows.negative(attention.options, part, work.before)
            unconditional = None if negative is None else flat[negative][:, at]
            mine = flat[part.rows]
            mixed = self.mixer.mix(mine[:, at], own, attention.site, (h, w), unconditional, view)
            flat[part.rows] = mine.index_copy(1, at, mixed.to(mine.dtype))
        return texts.apart(flat, attention.q.shape[1])


class _Texts:
    """Where picture and text stand among the tokens of an attention whose rows have texts of several lengths, all
    `filled` up to the same, stretch by stretch from the token `start` on. `named` are the arguments that say how its
    tensors are laid out.
    """

    def __init__(self, picture: slice, start: int, filled: tuple[int, ...], named: dict):
        self._start, self._filled = start, filled
        self._picture = picture
        self._heads_first = bool(named.get("skip_reshape"))
        self._heads_apart = bool(named.get("skip_output_reshape"))

    def of_rows(self, tensor: Tensor, rows: slice, tokens: tuple[int, ...]) -> Tensor:
        """Those rows of q, k or v, without what fills up their text of so many `tokens`."""
        return self._without_filling(tensor[rows], tokens, self._dim)

    def of_mask(self, mask: Tensor | None, rows: slice, tokens: tuple[int, ...], count: int) -> Tensor | None:
        """The attention's mask for those of its `count` rows."""
        if mask is None:
            return None
        mask = mask[rows] if mask.ndim > 2 and mask.shape[0] == count else mask
        for dim in (-1, -2):
            if mask.shape[dim] > 1:
                mask = self._without_filling(mask, tokens, dim)
        return mask

    def with_picture(self, own: Tensor, drawn: Tensor, tokens: tuple[int, ...], learning: bool) -> Tensor:
        """An object's own rows, without what fills up their text, with the picture of the rows `drawn`."""
        dim, drawn = self._dim, drawn if learning else drawn.detach()
        start, pixels = self.picture_from(tokens), self._picture.stop - self._picture.start
        end = start + pixels
        picture = drawn.narrow(dim, self._picture.start, pixels)
        return torch.cat([own.narrow(dim, 0, start), picture, own.narrow(dim, end, own.shape[dim] - end)], dim)

    def filled(self, out: Tensor, tokens: tuple[int, ...]) -> Tensor:
        """An attention's output with zeros for what fills up the text."""
        if tokens == self._filled:
            return out
        dim = -2 if self._heads_apart else 1
        *before, last = self._kept(tokens, out.shape[dim] + self._filling(tokens))
        parts, at, shape = [], 0, list(out.shape)
        for kept, shape[dim] in zip(before, self._missing(tokens), strict=True):
            parts += [out.narrow(dim, at, len(kept)), out.new_zeros(shape)]
            at += len(kept)
        return torch.cat([*parts, out.narrow(dim, at, len(last))], dim)

    def flat(self, out: Tensor) -> Tensor:
        """An attention's output as [rows, n, heads * d]."""
        return out.transpose(1, 2).flatten(2) if self._heads_apart else out

    def apart(self, flat: Tensor, heads: int) -> Tensor:
        return flat.unflatten(2, (heads, -1)).transpose(1, 2) if self._heads_apart else flat

    def picture_from(self, tokens: tuple[int, ...]) -> int:
        """Where the picture begins in a row with so many `tokens` of text and no filling."""
        return self._picture.start - (self._filling(tokens) if self._picture.start > self._start else 0)

    @property
    def _dim(self) -> int:
        return 2 if self._heads_first else 1

    def _missing(self, tokens: tuple[int, ...]) -> list[int]:
        return [filled - own for filled, own in zip(self._filled, tokens, strict=True)]

    def _filling(self, tokens: tuple[int, ...]) -> int:
        return sum(self._missing(tokens))

    def _kept(self, tokens: tuple[int, ...], count: int) -> list[range]:
        """What there is between the fillings in a row of `count` tokens, in order."""
        kept, begin, at = [], 0, self._start
        for filled, own in zip(self._filled, tokens, strict=True):
            kept.append(range(begin, at + own))
            begin = at = at + filled
        return [*kept, range(begin, count)]

    def _without_filling(self, tensor: Tensor, tokens: tuple[int, ...], dim: int) -> Tensor:
        if tokens == self._filled:
            return tensor
        kept = self._kept(tokens, tensor.shape[dim])
        return torch.cat([tensor.narrow(dim, part.start, len(part)) for part in kept], dim)


def _stacked(host: Tensor, local: list[tuple[Tensor, slice]]) -> Tensor:
    """[rows, ..., n, C] of the host's rows and, behind them, of the local prompts' [1, ..., n, C], each for its rows,
    with zeros behind each text up to one length.
    """
    longest = max(host.shape[-2], *(text.shape[-2] for text, _ in local))
    stacked = [_filled(host, longest)]
    for text, rows in local:
        text = _filled(text.to(host.device, host.dtype), longest)
        stacked.append(text.expand(rows.stop - rows.start, *text.shape[1:]))
    return torch.cat(stacked)


def _filled(text: Tensor, tokens: int) -> Tensor:
    return F.pad(text, (0, 0, 0, tokens - text.shape[-2]))
