"""Words of a clean text with their part of speech (HanTa, with a few corrections for descriptions of pictures)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import cache

from .lexicon import COLOUR_NOUNS, COLOURS, HOMOGRAPHS, ING_NOUNS, POSTURE_VERBS, is_compound, singular
from .scene import Span
from .syntax import find_embeddings

# A longer word is no English word, and HanTa's time grows with the square of its length.
_LONGEST_WORD = 30

_LORA = re.compile(r"<[^<>\s]+:[^<>]*>")  # prompt tags of other packs: <lora:name:0.8>
_WORD = re.compile(
    r"\d+(?:[.,]\d+)+"  # 1.5
    r"|\d+(?=[^\W\d_]{3,})"  # the 1 of 1girl
    r"|['’]s\b"
    r"|(?:[^\W_][\u0300-\u036f]*)+(?:(?:-|['’](?!s\b))(?:[^\W_][\u0300-\u036f]*)+)*"  # close-up, don't; letters with combining accents
    r"|[^\w\s]|_"
)
_MARKS = "‘’“”–—…•"
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
        words.append(
            Word(
                unicodedata.normalize("NFC", found.group()).lower().replace("’", "'"), _kind(found.group()), start, end
            )
        )
    words += [Word("\n", "STOP", at, at + 1) for at, character in enumerate(text) if character in "\n\r"]
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
    return _correct(tagged)


def _correct(words: list[Word]) -> list[Word]:
    """Mends tags that can't be right where they stand."""
    words = [replace(word, tag="VVZ") if _is_posture(words, i) else word for i, word in enumerate(words)]
    result: list[Word] = []
    for i, word in enumerate(words):
        result.append(replace(word, tag=_corrected(word, result, words[i + 1 : i + 3])))
    return result


def _corrected(word: Word, before: list[Word], following: list[Word]) -> str:
    last = before[-1] if before else None
    after = following[0] if following else None
    determined = _determined(before)
    if word.text == "nearby" and not (after and after.is_noun):
        return "AV0"
    if word.tag == "UNC" and word.text.isalpha():
        return "NN1"  # a word that HanTa has never seen is a name for a thing
    if after and is_compound([word.text, after.text]):
        return word.tag if word.is_adjective else "NN1"  # "stop sign"
    if last and is_compound([last.text, word.text]):
        return "NN1"
    if word.text in COLOURS and word.tag[0] in "NVU" and after and (after.is_noun or after.tag == "AJ0"):
        return "AJ0"
    if word.text in ("left", "right") and after and after.text == "of":
        return "NN1" if last and last.is_determiner else "AV0"  # "to the left of", "sits left of"
    if (
        word.is_noun
        and word.text.endswith("ing")
        and after
        and last
        and last.is_noun
        and (after.is_noun or after.is_determiner)
    ):
        if singular(word.text) not in ING_NOUNS and not is_compound([word.text, after.text]):
            return "VVG"  # "giraffe eating leaves"
    if (
        word.text in HOMOGRAPHS
        and not word.is_noun
        and not (after and (after.is_noun or after.is_determiner or after.is_adjective or after.tag in ("PNP", "VVI")))
    ):
        if (
            last is None
            or last.is_adjective
            or last.is_determiner
            or last.is_noun
            or last.tag in ("PUN", "CJC", "PRP", "CRD")
        ):
            return "NN1"  # "white remote and clock"
    if word.tag in ("VVB", "VVI", "VVZ") and determined and not (last and last.is_noun and word.tag != "VVI"):
        return "NN1"  # "the stop sign", "a toast"
    if word.tag == "AJ0" and last and (last.is_adjective or last.tag in ("AT0", "DPS")) and determined:
        ends = after is None or after.tag in ("PUN", "CJC", "PRP", "PRF", "POS", "CJS", "DTQ") or after.is_verb
        if after and after.text == "," and following[-1].is_adjective:
            ends = False  # "a small, white bathroom"
        if ends and (word.text not in COLOURS or word.text in COLOUR_NOUNS):
            return "NN1"  # "the yellow remote"
    return word.tag


def _is_posture(words: list[Word], i: int) -> bool:
    """A verb of posture that was taken for a plural: "the deer stands tall"."""
    if (
        words[i].text not in POSTURE_VERBS
        or not words[i].is_noun
        or i == 0
        or words[i - 1].tag in ("AT0", "DPS", "CRD", "CJC", "PUN")
    ):
        return False
    return i + 1 == len(words) or words[i + 1].tag in ("PRP", "AV0", "AVP", "AJ0", "TO0", "PUN", "CJC", "ORD")


def _determined(before: list[Word]) -> bool:
    """Whether an article or possessive, and after it only words of the same noun phrase, end the words so far."""
    for word in reversed(before):
        if word.tag in ("AT0", "DPS"):
            return True
        if not (word.is_adjective or word.is_noun):
            return False
    return False
