"""The host's prompt syntax: `(emphasis:1.3)`, escaped brackets and `embedding:name`, separated from the words.

The tokenizer never sees brackets and weights, so every later step works on the clean text. The rules below describe
what ComfyUI does with a prompt, odd cases (unclosed brackets, a stray closing one) included.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from .scene import Span

EMPHASIS = 1.1  # what a pair of brackets without a number multiplies by
_EMBEDDING = "embedding:"
_MARK = re.compile(r"\\[()]|[():]")
_EMBEDDING_NAME = re.compile(r"[^\s<\[]*")
_EMBEDDING_START = re.compile(rf"(?<!\S){_EMBEDDING}")


@dataclass(frozen=True)
class Prompt:
    """A prompt as the tokenizer reads it.

    `typed` is the prompt as the artist wrote it, `text` the clean text. `weights` are (character span in the clean
    text, weight) for each run of equal emphasis, in order and together covering the text. `embeddings` are the spans
    of the `embedding:name` words. `literal` is the prompt as a tokenizer reads it that knows no weights, brackets and
    numbers included, and `runs` say where in it each of the `weights` begins.
    """

    typed: str
    text: str
    weights: tuple[tuple[Span, float], ...]
    embeddings: tuple[Span, ...]
    literal: str = ""
    runs: tuple[int, ...] = ()

    def weight_at(self, position: int) -> float:
        """The weight of the character at `position` of the clean text."""
        return next((weight for (start, end), weight in self.weights if start <= position < end), 1.0)

    def from_literal(self, span: Span) -> Span | None:
        """A stretch of the literal text on the clean text; None if it is all brackets and numbers."""
        kept = []
        for begin, ((start, end), _) in zip(self.runs, self.weights, strict=True):
            first, last = max(span[0], begin), min(span[1], begin + end - start)
            if first < last:
                kept += [start + first - begin, start + last - begin]
        return (kept[0], kept[-1]) if kept else None

    @property
    def silent(self) -> list[Span]:
        """Stretches of the clean text whose weight says that they are not wanted: 0 or less."""
        return [span for span, weight in self.weights if weight <= 0]


def parse_weights(typed: str) -> Prompt:
    r"""Takes emphasis brackets and weights out of a prompt and unescapes `\(` and `\)`. Never raises.

    The time grows with the prompt's length only, however its brackets are nested.
    """
    characters = _Characters(typed)
    clean: list[str] = []
    weights: list[tuple[Span, float]] = []
    embeddings: list[Span] = []
    runs: list[int] = []
    offset = 0
    for start, end, weight in _weighted_runs(characters):
        text = characters.text[start:end]
        clean.append(text)
        runs.append(start)
        weights.append(((offset, offset + len(text)), weight))
        # The host looks for embeddings within each weighted run by itself, so a bracket counts as a space.
        embeddings.extend((offset + a, offset + b) for a, b in find_embeddings(text))
        offset += len(text)
    return Prompt(typed, "".join(clean), tuple(weights), tuple(embeddings), characters.text, tuple(runs))


def find_embeddings(text: str) -> list[Span]:
    """Spans of `embedding:name` words: at the start or after a space, up to the next space, `<` or `[`."""
    spans = []
    for found in _EMBEDDING_START.finditer(text):
        name = _EMBEDDING_NAME.match(text, found.end()).group().rstrip(",")
        if name:
            spans.append((found.start(), found.end() + len(name)))
    return spans


class _Characters:
    """A prompt's characters without escapes, and where its brackets and colons stand.

    `order` are the places of all brackets that are not escaped, `brackets` which they are, `partner` has the closing
    bracket of each opening one that has one.
    """

    def __init__(self, typed: str) -> None:
        self.brackets: dict[int, str] = {}
        self.colons: list[int] = []
        clean: list[str] = []
        at = escapes = 0
        for found in _MARK.finditer(typed):
            mark, place = found.group(), found.start() - escapes
            if mark == ":":
                self.colons.append(place)
            elif len(mark) == 1:
                self.brackets[place] = mark
            else:
                clean.append(typed[at : found.start()])
                at = found.start() + 1
                escapes += 1
        self.text = "".join(clean) + typed[at:]
        self.order = list(self.brackets)
        self.partner: dict[int, int] = {}
        opened: list[int] = []
        for place in self.order:
            if self.brackets[place] == "(":
                opened.append(place)
            elif opened:
                self.partner[opened.pop()] = place

    def last_colon(self, end: int) -> int:
        """Where the last colon before `end` stands; -1 if none does."""
        return _last_before(self.colons, end)

    def last_bracket(self, end: int) -> int:
        """Where the last bracket before `end` stands; -1 if none does."""
        return _last_before(self.order, end)


def _last_before(places: list[int], end: int) -> int:
    index = bisect_left(places, end)
    return places[index - 1] if index else -1


def _weighted_runs(characters: _Characters) -> Iterator[tuple[int, int, float]]:
    """Runs (start, end, weight) of one weight, in order; brackets and numbers are in none of them."""
    # A stack instead of recursion: a prompt of a thousand opening brackets must not exhaust Python's.
    waiting = [(0, len(characters.text), 1.0, False)]
    while waiting:
        start, end, weight, is_text = waiting.pop()
        if is_text:
            yield start, end, weight
            continue
        pieces = []
        for first, last in _split_at_brackets(characters, start, end):
            opens, closes = characters.brackets.get(first) == "(", characters.brackets.get(last - 1) == ")"
            if last - first >= 2 and opens and closes:
                pieces.append((*_read_weight(characters, first + 1, last - 1, weight * EMPHASIS), False))
            else:
                pieces.append((first, last, weight, True))
        waiting.extend(reversed(pieces))


def _split_at_brackets(characters: _Characters, start: int, end: int) -> list[Span]:
    """Cuts before an outermost opening bracket and after its closing one.

    After a closing bracket too many, the level is negative and the next opening bracket only makes up for it.
    """
    items: list[Span] = []
    level, begun = 0, start
    index = bisect_left(characters.order, start)
    while index < len(characters.order) and characters.order[index] < end:
        place = characters.order[index]
        index += 1
        if characters.brackets[place] == ")":
            level -= 1
        elif level < 0:
            level += 1
        else:
            if place > begun:
                items.append((begun, place))
            begun = place
            closing = characters.partner.get(place, end)
            if closing >= end:  # never closed: all the rest
                break
            items.append((place, closing + 1))
            begun = closing + 1
            index = bisect_left(characters.order, begun, index)
    if begun < end:
        items.append((begun, end))
    return items


def _read_weight(characters: _Characters, start: int, end: int, otherwise: float) -> tuple[int, int, float]:
    """Reads the number after the last colon: "cat:1.3" -> "cat", 1.3; without one the brackets' own weight."""
    colon = characters.last_colon(end)
    if colon > start and characters.last_bracket(end) < colon:
        try:
            return start, colon, float(characters.text[colon + 1 : end])
        except ValueError:
            pass
    return start, end, otherwise
