"""The host's prompt syntax: `(emphasis:1.3)`, escaped brackets and `embedding:name`, separated from the words.

The tokenizer never sees brackets and weights, so every later step works on the clean text. The rules below describe
what ComfyUI does with a prompt, odd cases (unclosed brackets, a stray closing one) included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .scene import Span

EMPHASIS = 1.1  # what a pair of brackets without a number multiplies by
_EMBEDDING = "embedding:"
_EMBEDDING_START = re.compile(rf"(?<!\S){_EMBEDDING}")


@dataclass(frozen=True)
class Prompt:
    """A prompt as the tokenizer reads it.

    `typed` is the prompt as the artist wrote it, `text` the clean text. `weights` are (character span in the clean
    text, weight) for each run of equal emphasis, in order and together covering the text. `embeddings` are the spans
    of the `embedding:name` words.
    """

    typed: str
    text: str
    weights: tuple[tuple[Span, float], ...]
    embeddings: tuple[Span, ...]

    def weight_at(self, position: int) -> float:
        """The weight of the character at `position` of the clean text."""
        return next((weight for (start, end), weight in self.weights if start <= position < end), 1.0)


def parse_weights(typed: str) -> Prompt:
    r"""Takes emphasis brackets and weights out of a prompt and unescapes `\(` and `\)`. Never raises."""
    characters = _unescape(typed)
    clean: list[str] = []
    weights: list[tuple[Span, float]] = []
    embeddings: list[Span] = []
    for run, weight in _weighted_runs(characters):
        text = "".join(character for character, _ in run)
        offset = len(clean)
        clean.extend(text)
        weights.append(((offset, offset + len(text)), weight))
        # The host looks for embeddings within each weighted run by itself, so a bracket counts as a space.
        embeddings.extend((offset + start, offset + end) for start, end in find_embeddings(text))
    return Prompt(typed, "".join(clean), tuple(weights), tuple(embeddings))


def find_embeddings(text: str) -> list[Span]:
    """Spans of `embedding:name` words: at the start or after a space, up to the next space, `<` or `[`."""
    spans = []
    for found in _EMBEDDING_START.finditer(text):
        name = re.match(r"[^\s<\[]*", text[found.end() :]).group().rstrip(",")
        if name:
            spans.append((found.start(), found.end() + len(name)))
    return spans


_Character = tuple[str, bool]  # the character, and whether it was escaped (and so has no meaning as a bracket)


def _unescape(typed: str) -> list[_Character]:
    characters: list[_Character] = []
    position = 0
    while position < len(typed):
        if typed[position] == "\\" and typed[position + 1 : position + 2] in ("(", ")"):
            characters.append((typed[position + 1], True))
            position += 2
        else:
            characters.append((typed[position], False))
            position += 1
    return characters


def _weighted_runs(characters: list[_Character]) -> list[tuple[list[_Character], float]]:
    """Splits nested brackets into runs of one weight, in order."""
    runs: list[tuple[list[_Character], float]] = []
    # A stack instead of recursion: a prompt of a thousand opening brackets must not exhaust Python's.
    waiting = [(characters, 1.0, False)]
    while waiting:
        part, weight, is_text = waiting.pop()
        if is_text:
            runs.append((part, weight))
            continue
        pieces: list[tuple[list[_Character], float, bool]] = []
        for item in _split_at_brackets(part):
            if len(item) >= 2 and item[0] == ("(", False) and item[-1] == (")", False):
                inner, inner_weight = _read_weight(item[1:-1], weight * EMPHASIS)
                pieces.append((inner, inner_weight, False))
            else:
                pieces.append((item, weight, True))
        waiting.extend(reversed(pieces))
    return runs


def _split_at_brackets(characters: list[_Character]) -> list[list[_Character]]:
    """Cuts before an outermost opening bracket and after its closing one.

    After a closing bracket too many, the level is negative and the next opening bracket only makes up for it.
    """
    items: list[list[_Character]] = []
    current: list[_Character] = []
    level = 0
    for character in characters:
        if character == ("(", False):
            if level == 0 and current:
                items.append(current)
                current = []
            level += 1
        current.append(character)
        if character == (")", False):
            level -= 1
            if level == 0:
                items.append(current)
                current = []
    if current:
        items.append(current)
    return items


def _read_weight(inner: list[_Character], otherwise: float) -> tuple[list[_Character], float]:
    """Reads the number after the last colon: "cat:1.3" -> ("cat", 1.3); without one the brackets' own weight."""
    text = "".join(character for character, _ in inner)
    colon = text.rfind(":")
    # An escaped bracket can't be part of a number, so it needs no special treatment here.
    if colon > 0:
        try:
            return inner[:colon], float(text[colon + 1 :])
        except ValueError:
            pass
    return inner, otherwise
