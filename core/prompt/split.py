"""Clean text -> words and punctuation marks, before anything is known about them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from .scene import Span
from .syntax import find_embeddings
from .word import Word

# A longer word is no English word, and the tagger's time grows with the square of its length.
_LONGEST_WORD = 30

_LORA = re.compile(r"<[^<>\s:]{1,50}:[^<>]{0,200}>")  # prompt tags of other packs: <lora:name:0.8>
_LETTERS = r"(?:[^\W_][\u0300-\u036f]*)+"  # with combining accents
_WORD = re.compile(
    r"\b[a-zA-Z]?/?\d+(?:[.,]\d+)+"  # 1.5, f1.8, f/1.8
    r"|\d+(?=[^\W\d_]{3,})"  # the 1 of 1girl
    r"|['’]s\b"
    rf"|{_LETTERS}(?:(?:-|['’](?!s\b)){_LETTERS})*"  # close-up, don't
    r"|[^\w\s]|_"
)
# What camera and render settings look like: 50mm, 8k, f1.8, iso100. They describe no thing.
_SETTING = re.compile(r"\d+(?:[.,]\d+)?(?:mm|cm|k|p|px|fps|hz|mp|bit|d)|[a-z]/?\d+(?:[.,]\d+)?|iso\d+")
_LINE_END = re.compile(r"\n\s*")
_MARKS = "‘’“”–—…•"
_QUOTES = frozenset("\"'`‘’“”«»")
_STOPS = frozenset(".!?;|。！？；")
_COMMAS = frozenset("，、：")


def split_words(text: str, silent: Iterable[Span] = ()) -> list[Word]:
    """The words of `text` in order, without tags but those of our own. Words in `silent` spans are left out."""
    opaque = sorted([*find_embeddings(text), *(found.span() for found in _LORA.finditer(text))])
    covered = [(*span, True) for span in opaque] + [(*span, False) for span in silent]
    words = [_line_end(found) for found in _LINE_END.finditer(text)]
    for (start, end), is_word in _outside(text, sorted(covered)):
        if is_word:
            words.append(Word(text[start:end].lower(), "GAP", start, end))
            continue
        for found in _WORD.finditer(text, start, end):
            spelled = unicodedata.normalize("NFC", found.group()).lower().replace("’", "'")
            words.append(Word(spelled, _kind(found.group()), *found.span(), found.group()[0].isupper()))
    return sorted(words, key=lambda word: word.start)


def _line_end(found: re.Match) -> Word:
    """A line's end separates like a comma, an empty line like a full stop."""
    return Word(",", "STOP" if found.group().count("\n") > 1 else "", *found.span())


def _outside(text: str, covered: list[tuple[int, int, bool]]) -> Iterable[tuple[Span, bool]]:
    """The stretches of text between covered spans, and the covered ones that are words themselves."""
    at = 0
    for start, end, is_word in covered:
        if start > at:
            yield (at, start), False
        if is_word and start >= at:
            yield (start, end), True
        at = max(at, end)
    yield (at, len(text)), False


def _kind(word: str) -> str:
    if word in _STOPS or word == "BREAK":
        return "STOP"
    if word == "_":
        return "LINK"
    if word in _QUOTES:
        return "QUOTE"
    if word in _COMMAS:
        return "PUN"
    if _SETTING.fullmatch(word.lower()):
        return "UNIT"
    if len(word) > _LONGEST_WORD or any(ord(c) > 0x36F and not c.isspace() and c not in _MARKS for c in word):
        return "GAP"
    return ""
