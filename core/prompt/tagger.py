"""Words of a clean text with their part of speech (HanTa, with a few corrections for descriptions of pictures)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from .lexicon import COLOUR_NOUNS, COLOURS
from .scene import Span
from .syntax import find_embeddings

# A longer word is no English word, and HanTa's time grows with the square of its length.
_LONGEST_WORD = 30

_LORA = re.compile(r"<[^<>\s]+:[^<>]*>")  # prompt tags of other packs: <lora:name:0.8>
_WORD = re.compile(
    r"\d+(?:[.,]\d+)+"  # 1.5
    r"|\d+(?=[^\W\d_]{3,})"  # the 1 of 1girl
    r"|['’]s\b"
    r"|[^\W_]+(?:(?:-|['’](?!s\b))[^\W_]+)*"  # close-up, don't
    r"|[^\w\s]|_"
)
_STOPS = frozenset({".", "!", "?", ";", "|"})


@dataclass(frozen=True)
class Word:
    """A word or a punctuation mark: lower-cased `text`, tag of the CLAWS C5 set, place in the clean text.

    Three tags are ours: "STOP" ends a sentence, "GAP" is something that is no English (an embedding, other scripts),
    "LINK" joins tags of a tag list ("long_hair").
    """

    text: str
    tag: str
    start: int
    end: int

    @property
    def span(self) -> Span:
        return (self.start, self.end)

    @property
    def is_noun(self) -> bool:
        return self.tag in ("NN0", "NN1", "NN2", "NP0")

    @property
    def is_adjective(self) -> bool:
        return self.tag in ("AJ0", "AJC", "AJS", "ORD")

    @property
    def is_determiner(self) -> bool:
        return self.tag in ("AT0", "DT0", "DPS", "CRD")

    @property
    def is_participle(self) -> bool:
        return self.tag in ("VVG", "VVN", "VVD")

    @property
    def is_verb(self) -> bool:
        return self.tag[0] == "V"


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
        words.append(Word(found.group().lower().replace("’", "'"), _kind(found.group()), start, end))
    words += [Word("\n", "STOP", at, at + 1) for at, character in enumerate(text) if character in "\n\r"]
    return sorted(words, key=lambda word: word.start)


def _kind(word: str) -> str:
    if word in _STOPS or word == "BREAK":
        return "STOP"
    if word == "_":
        return "LINK"
    if len(word) > _LONGEST_WORD or any(c.isalpha() and ord(c) > 0x24F for c in word):
        return "GAP"
    return ""


def _tag(words: list[Word]) -> list[Word]:
    """Tags one sentence."""
    words = [word for word in words if word.tag != "LINK"]
    english = [word for word in words if not word.tag]
    # Lower case: a capitalised prompt ("A BLACK CAR") must read like any other.
    tags = iter([tag for _, _, tag in _model().tag_sent([word.text for word in english])]) if english else iter(())
    tagged = [word if word.tag else replace(word, tag=next(tags)) for word in words]
    return _correct(tagged)


def _correct(words: list[Word]) -> list[Word]:
    """Mends tags that can't be right where they stand."""
    result = list(words)
    for i, word in enumerate(result):
        before = result[i - 1] if i else None
        after = result[i + 1] if i + 1 < len(result) else None
        tag = word.tag
        if tag == "UNC" and word.text.isalpha():
            tag = "NN1"  # a word that HanTa has never seen is a name for a thing
        elif word.text in COLOURS and word.tag[0] in "NVU" and after and (after.is_noun or after.is_adjective):
            tag = "AJ0"
        elif word.text in ("left", "right") and after and after.text == "of":
            tag = "NN1"
        result[i] = replace(word, tag=tag)
        opens = before is not None and (before.tag in ("AT0", "DPS") or before.is_adjective or before.tag == "CRD")
        ends = after is None or not (after.is_noun or after.is_adjective or after.tag in ("CRD", "GAP") or after.is_participle)
        if not opens:
            continue
        if tag in ("VVB", "VVI", "VVZ") and _determined(result, i):
            result[i] = replace(word, tag="NN1")  # "the stop sign", "a toast"
        elif tag in ("AJ0", "AV0", "PRP") and before.tag in ("AT0", "DPS", "AJ0") and ends and _determined(result, i):
            if word.text not in COLOURS or word.text in COLOUR_NOUNS:
                result[i] = replace(word, tag="NN1") if tag == "AJ0" else word  # "the yellow remote"
    return result


def _determined(words: list[Word], i: int) -> bool:
    """Whether an article or possessive with only adjectives after it leads up to word i."""
    i -= 1
    while i >= 0 and words[i].is_adjective:
        i -= 1
    return i >= 0 and words[i].tag in ("AT0", "DPS")
