"""Cuts a tagged sentence into chunks: phrases, places, verbs, joints and the like."""

from __future__ import annotations

from dataclasses import dataclass

from .lexicon import NEGATORS, NO_NEGATION, PRONOUNS, SUBORDINATORS
from .phrases import Phrase, noun_phrase
from .shared import phrases_of_one_noun
from .spatial import Place, place_at
from .word import Word

_LONGEST_NEGATOR = 3
_BREAKS = frozenset(", : - – — / + ( ) [ ] { }".split())


@dataclass
class Chunk:
    """One step of a sentence.

    `kind` is np, pronoun, place, verb, be, and, comma, with, which, sub, of, prep, there, adjective, not, owner, gap or
    other. `thing` and `role` are what the reader makes of it.
    """

    kind: str
    word: Word
    phrase: Phrase | None = None
    place: Place | None = None
    thing: int | None = None
    role: str = ""

    @property
    def text(self) -> str:
        return self.word.text

    @property
    def is_both(self) -> bool:
        return self.kind == "other" and self.text in ("both", "all", "either")

    @property
    def is_finite(self) -> bool:
        """Whether it is a verb form that makes a clause: "sits", "was", not "sitting"."""
        return self.word.tag in ("VVZ", "VVD", "VVB", "VBZ", "VBD", "VBB", "VHZ", "VHD", "VHB", "VDZ", "VDD", "VM0")

    @property
    def is_active(self) -> bool:
        """Whether it is a participle that says what somebody is doing."""
        return self.kind == "verb" and self.word.tag in ("VVG", "VHG")


def cut(words: list[Word]) -> list[Chunk]:
    """The chunks of one tagged sentence, in order."""
    result: list[Chunk] = []
    i = 0
    while i < len(words):
        word = words[i]
        length = negation_at(words, i)
        place = None if length else place_at(words, i)
        phrases = [] if length or place else phrases_of_one_noun(words, i)
        phrase = None if length or place or phrases else noun_phrase(words, i)
        if length:
            result.append(Chunk("not", word))
            i += length
        elif place:
            result.append(Chunk("place", word, place=place))
            i += place.length
        elif phrases:
            for phrase in phrases:
                result += [Chunk("and", word), Chunk("np", word, phrase=phrase)]
            del result[-2 * len(phrases)]
            i = phrases[-1].end
        elif phrase:
            result.append(Chunk("np", word, phrase=phrase))
            i = phrase.end
        else:
            result.append(Chunk(_kind(word), word))
            i += 1
    return result


def negation_at(words: list[Word], i: int) -> int:
    """How many words the negation that starts at word `i` has: "instead of" two; 0 if there is none."""
    if words[i].text.endswith("n't") or _is_minus(words, i):
        return 1
    window = [word.text for word in words[i : i + _LONGEST_NEGATOR]]
    if " ".join(window[:2]) in NO_NEGATION:
        return 0
    return next((n for n in range(len(window), 0, -1) if " ".join(window[:n]) in NEGATORS), 0)


def _is_minus(words: list[Word], i: int) -> bool:
    """ "a cat, -dog": a hyphen right before a word that it doesn't join to another."""
    if words[i].text != "-" or i + 1 == len(words) or words[i + 1].start != words[i].end:
        return False
    return i == 0 or words[i - 1].end < words[i].start


def _kind(word: Word) -> str:
    if word.text in PRONOUNS and word.tag in ("PNP", "PNX", "DPS"):
        return "pronoun"
    if word.text in ("with", "plus", "featuring", "including"):
        return "with"
    if word.text in ("which", "that", "who"):
        return "which"
    if word.text in SUBORDINATORS or word.tag == "CJS":
        return "sub"
    if word.text in ("and", "&", "or") or word.tag == "CJC":
        return "and"
    if word.text in _BREAKS or word.tag == "PUN":
        return "comma"
    if word.text == "'s" or word.tag == "POS":
        return "owner"
    if word.tag == "EX0":
        return "there"
    if word.tag.startswith("VB"):
        return "be"
    if word.is_verb:
        return "aux" if word.tag.startswith(("VM", "VD")) else "verb"
    if word.tag == "PRF":
        return "of"
    if word.tag in ("PRP", "TO0"):
        return "prep"
    if word.is_adjective:
        return "adjective"
    return "gap" if word.tag == "GAP" else "other"
