"""Reads tagged sentences: which things they name, what describes them, how they relate, what the pronouns mean."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import lexicon
from .clauses import Element, elements
from .lexicon import is_abstract, is_plural, singular
from .phrases import Phrase
from .spatial import Place
from .tagger import Word

_DIRECTIONS = frozenset({"left of", "right of", "above", "below"})
_FINITE = ("VVZ", "VVD", "VVB")
_ACTIONS = {
    "hold": "holding", "holds": "holding", "held": "holding", "holding": "holding", "carry": "holding", "carries": "holding", "carried": "holding", "carrying": "holding",
    "wear": "wearing", "wears": "wearing", "wore": "wearing", "wearing": "wearing", "ride": "riding", "rides": "riding", "rode": "riding", "riding": "riding",
    "eat": "eating", "eats": "eating", "ate": "eating", "eating": "eating", "chase": "chasing", "chases": "chasing", "chased": "chasing", "chasing": "chasing",
    "push": "pushing", "pushes": "pushing", "pushing": "pushing", "pull": "pulling", "pulls": "pulling", "pulling": "pulling",
}  # fmt: skip


@dataclass
class Thing:
    """An object being put together from its mentions."""

    phrase: Phrase
    sentence: int
    attributes: list[list[Word]]
    mentions: list[list[Word]] = field(default_factory=list)

    @property
    def words(self) -> set[str]:
        return {word.text for attribute in self.attributes for word in attribute}

    @property
    def head(self) -> str:
        return self.phrase.head

    @property
    def is_person(self) -> bool:
        return singular(self.head) in lexicon.PERSONS

    @property
    def is_plural(self) -> bool:
        return is_plural(self.head)


class Reader:
    """Reads sentences in order; afterwards `things` and `relations` hold what they say.

    Within a clause, `focus` are the things that the next expression of place is about: the subject, or what "with",
    "and" or a verb has just introduced. None means that none has been named yet, [] that it is nothing that can be
    drawn. `salient` are the things in the order in which a pronoun would mean them.
    """

    def __init__(self) -> None:
        self.things: list[Thing] = []
        self.relations: list[tuple[int, str, int]] = []
        self.salient: list[int] = []
        self.settings: list[Phrase] = []
        self.sentence = -1

    def read(self, words: list[Word]) -> None:
        """Reads one sentence."""
        self.sentence += 1
        self.focus: list[int] | None = None
        self.subjects: list[int] = []
        self.fronted: list[tuple[str, list[int]]] = []  # places read before what is there
        self.foretold: list[tuple[str, list[int]]] = []  # "with a cat to its left, the dog …"
        self.pending: tuple[str, list[int] | None] | None = None
        self.completed: tuple[str, list[int] | None] = ("", [])
        self.owners: list[int] = []
        self.introduced_by = ""  # how the focus came in: as a subject, with a verb, by "with"
        self.action = ""
        self.is_finite = False  # whether the clause has its main verb
        self.is_aside = False  # within words about an effect, a purpose or an artist
        self.items = elements(words)
        for i, item in enumerate(self.items):
            handler = getattr(self, f"_on_{item.kind}", None)
            if handler:
                handler(i, item)

    def take_settings(self) -> None:
        """Makes the places things of their own: in "a misty forest at dawn", the forest is what is to be drawn."""
        self.things = [Thing(phrase, 0, list(phrase.attributes), [phrase.name]) for phrase in self.settings]

    # -- phrases ----------------------------------------------------------------------------------------------

    def _on_np(self, i: int, item: Element) -> None:
        role = item.role = item.role or self._role(i)
        item.thing = self._mention(item.phrase, role, i)
        found = [] if item.thing is None else [item.thing]
        if role == "subject":
            for predicate, objects in self.fronted:
                self._relate(found, predicate, objects)
            for predicate, subjects in self.foretold:
                self._relate(subjects, predicate, found)
            self.foretold = []
            if self.completed[0] == "between" and self._is(i - 1, "and"):
                self._relate(self.completed[1] or [], "between", found)  # "between a cup on the left and a fork"
                self.completed = ("", [])
            self._make_salient(found, 1 if self.fronted else 0)
            self.fronted = []
            self.focus = self.subjects = found
            self.introduced_by = "subject"
            self.is_finite = False
        elif role == "subject too":
            self.focus = self.subjects = self.subjects + found
            self._make_salient(found, 1)
        elif role in ("complement", "complement too"):
            self._complete(found, again=role == "complement too")
        elif role in ("with", "with too"):
            owners = self.owners if role == "with too" else self._about("with")
            if not self._is(i + 1, "place", "verb") and self.items[i - 1].word.text != "without":
                self._relate(owners, "with", found)
            self.focus = self.focus + found if role == "with too" else found
            self.owners = owners
            self.introduced_by = "with"
            self._make_salient(found, 1)
        elif role in ("verb", "verb too"):
            if self.action:
                self._relate(self.subjects if self.introduced_by == "verb" else self.focus or [], self.action, found)
            self.focus = self.focus + found if role == "verb too" else found
            self.introduced_by = "verb"
            self._make_salient(found, 1)
        elif role == "contents":
            # "a bowl of oranges": things in a thing. ("The bowl of a toilet" is a part of it.)
            if is_plural(item.phrase.head) and self.items[i - 2].thing is not None:
                self._relate(found, "in", [self.items[i - 2].thing])
        else:
            self._make_salient(found, 1)

    def _role(self, i: int) -> str:
        """What the phrase at `i` does in its sentence, judged by what stands around it."""
        before = self._before(i)
        if before is None or before.kind in ("sub", "there"):
            return "subject"
        if self.fronted and before.kind in ("comma", "be", "verb"):
            return "subject"
        if before.kind == "place" and self.pending:
            return "complement"
        if before.kind == "with":
            return "with"
        if before.kind == "verb" and (self.focus is not None or before.word.tag in ("VVG", "VVN")):
            return "verb"
        if before.kind == "of":
            outer = self._item(i - 2)
            return "contents" if outer and outer.kind == "np" and outer.phrase.head in lexicon.CONTAINERS else "of"
        if before.kind == "prep":
            return "prep"
        if before.kind in ("and", "comma"):
            return self._joined_role(i, before)
        if before.kind == "be" and self.focus is not None:
            return "predicate"
        return "subject"

    def _joined_role(self, i: int, joint: Element) -> str:
        """After "and" or a comma: one more of the same, or the start of something new?"""
        j = i - 1
        while j >= 0 and self.items[j].kind in ("and", "comma", "other"):
            j -= 1
        former = self._item(j)
        if former is None or former.kind != "np" or self.fronted or not (joint.kind == "and" or self._in_list(i)):
            return "subject"
        following = self._item(i + 1)
        starts_clause = following is not None and (following.kind == "be" or (following.kind == "verb" and following.word.tag in _FINITE))
        if starts_clause and former.role != "subject" and (self.is_finite or not self.subjects):
            return "subject"  # "… above the cat and the dog is …", once the clause has its own verb
        role = former.role.removesuffix(" too")
        if role == "complement":
            return "subject" if not starts_clause and self._is(i + 1, "place", "verb") else "complement too"
        return f"{role} too" if role in ("subject", "with", "verb") else "subject"

    def _in_list(self, i: int) -> bool:
        """Whether the phrase at `i` is an inner member of "a, b and c"."""
        for j in range(i + 1, len(self.items) - 1):
            if self.items[j].kind == "and":
                return self.items[j + 1].kind == "np"
            if self.items[j].kind not in ("np", "comma"):
                return False
        return False

    # -- places -----------------------------------------------------------------------------------------------

    def _on_place(self, i: int, item: Element) -> None:
        place = item.place
        j = i + 1
        while self._item(j) and (self.items[j].kind == "of" or (self.items[j].kind == "other" and self.items[j].word.text in ("both", "all", "either"))):
            j += 1
        following = self._item(j) if place.form == "open" else None
        if following and following.kind == "np":
            self.pending = (place.predicate, None if self._is_fronted(i, j + 1) else self._about(place.predicate))
        elif following and following.kind == "pronoun":
            self._measured_from_pronoun(i, j + 1, place.predicate, following.word.text, 1 if j == i + 1 else 2)
        elif place.form == "owned":
            self._measured_from_pronoun(i, i + 1, place.predicate, place.owner, 1)
        elif place.form == "bare" or place.predicate in _DIRECTIONS:
            self._measured_from_context(i, place)

    def _is_fronted(self, i: int, end: int) -> bool:
        """Whether the place over elements [i, end) comes before what is there: "above the cat is a dog"."""
        if self.focus is None:
            return True
        before = self._before(i)
        if before is not None and before.kind not in ("and", "comma", "sub"):
            return False
        if self._is(end, "and") and self._is(end + 1, "place"):
            end += 3  # "to the left of it and above the dog is …"
        if not self._is(end, "be", "verb"):
            return False
        while self._is(end, "be", "verb"):
            end = self._skip(end) + 1
        return self._is(end, "np")

    def _complete(self, found: list[int], again: bool) -> None:
        """Relates what the last place was about to its complement ("above the fork", and `again` for "and the knife")."""
        predicate, subjects = self.completed if again else self.pending
        self.completed, self.pending = (predicate, subjects), None
        if subjects is None:
            self.fronted.append((predicate, found))
        else:
            self._relate(subjects, predicate, found)
        self._make_salient(found, 0 if predicate in _DIRECTIONS and not again else 1)

    def _about(self, predicate: str) -> list[int]:
        """What a place or "with" is about: "holding a cup above" the cup, "reading a book in" the reader."""
        if self.introduced_by == "verb" and predicate not in _DIRECTIONS and predicate != "on" and self.subjects:
            return self.subjects
        return self.focus or []

    def _measured_from_pronoun(self, i: int, end: int, predicate: str, pronoun: str, how_many: int) -> None:
        if self._is_fronted(i, end):
            self.fronted.append((predicate, self._antecedent(pronoun, [], how_many)))
            return
        antecedent = self._antecedent(pronoun, self.focus, how_many)
        subjects = self.focus
        if not antecedent:
            self.foretold.append((predicate, subjects))
        elif antecedent[0] in subjects:
            subjects = self._nearest(i, antecedent)
        self._relate(subjects, predicate, antecedent)
        self._make_salient(antecedent, 0 if predicate in _DIRECTIONS else 1)

    def _measured_from_context(self, i: int, place: Place) -> None:
        """ "... with a dog to the right": right of what the sentence is about."""
        before = self._item(i - 1)
        if before and before.kind == "np" and before.role in ("complement", "verb", "prep", "of") and before.thing not in (self.focus or []):
            # "between a boat to the left and …", "lies on the bed to the left"; nothing if it is "the scene below"
            self._relate([] if before.thing is None else [before.thing], place.predicate, self.focus or [])
            return
        if self._is_fronted(i, i + 1):
            self.fronted.append((place.predicate, self.salient[:1]))
            return
        others = [thing for thing in self.salient if thing not in self.focus]
        self._relate(self.focus, place.predicate, others[:1])
        self._make_salient(others[:1], 0)

    # -- the other elements -----------------------------------------------------------------------------------

    def _on_verb(self, i: int, item: Element) -> None:
        word, before = item.word, self._item(i - 1)
        self.action = ""
        if before and word.tag in _FINITE and not self.is_finite and self.subjects:
            self.focus, self.introduced_by = self.subjects, "subject"  # "a dog wearing goggles sits"
        elif before and before.kind == "np" and before.role.startswith(("complement", "prep", "of")) and word.is_participle:
            if not self._stays_with_person(before):
                self.focus, self.introduced_by = [] if before.thing is None else [before.thing], "with"
        elif before and before.kind in ("comma", "sub") and word.is_participle and self.subjects:
            self.focus, self.introduced_by = self.subjects, "subject"
        self.is_finite = self.is_finite or word.tag in _FINITE
        if not (before and before.kind == "be" and word.tag == "VVN"):
            self.action = _ACTIONS.get(word.text, "")
        if word.text in lexicon.EFFECT_VERBS and (word.tag == "VVI" or (word.tag == "VVG" and before is not None and before.kind != "be")):
            self.is_aside = True

    def _stays_with_person(self, complement: Element) -> bool:
        """ "A man in a helmet standing by a car": it is the man who stands there."""
        if not self.subjects or not self.things[self.subjects[0]].is_person or self.completed[0] in _DIRECTIONS:
            return False
        return complement.thing is not None and not self.things[complement.thing].is_person and self.introduced_by == "subject"

    def _on_be(self, i: int, item: Element) -> None:
        if item.word.tag in ("VBZ", "VBD", "VBB") and not self.is_finite and self.subjects:
            self.focus, self.introduced_by = self.subjects, "subject"
            self.is_finite = True
        self._describe_subject(i)

    def _on_comma(self, i: int, item: Element) -> None:
        self.is_aside = False

    def _on_sub(self, i: int, item: Element) -> None:
        self.is_aside = False
        self.focus = None
        self.is_finite = False

    def _on_which(self, i: int, item: Element) -> None:
        j = i - 1
        while j >= 0 and self.items[j].kind != "np":
            j -= 1
        if j >= 0:
            self.focus = [] if self.items[j].thing is None else [self.items[j].thing]
            self.introduced_by, self.is_finite = "which", True

    def _on_pronoun(self, i: int, item: Element) -> None:
        before = self._before(i)
        if before is None or before.kind in ("sub", "and", "comma"):
            # A pronoun that is a subject continues the subject before it.
            former = [thing for thing in self.subjects if _AGREEMENT[item.word.text][0](self.things[thing])]
            self.focus = self.subjects = former or self._antecedent(item.word.text, [])
            self.introduced_by, self.is_finite = "subject", False

    def _on_adjective(self, i: int, item: Element) -> None:
        following = self._item(i + 1)
        if item.word.text in lexicon.READY and following and following.word.text in ("to", "for"):
            self.is_aside = True

    def _describe_subject(self, i: int) -> None:
        """ "The car is black and shiny": adjectives after "be" describe the subject."""
        if self.focus is None or len(self.focus) != 1:
            return
        thing = self.things[self.focus[0]]
        for item in self.items[i + 1 :]:
            word = item.word
            if item.kind == "adjective" and word.text not in lexicon.NOT_ATTRIBUTES and word.text not in lexicon.READY:
                if word.text not in thing.words:
                    thing.attributes.append([word])
            elif item.kind not in ("and", "comma", "other"):
                return

    # -- things -----------------------------------------------------------------------------------------------

    def _mention(self, phrase: Phrase, role: str, i: int) -> int | None:
        """The thing that a phrase names: one known already, a new one, or None if it is nothing to draw."""
        known = self._known(phrase)
        if known is not None:
            thing = self.things[known]
            thing.attributes += [a for a in phrase.attributes if not {word.text for word in a} <= thing.words]
            thing.mentions.append(phrase.name)
            return known
        if self.is_aside or not self._is_object(phrase, role, i):
            return None
        return self._add(phrase)

    def _add(self, phrase: Phrase) -> int:
        self.things.append(Thing(phrase, self.sentence, list(phrase.attributes), [phrase.name]))
        return len(self.things) - 1

    def _known(self, phrase: Phrase) -> int | None:
        """The thing already named that `phrase` names again ("the bear" after "a teddy bear")."""
        if phrase.other:
            return None
        name = [singular(word.text) for word in phrase.name]
        described = {word.text for attribute in phrase.attributes for word in attribute}
        for index in range(len(self.things) - 1, -1, -1):
            thing = self.things[index]
            full = [singular(word.text) for word in thing.phrase.name]
            same = name == full
            shorter = full[-len(name) :] == name and thing.phrase.text not in lexicon.MISLEADING
            if not (same or (shorter and phrase.is_definite)):
                continue
            if not (phrase.is_definite or (not phrase.determiner and not phrase.number)):
                continue
            if described <= thing.words or (not thing.words and thing.sentence < self.sentence):
                return index
        return None

    def _is_object(self, phrase: Phrase, role: str, i: int) -> bool:
        head, before, after = phrase.head, self._item(i - 1), self._item(i + 1)
        if phrase.determiner == "no" or (before and before.word.text == "without"):
            return False
        if lexicon.is_compound([word.text for word in phrase.name]):
            return True
        described = " ".join(word.text for word in [*(word for attribute in phrase.attributes for word in attribute), *phrase.name])
        if described in lexicon.NOT_DRAWN or head in lexicon.LIGHT or head in lexicon.QUALITY or is_abstract(head):
            return False
        if head == "camera" and before and before.word.text in ("at", "toward", "towards", "facing", "the"):
            return False
        if head in lexicon.MEDIA:
            hangs = after is not None and (after.kind == "be" or after.word.tag in _FINITE or (after.kind == "place" and after.place.predicate != "in"))
            return (role not in ("subject", "of") or hangs) and bool(phrase.determiner or phrase.colours)
        whole_is_named = phrase.possessed or (after is not None and after.kind == "of")
        if head in lexicon.BODY_PARTS or singular(head) in lexicon.BODY_PARTS:
            return not whole_is_named and bool(phrase.attributes or len(phrase.name) > 1)
        if head in lexicon.THING_PARTS and whole_is_named:
            return False
        if (head in lexicon.SETTINGS or singular(head) in lexicon.SETTINGS) and not phrase.colours:
            directed = role == "complement" and self.pending is not None and self.pending[0] in _DIRECTIONS
            owns = after is not None and after.role == "owned"
            if owns or (role not in ("subject", "subject too", "predicate") and not directed):
                self.settings.append(phrase)
                return False
        return True

    # -- relations and pronouns -------------------------------------------------------------------------------

    def _relate(self, subjects: list[int], predicate: str, objects: list[int]) -> None:
        for subject in subjects:
            for other in objects:
                if subject != other and (subject, predicate, other) not in self.relations:
                    self.relations.append((subject, predicate, other))

    def _make_salient(self, found: list[int], rank: int) -> None:
        for thing in found:
            if thing in self.salient:
                if self.salient.index(thing) <= rank:
                    continue
                self.salient.remove(thing)
            self.salient.insert(rank, thing)

    def _antecedent(self, pronoun: str, focus: list[int], how_many: int = 1) -> list[int]:
        """What a pronoun means: the most salient things of its number and gender, rather not what is in focus."""
        if how_many > 1:
            return [thing for thing in self.salient if thing not in focus][:how_many]  # "both of them"
        for rule in _AGREEMENT[pronoun]:
            fitting = [thing for thing in self.salient if rule(self.things[thing])]
            others = [thing for thing in fitting if thing not in focus]
            if others or fitting:
                return (others or fitting)[:1]
        return []

    def _nearest(self, i: int, but: list[int]) -> list[int]:
        """The thing named last before element `i`."""
        for item in reversed(self.items[:i]):
            if item.kind == "np" and item.thing not in but:
                return [] if item.thing is None else [item.thing]
        return []

    # -- looking around ---------------------------------------------------------------------------------------

    def _item(self, i: int) -> Element | None:
        return self.items[i] if 0 <= i < len(self.items) else None

    def _before(self, i: int) -> Element | None:
        """The element before `i`, adverbs left out."""
        i -= 1
        while i >= 0 and self.items[i].kind == "other":
            i -= 1
        return self._item(i)

    def _skip(self, i: int) -> int:
        """The first element from `i` on that is no adverb."""
        while i < len(self.items) and self.items[i].kind == "other":
            i += 1
        return i

    def _is(self, i: int, *kinds: str) -> bool:
        """Whether the first element from `i` on that is no adverb is of one of these kinds."""
        item = self._item(self._skip(i)) if i >= 0 else None
        return item is not None and item.kind in kinds


def _person(thing: Thing) -> bool:
    return thing.is_person


def _plural(thing: Thing) -> bool:
    return thing.is_plural


def _single_object(thing: Thing) -> bool:
    return not thing.is_person and not thing.is_plural


def _any(thing: Thing) -> bool:
    return True


# Tried in turn until something fits.
_THEY = (lambda thing: thing.is_person or thing.is_plural, _any)
_IT = (_single_object, _any)
_HE = (_person, _any)
_AGREEMENT = {
    **dict.fromkeys(("they", "them", "their"), _THEY),
    **dict.fromkeys(("it", "its"), _IT),
    **dict.fromkeys(("he", "him", "his", "she", "her", "my", "your"), _HE),
}
