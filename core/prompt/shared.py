"""Several things that share one noun: "a red, a blue and a green ball"."""

from __future__ import annotations

from .lexicon import COLOURS, FRUITS
from .phrases import Phrase, attributes_of
from .word import Word


def phrases_of_one_noun(words: list[Word], i: int) -> list[Phrase]:
    """The phrases, each with its own article and colour, that the noun at their end names together; none if fewer
    than two start at word `i`.
    """
    parts: list[tuple[int, list[Word]]] = []  # (where it starts, its adjectives)
    while (end := _article_and_adjectives(words, i)) > i:
        parts.append((i, words[i + 1 : end]))
        i = _past_joint(words, end)
        if i == end:
            break
    first = parts[0][1][-1].text if parts else ""
    if len(parts) < 2 or i != end or i >= len(words) or not words[i].is_noun or (first in FRUITS and len(parts) == 2):
        return []
    start = i
    while i < len(words) and words[i].is_noun:
        i += 1
    return [
        Phrase(at, i, words[at].text, list(words[start:i]), attributes_of(adjectives), other=True)
        for at, adjectives in parts
    ]


def _article_and_adjectives(words: list[Word], i: int) -> int:
    """Where "a dark red" ends that starts at word `i`; `i` if none does."""
    if i >= len(words) or words[i].text not in ("a", "an", "one", "the", "another"):
        return i
    end = i + 1
    while end < len(words) and (words[end].is_adjective or words[end].text in COLOURS):
        end += 1
    return end if end > i + 1 and words[end - 1].text in COLOURS else i


def _past_joint(words: list[Word], i: int) -> int:
    """Past ",", "and" or ", and" at word `i`."""
    for joint in (",", "and"):
        if i < len(words) and words[i].text == joint:
            i += 1
    return i
