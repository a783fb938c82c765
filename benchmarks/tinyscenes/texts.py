"""Captions as rows of the small vocabulary that TinyScenes keeps of its text encoder's tokens."""

from __future__ import annotations

import torch
from prompt_fidelity.host.models.text_encoder import TOKENS
from torch import Tensor

from . import data


class Texts:
    """Captions to rows of the small vocabulary, by the host's tokenizer."""

    def __init__(self):
        import comfy.sd1_clip

        self.tokenizer = comfy.sd1_clip.SD1Tokenizer(tokenizer_data={"clip_l_max_length": TOKENS})
        phrases = [f"a an {colour} {noun}, and the" for colour in data.COLOURS for noun in data.NOUNS]
        self.vocabulary = sorted({token for phrase in phrases for token in self.ids(phrase)})
        self.row_of = {token: row for row, token in enumerate(self.vocabulary)}
        self.noun_row = {noun: self.row_of[self.ids(noun)[1]] for noun in data.NOUNS}
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        return [token for token, _ in self.tokenizer.tokenize_with_weights(text)["l"][0]]

    def rows(self, captions: list[str]) -> Tensor:
        for caption in captions:
            if caption not in self._known:
                self._known[caption] = [self.row_of[token] for token in self.ids(caption)]
        return torch.tensor([self._known[caption] for caption in captions])
