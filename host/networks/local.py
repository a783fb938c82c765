"""An object's own prompt, as a transformer gets it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LocalPrompt:
    """`text` [1, tokens, C], and `beside` it, by the network's names, what else of the prompt its blocks attend to."""

    text: Tensor
    beside: dict[str, Tensor]
