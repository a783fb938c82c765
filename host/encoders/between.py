"""The attention between the prompt's own tokens, from that of the encoders' layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ...core.prompt.scene import Span
from ...core.prompt.targets import Targets
from .columns import Axis
from .listening import Heard


def between_content(targets: Targets, axis: Axis, heard: Mapping[str, Heard]) -> torch.Tensor | None:
    """[content, content] float32: mean over an encoder's heads and layers, and over the encoders that share a column.

    Tokens that were encoded apart (other chunks, other encoders) have no attention for each other. None where no
    encoder's attention was heard. A weighted prompt is encoded with an empty one as an extra last row, which no token
    has a place in.
    """
    index = {column: i for i, column in enumerate(targets.content)}
    total = torch.zeros(len(index), len(index))
    times = torch.zeros(len(index), len(index))
    for key, columns in axis.columns.items():
        attention = heard[key].attention if key in heard else None
        if attention is None:
            continue
        for chunk, own in enumerate(attention):
            placed = [
                (axis.rows[key][place], index[column])
                for place, column in columns.items()
                if place[0] == chunk and column in index
            ]
            if placed:
                rows, at = torch.tensor(placed).T
                total[at[:, None], at] += own[rows][:, rows]
                times[at[:, None], at] += 1
    return total / times.clamp(min=1) if times.any() else None


def lent(attention: torch.Tensor, lenders: Sequence[Span | None], borrowers: Sequence[Span | None]) -> torch.Tensor:
    """One tokenizer's attention [n, n] laid on another's tokens [m, m], by the characters that they spell together.

    A token looks as its lenders do on average, and is looked at by what its characters are of theirs.
    """
    shared = torch.tensor([[_overlap(a, b) for b in lenders] for a in borrowers], dtype=torch.float32)
    looking = shared / shared.sum(dim=1, keepdim=True).clamp(min=1)
    seen = shared / shared.sum(dim=0, keepdim=True).clamp(min=1)
    return looking @ attention @ seen.T


def _overlap(a: Span | None, b: Span | None) -> int:
    return 0 if a is None or b is None else max(0, min(a[1], b[1]) - max(a[0], b[0]))
