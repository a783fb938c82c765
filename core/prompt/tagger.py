"""Words of a clean text with their part of speech (HanTa, with a few corrections for descriptions of pictures)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from functools import cache

from .corrections import corrected
from .syntax import find_embeddings
from .word import Word

# A longer word is no English word, and HanTa's time grows with the square of its length.
_LONGEST_WORD = 30

_LORA = re.compile(r"<[^<>\s]+:[^<>]*>")  # prompt tags of other packs: <lora:name:0.8>
_LETTERS = r"(?:[^\W_][\u0300-\u036f]*)+"  # with combining accents
_WORD = re.compile(
    r"\d+(?:[.,]\d+)+"  # 1.5
    r"|\d+(?=[^\W\d_]{3,})"  # the 1 of 1girl
    r"|['’]s\b"
    rf"|{_LETTERS}(?:(?:-|['’](?!s\b)){_LETTERS})*"  # close-up, don't
    r"|[^\w\s]|_"
)
_MARKS = "‘’“”–—…•"
_STOPS = frozenset({".", "!", "?", ";", "|"})


def sentences(text: str) -> list[list[Word]]:
    """The tagged words of `text`, sentence by sentence."""
    result: list[list[Word]] = []
    current: list[Word] = []
    for word in _split(text):
        if word.tag == "STOP":
            if current:
                result.append(_tag(current))
                current = []
        else:
            current.append(word)
    if current:
        result.append(_tag(current))
    return result


@cache
def _model():
    """HanTa's English model: 0.2 s to load, hence at the first prompt only."""
    from HanTa import HanoverTagger

    return HanoverTagger.HanoverTagger("morphmodel_en.pgz")


def _split(text: str) -> list[Word]:
    opaque = [*find_embeddings(text), *(found.span() for found in _LORA.finditer(text))]
    words = [Word(text[start:end].lower(), "GAP", start, end) for start, end in opaque]
    for found in _WORD.finditer(text):
        start, end = found.span()
        if any(a < end and start < b for a, b in opaque):
            continue
        spelled = unicodedata.normalize("NFC", found.group()).lower().replace("’", "'")
        words.append(Word(spelled, _kind(found.group()), start, end))
    # A line's end separates like a comma, an empty line like a full stop.
    for found in re.finditer(r"\s*\n\s*", text):
        words.append(Word(",", "STOP" if found.group().count("\n") > 1 else "", *found.span()))
    return sorted(words, key=lambda word: word.start)


def _kind(word: str) -> str:
    if word in _STOPS or word == "BREAK":
        return "STOP"
    if word == "_":
        return "LINK"
    if len(word) > _LONGEST_WORD or any(ord(c) > 0x36F and not c.isspace() and c not in _MARKS for c in word):
        return "GAP"
    return ""


def _tag(words: list[Word]) -> list[Word]:
    """Tags one sentence."""
    words = [word for word in words if word.tag != "LINK"]
    english = [word for word in words if not word.tag]
    # Lower case: a capitalised prompt ("A BLACK CAR") must read like any other.
    tags = iter([tag for _, _, tag in _model().tag_sent([word.text for word in english])]) if english else iter(())
    tagged = [word if word.tag else replace(word, tag=next(tags)) for word in words]
    return corrected(tagged)
