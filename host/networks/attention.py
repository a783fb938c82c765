"""One attention between words and picture, as a call of the network makes it, in one form for all families.

Cross-attention: the picture's pixels attend to the words alone. Joint attention: words and picture attend to both in
one softmax, so that a word's probability is a part of a whole that the picture has its share in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor

from ...core.maps.probabilities import probabilities, scores, wide

_NARROW = 8


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """[rows, n, heads * d] -> [rows, heads, n, d]"""
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


def heads_first(tensor: Tensor, width: int, skip_reshape: bool) -> Tensor:
    """[rows, n, heads * d], or [rows, n, heads, d], or (skip_reshape) what it is to become -> [rows, heads, n, d]; `d`
    is the `width` of a head.
    """
    if skip_reshape:
        return tensor
    return (tensor if tensor.ndim == 4 else tensor.unflatten(-1, (-1, width))).transpose(1, 2)


@dataclass
class Attention(ABC):
    """q, k, v [rows, heads, n, d] at `site`, of a map of `size` (h, w); `mask` and `scale` as the host's attention
    takes them; `options` are the host's transformer options there.
    """

    site: Hashable
    size: tuple[int, int]
    options: dict
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None = None
    scale: float | None = None
    heads_apart: bool = False  # whether the output is to be [rows, heads, n, d] too

    joint: ClassVar[bool]
    filled_in_front: ClassVar[bool] = False

    @property
    def rows(self) -> int:
        return self.q.shape[0]

    @property
    @abstractmethod
    def pixels(self) -> int:
        """How many of the queries are the picture's."""

    @property
    @abstractmethod
    def words(self) -> Tensor:
        """The keys of the text, [rows, columns, heads, d]."""

    def detached(self) -> Attention:
        return replace(self, q=self.q.detach(), k=self.k.detach(), v=self.v.detach())

    def behind(self, first: int) -> Attention:
        """The same, with the text's columns from its `first` on."""
        if first:
            raise ValueError("an attention to the text alone has nothing in front of it")
        return self

    @abstractmethod
    def shares(self, rows: slice, columns: Sequence[int] | None = None) -> Tensor:
        """What each pixel's attention gives to each of those columns of the text, or to all, differentiable: [rows,
        heads, pixels, columns].
        """

    @abstractmethod
    def scores(self, rows: slice, tokens: int) -> Tensor:
        """The scores [rows, heads, pixels, tokens] of the text's first copy (see Rows), float32 or float64."""

    @abstractmethod
    def whole(self, scores: Tensor, rows: slice, plain: Tensor) -> Tensor:
        """Probabilities [rows, heads, pixels, tokens (and what is left for the picture)] where the words' scores are
        `scores` in the place of `plain`.
        """

    @abstractmethod
    def changed(self, out: Tensor, rows: slice, plain: Tensor, final: Tensor) -> Tensor:
        """Those rows of the layer's output if it attends with `final` in the place of `plain`, both from `whole`."""

    def _mask_of(self, rows: slice, queries: slice = slice(None)) -> Tensor | None:
        """The mask, with four dimensions."""
        if self.mask is None:
            return None
        mask = self.mask
        mask = mask[None, None] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask
        mask = mask[rows] if mask.shape[0] > 1 else mask
        return mask[:, :, queries] if mask.shape[2] > 1 else mask


class CrossAttention(Attention):
    """Every column is the text's."""

    joint = False

    @property
    def pixels(self) -> int:
        return self.q.shape[2]

    @property
    def words(self) -> Tensor:
        return self.k.transpose(1, 2)

    def shares(self, rows: slice, columns: Sequence[int] | None = None) -> Tensor:
        shares = probabilities(self.q[rows], self.k[rows], self.scale, self._mask_of(rows))
        return shares if columns is None else shares[..., list(columns)]

    def scores(self, rows: slice, tokens: int) -> Tensor:
        # A conditioning that was batched with a longer one is repeated: its first copy alone gives the same attention.
        mask = self._mask_of(rows)
        mask = mask if mask is None or mask.shape[-1] == 1 else mask[..., :tokens]
        return scores(self.q[rows], self.k[rows, :, :tokens], self.scale, mask)

    def whole(self, scores: Tensor, rows: slice, plain: Tensor) -> Tensor:
        return scores.softmax(dim=-1)

    def changed(self, out: Tensor, rows: slice, plain: Tensor, final: Tensor) -> Tensor:
        tokens = final.shape[-1]
        change = (final - plain) @ self.v[rows, :, :tokens].to(final.dtype)  # [B, heads, pixels, d]
        change = change if self.heads_apart else change.transpose(1, 2).flatten(2)
        return out[rows] + change.to(out.dtype)

    def attended(self, probs: Tensor) -> Tensor:
        """The output of all rows for probabilities [rows, heads, pixels, columns]."""
        out = torch.matmul(probs.to(self.v.dtype), self.v)
        return out if self.heads_apart else out.transpose(1, 2).flatten(2)


