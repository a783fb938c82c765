"""HiDream: behind the picture stand T5's tokens and Llama's, and behind these Llama's once more, in each block as
another of its layers made them. A word that Llama read has the share of both its columns, and an edit is of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .attention import JointAttention
from .joint import Joint


class HiDream(Joint):
    def laid_out(self, size: tuple[int, int], context: int | None, tokens: int) -> tuple[slice, slice] | None:
        pixels = size[0] * size[1]
        if context is None or tokens <= pixels + context or (tokens - pixels - context) % 2:
            return None
        llama = (tokens - pixels - context) // 2
        return slice(0, pixels), slice(pixels, pixels + context + llama)

    def stretches(self, text: int, beside: Sequence[int]) -> tuple[int, ...]:
        return text, *beside, *beside

    def attention(self, **parts) -> TwiceAttention:
        return TwiceAttention(**parts)


class TwiceAttention(JointAttention):
    """`text` are the tokens of both encoders. What stands behind them are its last ones a second time."""

    @property
    def _second(self) -> slice:
        return slice(self.text.stop, self.k.shape[2])

    @property
    def _all_text(self) -> slice:
        return slice(self.text.start, self.k.shape[2])

    @property
    def _once(self) -> int:
        """How many of the text's columns stand there once."""
        return (self.text.stop - self.text.start) - (self.k.shape[2] - self.text.stop)

    def shares(self, rows: slice, columns: Sequence[int] | None = None) -> Tensor:
        wanted = list(range(self.text.stop - self.text.start) if columns is None else columns)
        twice = [place for place, column in enumerate(wanted) if column >= self._once]
        second = replace(self, text=self._second)
        again = JointAttention.shares(second, rows, [wanted[place] - self._once for place in twice])
        return (
            super()
            .shares(rows, wanted)
            .index_add(-1, torch.tensor(twice, dtype=torch.long, device=again.device), again)
        )

    def scores(self, rows: slice, tokens: int) -> Tensor:
        """Those of a token that stands there twice are one, of both together."""
        first, second = self._both(rows)
        return torch.cat([first[..., : self._once], torch.logaddexp(first[..., self._once :], second)], dim=-1)

    def _both(self, rows: slice) -> tuple[Tensor, Tensor]:
        second = replace(self, text=self._second)
        return tuple(JointAttention.scores(each, rows, each.words.shape[1]) for each in (self, second))

    def _valued(self, weights: Tensor, rows: slice) -> Tensor:
        first, second = self._both(rows)
        once, twice = weights[..., : self._once], weights[..., self._once :]
        part = torch.sigmoid(first[..., self._once :] - second)  # the first column's part of what both have
        at_first, at_second = (self.v[rows, :, columns].to(weights.dtype) for columns in (self.text, self._second))
        return torch.cat([once, twice * part], dim=-1) @ at_first + (twice * (1.0 - part)) @ at_second
