"""The things that a prompt has named so far: which phrases name one again, what a pronoun means, how they relate."""

from __future__ import annotations

from dataclasses import dataclass, field

from .lexicon import BODY_PARTS, MISLEADING, singular
from .limits import MOST_RELATIONS, MOST_THINGS
from .phrases import Phrase
from .word import Word


@dataclass
class Thing:
    """An object being put together from its mentions. `is_tag` says that it was an entry in a list of tags."""

    phrase: Phrase
    sentence: int
    attributes: list[list[Word]]
    mentions: list[list[Word]] = field(default_factory=list)
    is_tag: bool = False
    side: str = ""

    @property
    def words(self) -> set[str]:
        """The words that describe it."""
        return {word.text for attribute in self.attributes for word in attribute}

    @property
    def is_person(self) -> bool:
        return self.phrase.is_person

    @property
    def is_agent(self) -> bool:
        return self.phrase.is_agent

    @property
    def is_plural(self) -> bool:
        return self.phrase.is_plural

    def describe(self, attributes: list[list[Word]]) -> None:
        """Adds attributes that it has not got yet."""
        self.attributes += [
            attribute for attribute in attributes if not {word.text for word in attribute} <= self.words
        ]


# Which things a pronoun fits; if none, it may be any.
_THEY = frozenset({"they", "them", "their"})
_IT = frozenset({"it", "its"})


def fits(pronoun: str, thing: Thing) -> bool:
    """Whether a pronoun agrees with a thing in number and in being a person."""
    if pronoun in _THEY:
        return thing.is_person or thing.is_plural
    if pronoun in _IT:
        return not thing.is_person and not thing.is_plural
    return thing.is_person


class Things:
    """The things named so far, their relations, and how present each is to the reader.

    `salient` are indices of things in the order in which a pronoun would mean them. `settings` are phrases for places
    that were not taken as things. `is_full` says that more were named than are read.
    """

    def __init__(self) -> None:
        self.all: list[Thing] = []
        self.relations: dict[tuple[int, str, int], None] = {}
        self.salient: list[int] = []
        self.settings: list[Phrase] = []
        self.is_full = False
        self.relates_too_much = False

    def __getitem__(self, index: int) -> Thing:
        return self.all[index]

    def add(self, phrase: Phrase, sentence: int, is_tag: bool = False, side: str = "") -> int | None:
        """A new thing, or None if there are too many already."""
        if len(self.all) >= MOST_THINGS:
            self.is_full = True
            return None
        self.all.append(Thing(phrase, sentence, list(phrase.attributes), [phrase.name], is_tag, side))
        return len(self.all) - 1

    def recall(self, phrase: Phrase, sentence: int, is_tag: bool = False, side: str = "") -> int | None:
        """The thing that `phrase` names again ("the bear" after "a teddy bear"); None if it names none of them."""
        if phrase.other or not (phrase.is_definite or (not phrase.determiner and not phrase.number)):
            return None
        name = [singular(word.text) for word in phrase.name]
        described = {word.text for attribute in phrase.attributes for word in attribute}
        for index in range(len(self.all) - 1, -1, -1):
            thing = self.all[index]
            full = [singular(word.text) for word in thing.phrase.name]
            shortened = full[-len(name) :] == name and phrase.is_definite and thing.phrase.text not in MISLEADING
            if not (name == full or shortened) or (side and thing.side and side != thing.side):
                continue
            # "The cat" and "the black cat" of one sentence are two cats; a later sentence may tell more of the first.
            same_looks = described <= thing.words or (not thing.words and thing.sentence < sentence)
            if same_looks or (is_tag and thing.is_tag and _is_one_tag(thing, phrase)):
                thing.describe(phrase.attributes)
                thing.mentions.append(phrase.name)
                return index
        return None

    def relate(self, subjects: list[int], predicate: str, objects: list[int]) -> None:
        """States a relation of each subject to each object, once."""
        if predicate == "held by":
            subjects, predicate, objects = objects, "holding", subjects
        for subject in subjects:
            for other in objects:
                relation = subject, predicate, other
                if subject == other or relation in self.relations:
                    continue
                if len(self.relations) >= MOST_RELATIONS:
                    self.relates_too_much = True
                    return
                self.relations[relation] = None

    def bring_up(self, found: list[int], rank: int) -> None:
        """Puts things at `rank` of the salient ones, unless they are there or higher already."""
        for thing in found:
            if thing in self.salient:
                if self.salient.index(thing) <= rank:
                    continue
                self.salient.remove(thing)
            self.salient.insert(rank, thing)

    def meant_by(self, pronoun: str, focus: list[int], how_many: int = 1) -> list[int]:
        """What a pronoun means: the most salient that fits, rather not one in focus. "Both of them" are two."""
        if how_many > 1:
            return [thing for thing in self.salient if thing not in focus][:how_many]
        fitting = [thing for thing in self.salient if fits(pronoun, self.all[thing])] or self.salient
        if pronoun == "their":  # of somebody rather than of some things
            fitting = [thing for thing in fitting if self.all[thing].is_person] or fitting
        return ([thing for thing in fitting if thing not in focus] or fitting)[:1]


def _is_one_tag(thing: Thing, phrase: Phrase) -> bool:
    """Whether an entry in a list of tags says more of an earlier one: "hat, red hat", "black hair, long hair"."""
    known = thing.words
    if not known or known <= {word.text for attribute in phrase.attributes for word in attribute}:
        return True
    has_other_colour = bool(phrase.colours) and bool(thing.phrase.colours)
    is_part = phrase.head in BODY_PARTS or singular(phrase.head) in BODY_PARTS
    return is_part and not has_other_colour
