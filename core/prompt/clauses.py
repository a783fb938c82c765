"""Cuts a tagged sentence into the elements that the grammar reads: phrases, pronouns, places, verbs, joints."""

from __future__ import annotations

from dataclasses import dataclass

from .lexicon import COLOURS, CONTAINERS, DEPICTIONS, MEDIA, PARTITIVES, is_plural
from .phrases import Phrase, noun_phrase
from .spatial import Place, place_at
from .word import Word

PRONOUNS = frozenset("it them they him he her she".split())
_SUBORDINATORS = frozenset("while whereas whilst as when where because although though but so until if".split())


@dataclass
class Element:
    """One step of a sentence.

    `kind` is np, pronoun, place, verb, be, and, comma, with, which, sub, of, prep, there, adjective, gap or other.
    """

    kind: str
    word: Word
    phrase: Phrase | None = None
    place: Place | None = None
    # Filled in by the grammar:
    thing: int | None = None
    role: str = ""

    @property
    def is_both(self) -> bool:
        return self.kind == "other" and self.word.text in ("both", "all", "either")

    @property
    def is_finite(self) -> bool:
        """Whether it is a verb form that makes a clause: "sits", "was", not "sitting"."""
        return self.word.tag in ("VVZ", "VVD", "VVB", "VBZ", "VBD", "VBB")


def elements(words: list[Word]) -> list[Element]:
    """The elements of one tagged sentence, in order."""
    result: list[Element] = []
    i = 0
    while i < len(words):
        word = words[i]
        place = place_at(words, i)
        if place:
            result.append(Element("place", word, place=place))
            i += place.length
            continue
        if word.text == "'s" and result and result[-1].kind == "np":
            taken = _possessive(words, i, result)
            if taken:
                i = taken
                continue
        phrase = noun_phrase(words, i)
        if phrase:
            result.append(Element("np", word, phrase=phrase))
            _merge_of(result)
            i = phrase.end
            continue
        result.append(Element(_kind(word), word))
        i += 1
    return result


def _kind(word: Word) -> str:
    if word.text in PRONOUNS and word.tag in ("PNP", "PNX", "DPS"):
        return "pronoun"
    if word.text in ("with", "without", "plus", "featuring", "including"):
        return "with"
    if word.text in ("which", "that", "who"):
        return "which"
    if word.text in _SUBORDINATORS or word.tag == "CJS":
        return "sub"
    if word.text in ("and", "&", "or") or word.tag == "CJC":
        return "and"
    if word.text in (",", ":", "-", "–", "—", "/", "+", "(", ")"):
        return "comma"
    if word.tag == "EX0":
        return "there"
    if word.tag.startswith("VB"):
        return "be"
    if word.is_verb:
        return "verb"
    if word.tag == "PRF":
        return "of"
    if word.tag in ("PRP", "TO0"):
        return "prep"
    if word.is_adjective:
        return "adjective"
    return "gap" if word.tag == "GAP" else "other"


def _possessive(words: list[Word], i: int, result: list[Element]) -> int:
    """Reads what follows "the cat 's" at `i`: a side of the cat, or a thing of the cat's. Returns where it ends."""
    j = i + 1
    if (
        j < len(words)
        and words[j].text in ("left", "right")
        and len(result) > 1
        and result[-2].word.text in ("to", "on", "at")
    ):
        side = words[j].text
        j += 1
        while j < len(words) and words[j].text in ("side", "hand"):
            j += 1
        result[-2] = Element("place", result[-2].word, place=Place(f"{side} of", "open", 1))
        return j
    phrase = noun_phrase(words, j) if j < len(words) else None
    if phrase is None:
        return 0
    phrase.possessed = True
    owned = Element("np", words[j], phrase=phrase)
    owned.role = "owned"
    result.append(owned)
    return phrase.end


def _merge_of(result: list[Element]) -> None:
    """Makes one phrase of "a pair of skis", "a photo of a cat" or "a cup of coffee" if the last elements are such."""
    if len(result) < 3 or result[-2].kind != "of" or result[-3].kind != "np":
        return
    outer, inner = result[-3].phrase, result[-1].phrase
    if outer.head in PARTITIVES or outer.head in MEDIA:
        # "A blurry photo of a cat" shows no blurry cat and "a large flock of sheep" no large sheep, but "a brown pair
        # of skis" brown skis.
        whole = outer.head in ("pair", "piece", "slice", "set", "stalk")
        attributes = [a for a in outer.attributes if outer.head in PARTITIVES and (whole or a[-1].text in COLOURS)]
        merged = Phrase(
            outer.start,
            inner.end,
            inner.determiner or outer.determiner,
            inner.name,
            attributes + inner.attributes,
            inner.number,
            outer.other,
            inner.possessed,
        )
    elif outer.head in DEPICTIONS or (
        outer.head in CONTAINERS and not inner.determiner and not inner.number and not is_plural(inner.head)
    ):
        contents = [*inner.attributes, inner.name]
        merged = Phrase(
            outer.start,
            inner.end,
            outer.determiner,
            outer.name,
            outer.attributes + contents,
            outer.number,
            outer.other,
            outer.possessed,
        )
    else:
        return
    result[-3:] = [Element("np", result[-3].word, phrase=merged, role=result[-3].role)]


class Sentence:
    """The elements of a sentence, and questions about what stands around one of them."""

    def __init__(self, words: list[Word]) -> None:
        self.items = elements(words)

    def at(self, i: int) -> Element | None:
        return self.items[i] if 0 <= i < len(self.items) else None

    def before(self, i: int) -> Element | None:
        """The element before `i`, adverbs left out."""
        i -= 1
        while i >= 0 and self.items[i].kind == "other":
            i -= 1
        return self.at(i)

    def comes(self, i: int, *kinds: str) -> bool:
        """Whether the first element from `i` on, adverbs left out, is of one of these kinds."""
        item = self.at(self.skip_adverbs(i)) if i >= 0 else None
        return item is not None and item.kind in kinds

    def skip_adverbs(self, i: int) -> int:
        while i < len(self.items) and self.items[i].kind == "other":
            i += 1
        return i

    def skip_both(self, i: int) -> int:
        """Past the "both of" in "above both of them"."""
        while i < len(self.items) and (self.items[i].kind == "of" or self.items[i].is_both):
            i += 1
        return i

    def is_made_of(self, i: int) -> bool:
        """Whether the phrase at `i` is what something is "made of"."""
        return i >= 2 and self.items[i - 2].word.text == "made" and not self.items[i].phrase.determiner

    def is_style(self, i: int) -> bool:
        """Whether the element at `i` is "the style" (of somebody)."""
        return self.items[i].kind == "np" and self.items[i].phrase.head in ("style", "art", "manner")

    def is_by_artist(self, i: int) -> bool:
        """Whether the "by" at `i` names an artist: "a cat, by somebody", "digital art by somebody"."""
        before, after = self.at(i - 1), self.at(i + 1)
        if after is not None and after.kind == "np" and after.phrase.determiner:
            return False  # "by the lake"
        return before is None or before.kind == "comma" or (before.kind == "np" and before.thing is None and i == 1)