@dataclass(kw_only=True)
class JointAttention(Attention):
    """`picture` are the picture's queries, `text` the columns of the conditioning among the keys. `filled_in_front`:
    whether what the text was filled up with stands in front of it. `normaliser` is the logarithm of the sum of each
    query's exponentiated scores, [rows, heads, queries], if the layer's own kernel has told it.

    Edits follow from the words' columns alone: with p a column's probability, v its value and δ what is added to its
    score, out' = (out + Σ p(e^δ − 1)v) / (1 + Σ p(e^δ − 1)), as the picture's own columns keep their proportions.
    """

    picture: slice
    text: slice
    filled_in_front: bool = False
    normaliser: Tensor | None = None

    joint: ClassVar[bool] = True

    @property
    def pixels(self) -> int:
        return self.picture.stop - self.picture.start

    @property
    def words(self) -> Tensor:
        return self.k[:, :, self.text].transpose(1, 2)

    @property
    def _all_text(self) -> slice:
        """All columns that are the text's."""
        return self.text

    def behind(self, first: int) -> JointAttention:
        return replace(self, text=slice(self.text.start + first, self.text.stop)) if first else self

    def shares(self, rows: slice, columns: Sequence[int] | None = None) -> Tensor:
        """The matrix of all pixels and columns is never there, and what is kept of it for a gradient is what is asked
        for.
        """
        wanted = range(self.text.stop - self.text.start) if columns is None else columns
        index = self.text.start + torch.tensor(list(wanted), dtype=torch.long, device=self.q.device)
        own = self._scores(rows, index)
        if self.normaliser is not None:
            return (own - self._normaliser_of(rows)).exp()
        return own.softmax(dim=-1) * self._given_to(rows, index)

    def _scores(self, rows: slice, columns: slice | Tensor) -> Tensor:
        """Of the picture's queries."""
        mask = self._mask_of(rows, self.picture)
        mask = mask if mask is None or mask.shape[-1] == 1 else mask[..., columns]
        return scores(self.q[rows, :, self.picture], self.k[rows][:, :, columns], self.scale, mask)

    def _normaliser_of(self, rows: slice) -> Tensor:
        return self.normaliser[rows, :, self.picture, None].to(wide(self.q[:0]).dtype)

    def _given_to(self, rows: slice, columns: slice | Tensor) -> Tensor:
        """What the picture's queries give to those columns together, [rows, heads, pixels, 1], in the precision of
        `scores`: by a second, fused attention whose values are 1 for them.
        """
        q, k = self.q[rows, :, self.picture], self.k[rows]
        # The narrowest values that every kernel of a card takes; the processor's takes those of the keys' width alone.
        values = q.new_zeros(k.shape[2], _NARROW if q.is_cuda else q.shape[-1])
        values[columns] = 1.0
        # The host's function; the override that listens to it is reached by transformer options alone.
        named = {} if self.scale is None else {"scale": self.scale}
        given = attention_pytorch(
            q,
            k,
            values.expand(*k.shape[:2], *values.shape),
            q.shape[1],
            mask=self._mask_of(rows, self.picture),
            skip_reshape=True,
            skip_output_reshape=True,
            **named,
        )
        return wide(given[..., :1])

    def _share(self, rows: slice) -> Tensor:
        """The text's part of each pixel's attention, [rows, heads, pixels, 1]."""
        if self.normaliser is None:
            share = self._given_to(rows, self._all_text)
        else:
            total = self._scores(rows, self._all_text).logsumexp(dim=-1, keepdim=True)
            share = (total - self._normaliser_of(rows)).exp()
        return share.clamp(0.0, 1.0)

    def scores(self, rows: slice, tokens: int) -> Tensor:
        return self._scores(rows, slice(self.text.start, self.text.start + tokens))

    def whole(self, scores: Tensor, rows: slice, plain: Tensor) -> Tensor:
        """One column more than there are words: what is left, which the picture divides among its own."""
        share = self._share(rows)
        words = scores - plain.logsumexp(dim=-1, keepdim=True) + share.log()
        return torch.cat([words, torch.log1p(-share)], dim=-1).softmax(dim=-1)

    def changed(self, out: Tensor, rows: slice, plain: Tensor, final: Tensor) -> Tensor:
        mine = out[rows].clone()
        before = mine[:, :, self.picture] if self.heads_apart else split_heads(mine[:, self.picture], self.q.shape[1])
        left, left_before = final[..., -1:], plain[..., -1:]
        # Where nothing was left for the picture its output is the words' alone.
        kept = torch.where(left_before > 0, left / left_before, torch.ones_like(left))
        after = before.to(final.dtype) * kept + self._valued(final[..., :-1] - plain[..., :-1] * kept, rows)
        if self.heads_apart:
            mine[:, :, self.picture] = after.to(out.dtype)
        else:
            mine[:, self.picture] = after.transpose(1, 2).flatten(2).to(out.dtype)
        return mine

    def _valued(self, weights: Tensor, rows: slice) -> Tensor:
        """The words' values [rows, heads, pixels, d], each times its weight [rows, heads, pixels, tokens]."""
        columns = slice(self.text.start, self.text.start + weights.shape[-1])
        return weights @ self.v[rows, :, columns].to(weights.dtype)
