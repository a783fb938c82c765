"""Noun phrases: determiner, attributes, and the nouns that name the thing."""

from __future__ import annotations

from dataclasses import dataclass, field

from .lexicon import (
    BODY_PARTS,
    COLOUR_NOUNS,
    COLOURS,
    HOLDING,
    LANDMARKS,
    MATERIALS,
    NOT_ATTRIBUTES,
    OTHERNESS,
    SHADE_NOUNS,
    SHADES,
    SIDES,
    is_agent,
    is_compound,
    is_person,
    is_plural,
    singular,
)
from .word import Word


@dataclass
class Phrase:
    """A noun phrase over words [start, end) of its sentence."""

    start: int
    end: int
    determiner: str  # "" if none
    name: list[Word]
    attributes: list[list[Word]] = field(default_factory=list)
    number: Word | None = None
    other: bool = False  # "the other cat": a thing not mentioned before
    possessed: bool = False  # "their hat", "the woman's hat"
    side: str = ""  # "the left girl"

    @property
    def head(self) -> str:
        return self.name[-1].text

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.name)

    @property
    def described(self) -> str:
        """The text with its attributes."""
        return " ".join([*(word.text for attribute in self.attributes for word in attribute), self.text])

    @property
    def is_body_part(self) -> bool:
        return self.head in BODY_PARTS or singular(self.head) in BODY_PARTS

    @property
    def is_plural(self) -> bool:
        return is_plural(self.head)

    @property
    def is_person(self) -> bool:
        return is_person(self.head) or (self.name[-1].tag == "NP0" and self.head not in LANDMARKS)

    @property
    def is_agent(self) -> bool:
        """Whether it can act: somebody, an animal, or something with a name."""
        return is_agent(self.head) or (self.name[-1].tag == "NP0" and self.head not in LANDMARKS)

    @property
    def is_colour(self) -> bool:
        """Whether it names nothing but a colour: "dark green"."""
        return all(word.text in COLOURS for word in self.name)

    @property
    def is_tag(self) -> bool:
        """Whether it could be an entry in a list of tags: "red hat", without an article."""
        return not self.determiner and not self.possessed

    @property
    def is_definite(self) -> bool:
        return self.determiner in ("the", "this", "that", "these", "those", "both") or self.possessed

    @property
    def colours(self) -> set[str]:
        return {word.text for attribute in self.attributes for word in attribute if word.text in COLOURS}


def noun_phrase(words: list[Word], i: int) -> Phrase | None:
    """The longest noun phrase that starts at word `i`; None if none does."""
    start, determiner, number, other = i, "", None, False
    while i < len(words) and (words[i].is_determiner or words[i].text in OTHERNESS):
        if words[i].tag == "CRD":
            number = words[i]
        elif words[i].text in OTHERNESS:
            other = True
        else:
            determiner = words[i].text
        i += 1
    possessive = any(word.tag == "DPS" for word in words[start:i])
    bounded = i > start  # a determiner says that a noun must come, which settles what the words before it are

    modifiers: list[Word] = []
    while i < len(words):
        word, after = words[i], words[i + 1] if i + 1 < len(words) else None
        if word.is_adjective or _is_shade(words, i):
            modifiers.append(word)
        elif word.is_participle and after and _describes(words, i, start, bounded or bool(modifiers)):
            modifiers.append(word)
        elif word.tag == "AV0" and bounded and after and (after.is_adjective or after.is_participle):
            pass  # "a very large cat"
        elif word.text in ("and", "&", ",", "or") and modifiers and _continues(words, i, bounded):
            pass  # "a small, white bathroom", "a black and white cat"
        else:
            break
        i += 1

    nouns: list[Word] = []
    while i < len(words) and words[i].is_noun and not (nouns and words[i].text in ("left", "right")):
        nouns.append(words[i])
        i += 1
    if not nouns:
        # "an orange", "the remote": a word that could describe, with nothing after it to be described.
        if not (bounded and modifiers and modifiers[-1].text in COLOUR_NOUNS and words[i - 1] is modifiers[-1]):
            return None
        nouns = [modifiers.pop()]

    side = next((SIDES[word.text] for word in modifiers if word.text in SIDES), "")
    name = list(nouns)
    while (
        len(name) > 1
        and (name[0].text in COLOURS or name[0].text in MATERIALS)
        and not is_compound([name[0].text, name[1].text])
    ):
        modifiers.append(name.pop(0))
    if modifiers and is_compound([modifiers[-1].text, name[0].text]):
        name.insert(0, modifiers.pop())
    return Phrase(start, i, determiner, name, attributes_of(modifiers), number, other, possessive, side)


def _is_shade(words: list[Word], i: int) -> bool:
    """ "rose gold phone", "mustard yellow couch": a noun that tells the shade of the colour after it."""
    if i + 2 >= len(words) or words[i + 1].text not in COLOURS or words[i].text not in SHADE_NOUNS:
        return False
    return words[i + 2].is_noun or words[i + 2].is_adjective


def attributes_of(modifiers: list[Word]) -> list[list[Word]]:
    """Drops words that only count or order; "dark" and "blue" make one attribute."""
    attributes: list[list[Word]] = []
    for word in modifiers:
        if attributes and word.text in COLOURS and _shades(attributes[-1], word):
            attributes[-1].append(word)
        elif word.text not in NOT_ATTRIBUTES and word.tag not in ("ORD", "UNIT"):
            attributes.append([word])
    return attributes


def _shades(attribute: list[Word], colour: Word) -> bool:
    """Whether an attribute tells the shade of the colour that stands right after it."""
    word = attribute[-1]
    if len(attribute) > 1 or colour.start > word.end + 1:
        return False
    return word.text in SHADES or word.text in SHADE_NOUNS


def _describes(words: list[Word], i: int, start: int, bounded: bool) -> bool:
    """Whether the participle at `i` describes a noun to come: "a parked car", not "a man riding a horse"."""
    after = words[i + 1]
    if words[i].text in HOLDING:
        return False  # "one wearing blue boots"
    if not (after.is_noun or after.is_adjective or (after.is_participle and bounded)):
        return False
    if bounded:
        return True
    before = words[i - 1] if i else None
    return (
        words[i].tag == "VVN"
        and i == start
        and (before is None or not (before.is_noun or before.is_verb or before.tag[0] in "PA"))
    )


def _continues(words: list[Word], i: int, bounded: bool) -> bool:
    """Whether the "and" or comma at `i` joins two adjectives of one noun."""
    j = i + 1
    if j < len(words) and words[j].text == "and":
        j += 1
    if not words[i - 1].is_adjective or (words[i].text == "," and not bounded):
        return False
    first = j
    while j < len(words) and (words[j].is_adjective or words[j].text in COLOURS):
        j += 1
    return j > first and j < len(words) and words[j].is_noun
