"""The things that a prompt has named so far: which phrases name one, which name one again, what a pronoun means."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import lexicon
from .clauses import Element
from .lexicon import is_abstract, is_compound, is_plural, singular
from .phrases import Phrase
from .word import Word


@dataclass
class Thing:
    """An object being put together from its mentions."""

    phrase: Phrase
    sentence: int
    attributes: list[list[Word]]
    mentions: list[list[Word]] = field(default_factory=list)

    @property
    def words(self) -> set[str]:
        """The words that describe it."""
        return {word.text for attribute in self.attributes for word in attribute}

    @property
    def is_person(self) -> bool:
        return singular(self.phrase.head) in lexicon.PERSONS

    @property
    def is_plural(self) -> bool:
        return is_plural(self.phrase.head)

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
    that were not taken as things.
    """

    def __init__(self) -> None:
        self.all: list[Thing] = []
        self.relations: list[tuple[int, str, int]] = []
        self.salient: list[int] = []
        self.settings: list[Phrase] = []

    def __getitem__(self, index: int) -> Thing:
        return self.all[index]

    def add(self, phrase: Phrase, sentence: int) -> int:
        self.all.append(Thing(phrase, sentence, list(phrase.attributes), [phrase.name]))
        return len(self.all) - 1

    def recall(self, phrase: Phrase, sentence: int) -> int | None:
        """The thing that `phrase` names again ("the bear" after "a teddy bear"); None if it names none of them."""
        if phrase.other or not (phrase.is_definite or (not phrase.determiner and not phrase.number)):
            return None
        name = [singular(word.text) for word in phrase.name]
        described = {word.text for attribute in phrase.attributes for word in attribute}
        for index in range(len(self.all) - 1, -1, -1):
            thing = self.all[index]
            full = [singular(word.text) for word in thing.phrase.name]
            shortened = (
                full[-len(name) :] == name and phrase.is_definite and thing.phrase.text not in lexicon.MISLEADING
            )
            # "The cat" and "the black cat" of one sentence are two cats; a later sentence may tell more of the first.
            same_looks = described <= thing.words or (not thing.words and thing.sentence < sentence)
            if (name == full or shortened) and same_looks:
                thing.describe(phrase.attributes)
                thing.mentions.append(phrase.name)
                return index
        return None

    def is_drawable(
        self, phrase: Phrase, role: str, directed: bool, before: Element | None, after: Element | None
    ) -> bool:
        """Whether a phrase names a thing to be drawn, and not a part, a place, a manner, or a word about quality.

        `role` is what it does in its sentence, `directed` says that a direction is measured from it ("above the
        street"), `before` and `after` are the elements around it.
        """
        head = phrase.head
        if phrase.determiner == "no" or (before is not None and before.word.text == "without"):
            return False
        if is_compound([word.text for word in phrase.name]):
            return True
        if phrase.described in lexicon.NOT_DRAWN or head in lexicon.LIGHT or is_abstract(head):
            return False
        if head in lexicon.QUALITY and not (head in lexicon.QUALITY_OR_THING and phrase.determiner):
            return False
        if head == "camera" and before is not None and before.word.text in ("at", "toward", "towards", "facing"):
            return False
        if head in lexicon.MEDIA:
            hangs = after is not None and (
                after.kind == "be" or after.is_finite or (after.kind == "place" and after.place.predicate != "in")
            )
            return (role not in ("subject", "of") or hangs) and bool(phrase.determiner or phrase.colours)
        whole_is_named = phrase.possessed or (after is not None and after.kind == "of")
        if phrase.is_body_part:
            return not whole_is_named and bool(phrase.attributes or len(phrase.name) > 1)
        if (head in lexicon.THING_PARTS and whole_is_named) or (head in lexicon.MATERIALS and phrase.possessed):
            return False
        if lexicon.is_setting(head) and not phrase.colours:
            owns = after is not None and after.role == "owned"
            if owns or not (directed or role in ("subject", "subject too", "predicate")):
                self.settings.append(phrase)
                return False
        return True

    def relate(self, subjects: list[int], predicate: str, objects: list[int]) -> None:
        """States a relation of each subject to each object, once."""
        if predicate == "held by":
            subjects, predicate, objects = objects, "holding", subjects
        for subject in subjects:
            for other in objects:
                if subject != other and (subject, predicate, other) not in self.relations:
                    self.relations.append((subject, predicate, other))

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
