"""Reads tagged sentences: which things they name, what describes them, how they relate."""

from __future__ import annotations

from . import lexicon
from .clauses import Element, Sentence
from .lexicon import is_setting
from .phrases import Phrase
from .roles import role_of
from .spatial import Place
from .things import Thing, Things, fits
from .word import Word

_DIRECTIONS = frozenset({"left of", "right of", "above", "below"})


class Reader:
    """Reads sentences in order; afterwards `things` holds the objects and relations.

    Within a clause, `focus` are the things that the next expression of place is about: the subject, or what "with",
    "and" or a verb has just introduced (`introduced_by`). None means that none has been named yet, [] that it is
    nothing that can be drawn.
    """

    def __init__(self) -> None:
        self.things = Things()
        self.number = -1  # of the sentence

    def read(self, words: list[Word]) -> None:
        """Reads one sentence."""
        self.number += 1
        self.sentence = Sentence(words)
        self.subjects: list[int] = []
        self.focus: list[int] | None = None
        self.introduced_by = ""
        self.owners: list[int] = []  # what the last "with" was about
        self.with_clause = False  # whether it came after a comma
        self.action = ""  # predicate of the last verb, if it makes a relation
        self.is_finite = False  # whether the clause has its main verb
        self.is_aside = False  # within words about an effect or a purpose
        self.pending: tuple[str, list[int] | None] | None = None  # a place that waits for what it is measured from
        self.completed: tuple[str, list[int] | None] = ("", [])  # the last one that got it
        self.fronted: list[tuple[str, list[int]]] = []  # places read before what is there
        self.foretold: list[tuple[str, list[int]]] = []  # "with a cat to its left, the dog …"
        for i, item in enumerate(self.sentence.items):
            handler = getattr(self, f"_on_{item.kind}", None)
            if handler:
                handler(i, item)

    def finish(self) -> Things:
        """Takes the places as things of their own if nothing else is to be drawn: "a misty forest at dawn"."""
        if all(is_setting(thing.phrase.head) for thing in self.things.all):
            for phrase in self.things.settings:
                self.things.add(phrase, self.number)
        return self.things

    # -- phrases ----------------------------------------------------------------------------------------------

    def _on_np(self, i: int, item: Element) -> None:
        item.role = item.role or role_of(self, i)
        item.thing = self._thing(item.phrase, item.role, i)
        found = [] if item.thing is None else [item.thing]
        role = item.role.removesuffix(" too")
        again = role != item.role
        if role == "subject":
            self._subject(i, found, again)
        elif role == "complement":
            self._complete(found, again)
        elif role == "of" and self.sentence.is_made_of(i):
            for thing in self.focus or []:
                self.things[thing].describe([item.phrase.name])  # "a turtle made of glass"
        elif role == "with":
            owners = self.owners if again else self._about("with")
            if not self.sentence.comes(i + 1, "place", "verb") and self.sentence.items[i - 1].word.text != "without":
                self.things.relate(owners, "with", found)
            self.owners = owners
            self.with_clause = again and self.with_clause or self.sentence.comes(i - 2, "comma")
            if item.phrase.is_body_part:
                self.things.bring_up(found, 1)  # "a cat with blue eyes sitting on": still the cat
            else:
                self._introduce(found, again, "with")
        elif role == "verb":
            if self.action:
                self.things.relate(
                    self.subjects if self.introduced_by == "verb" else self.focus or [], self.action, found
                )
            self._introduce(found, again, "verb")
        elif role == "contents" and item.phrase.is_plural and self.sentence.items[i - 2].thing is not None:
            self.things.relate(found, "in", [self.sentence.items[i - 2].thing])  # "a bowl of oranges"
        else:
            self.things.bring_up(found, 1)

    def _thing(self, phrase: Phrase, role: str, i: int) -> int | None:
        """The thing that a phrase names: one known already, a new one, or None if it is nothing to draw."""
        known = self.things.recall(phrase, self.number)
        if known is not None or self.is_aside:
            return known
        if role == "of" and (self.sentence.is_made_of(i) or self.sentence.is_style(i - 2)):
            return None
        directed = role == "complement" and self.pending is not None and self.pending[0] in _DIRECTIONS
        if not self.things.is_drawable(phrase, role, directed, self.sentence.at(i - 1), self.sentence.at(i + 1)):
            return None
        return self.things.add(phrase, self.number)

    def _subject(self, i: int, found: list[int], again: bool) -> None:
        if again:
            self.focus = self.subjects = self.subjects + found
            self.things.bring_up(found, 1)
            return
        for predicate, objects in self.fronted:
            self.things.relate(found, predicate, objects)
        for predicate, subjects in self.foretold:
            self.things.relate(subjects, predicate, found)
        if self.completed[0] == "between" and self.sentence.comes(i - 1, "and"):
            self.things.relate(self.completed[1] or [], "between", found)  # "between a cup on the left and a fork"
            self.completed = ("", [])
        self.things.bring_up(found, 1 if self.fronted else 0)
        self.fronted, self.foretold = [], []
        self.subjects, self.is_finite = found, False
        self._refocus(found, "subject")

    def _introduce(self, found: list[int], again: bool, how: str) -> None:
        self._refocus((self.focus or []) + found if again else found, how)
        self.things.bring_up(found, 1)

    def _refocus(self, focus: list[int], how: str) -> None:
        self.focus, self.introduced_by = focus, how

    # -- places -----------------------------------------------------------------------------------------------

    def _on_place(self, i: int, item: Element) -> None:
        place, j = item.place, self.sentence.skip_both(i + 1)
        if item.word.text == "by" and place.form == "open" and self.sentence.is_by_artist(i):
            self.is_aside = True
            return
        following = self.sentence.at(j) if place.form == "open" else None
        if following and following.kind == "np":
            self.pending = (place.predicate, None if self._is_fronted(i, j + 1) else self._about(place.predicate))
        elif following and following.kind == "pronoun":
            self._measured_from_pronoun(i, j + 1, place.predicate, following.word.text, 1 if j == i + 1 else 2)
        elif place.form == "open" and j > i + 1:
            self._measured_from_pronoun(i, j, place.predicate, "them", 2)  # "to the right of both"
        elif place.form == "owned":
            self._measured_from_pronoun(i, i + 1, place.predicate, place.owner, 1)
        elif place.form == "bare" or place.predicate in _DIRECTIONS:
            self._measured_from_context(i, place)

    def _about(self, predicate: str) -> list[int]:
        """What a place or "with" is about: "holding a cup above" the cup, "reading a book in" the reader."""
        if self.introduced_by == "verb" and predicate not in _DIRECTIONS and predicate != "on" and self.subjects:
            return self.subjects
        return self.focus or []

    def _is_fronted(self, i: int, end: int) -> bool:
        """Whether the place over elements [i, end) comes before what is there: "above the cat is a dog"."""
        if self.focus is None:
            return True
        before = self.sentence.before(i)
        if before is not None and before.kind not in ("and", "comma", "sub"):
            return False
        if self.sentence.comes(end, "and") and self.sentence.comes(end + 1, "place"):
            end += 3  # "to the left of it and above the dog is …"
        if not self.sentence.comes(end, "be", "verb"):
            return False
        while self.sentence.comes(end, "be", "verb"):
            end = self.sentence.skip_adverbs(end) + 1
        return self.sentence.comes(end, "np")

    def _complete(self, found: list[int], again: bool) -> None:
        """Relates what the last place was about to its complement: "above the fork", and `again` "and the knife"."""
        predicate, subjects = self.completed if again else self.pending
        self.completed, self.pending = (predicate, subjects), None
        if subjects is None:
            self.fronted.append((predicate, found))
        else:
            self.things.relate(subjects, predicate, found)
        self.things.bring_up(found, 0 if predicate in _DIRECTIONS and not again else 1)

    def _measured_from_pronoun(self, i: int, end: int, predicate: str, pronoun: str, how_many: int) -> None:
        """ "... with a dog to its right", "... and a cat above it"."""
        if self._is_fronted(i, end):
            self.fronted.append((predicate, self.things.meant_by(pronoun, [], how_many)))
            return
        beside = self._just_named(i, "complement")
        if beside and self.completed[0] not in _DIRECTIONS and any(fits(pronoun, self.things[t]) for t in self.focus):
            self.things.relate(beside, predicate, self.focus)  # "between a car to its right and …"
            return
        subjects = self.focus
        meant = self._main_subject(pronoun) if how_many == 1 else []
        meant = meant or self.things.meant_by(pronoun, self.focus, how_many)
        if meant and meant[0] in subjects:
            subjects = self._named_last(i, meant)
            if not subjects and not self.subjects:
                subjects, meant = self.focus, []  # "with a cat to its left, the dog …"
        if not meant:
            self.foretold.append((predicate, subjects))
        self.things.relate(subjects, predicate, meant)
        self.things.bring_up(meant, 0 if predicate in _DIRECTIONS else 1)

    def _measured_from_context(self, i: int, place: Place) -> None:
        """ "... with a dog to the right": right of what the sentence is about."""
        beside = self._just_named(i, "complement", "verb", "prep", "of")
        if beside is not None:
            # "between a boat to the left and …", "lies on the bed to the left"; nothing if it is "the scene below"
            self.things.relate(beside, place.predicate, self.focus or [])
        elif self._is_fronted(i, i + 1):
            self.fronted.append((place.predicate, self.things.salient[:1]))
        else:
            others = self._main_subject() or [thing for thing in self.things.salient if thing not in self.focus][:1]
            self.things.relate(self.focus, place.predicate, others)
            self.things.bring_up(others, 0)

    def _main_subject(self, pronoun: str = "") -> list[int]:
        """The subject of the clause that "…, with a cup to its left" belongs to; "a cup with a lid on it" has none."""
        if self.introduced_by != "with" or not self.with_clause:
            return []
        others = [thing for thing in self.subjects if thing not in self.focus]
        return [thing for thing in others if not pronoun or fits(pronoun, self.things[thing])][:1]

    def _just_named(self, i: int, *roles: str) -> list[int] | None:
        """What a phrase right before element `i` names, out of focus and in one of these roles; None without one."""
        before = self.sentence.at(i - 1)
        if before is None or before.kind != "np" or before.role.removesuffix(" too") not in roles:
            return None
        if before.thing is None:
            return []
        return None if before.thing in (self.focus or []) else [before.thing]

    def _named_last(self, i: int, but: list[int]) -> list[int]:
        """The thing named last before element `i`."""
        for item in reversed(self.sentence.items[:i]):
            if item.kind == "np" and item.thing not in but:
                return [] if item.thing is None else [item.thing]
        return []

    # -- verbs and joints -------------------------------------------------------------------------------------

    def _on_verb(self, i: int, item: Element) -> None:
        word, before = item.word, self.sentence.at(i - 1)
        if before and item.is_finite and not self.is_finite and self.subjects:
            self._refocus(self.subjects, "subject")  # "a dog wearing goggles sits"
        elif word.is_participle and self._just_named(i, "complement", "prep", "of"):
            if not self._stays_with_person(before):
                self._refocus([before.thing], "with")
        elif before and before.kind in ("comma", "sub") and word.is_participle and self.subjects:
            self._refocus(self.subjects, "subject")
        self.is_finite = self.is_finite or item.is_finite
        is_passive = before is not None and before.kind == "be" and word.tag == "VVN"
        self.action = "" if is_passive else lexicon.ACTIONS.get(word.text, "")
        is_participle_clause = word.tag == "VVG" and before is not None and before.kind != "be"
        if word.text in lexicon.EFFECT_VERBS and (word.tag == "VVI" or is_participle_clause):
            self.is_aside = True

    def _stays_with_person(self, complement: Element) -> bool:
        """ "A man in a helmet standing by a car": it is the man who stands there."""
        if not self.subjects or not self.things[self.subjects[0]].is_person or self.completed[0] in _DIRECTIONS:
            return False
        return not self.things[complement.thing].is_person and self.introduced_by == "subject"

    def _on_be(self, i: int, item: Element) -> None:
        if item.is_finite and not self.is_finite and self.subjects:
            self._refocus(self.subjects, "subject")
            self.is_finite = True
        if self.focus is not None and len(self.focus) == 1:
            self._describe(self.things[self.focus[0]], i + 1)

    def _describe(self, thing: Thing, i: int) -> None:
        """ "The car is black and shiny": adjectives after "be" describe the subject."""
        for item in self.sentence.items[i:]:
            word = item.word
            if item.kind == "adjective" and word.text not in lexicon.NOT_ATTRIBUTES and word.text not in lexicon.READY:
                thing.describe([[word]])
            elif item.kind not in ("and", "comma", "other"):
                return

    def _on_comma(self, i: int, item: Element) -> None:
        self.is_aside = False

    def _on_sub(self, i: int, item: Element) -> None:
        self.focus, self.is_finite, self.is_aside = None, False, False

    def _on_which(self, i: int, item: Element) -> None:
        j = i - 1
        while j >= 0 and self.sentence.items[j].kind != "np":
            j -= 1
        if j >= 0:
            self._refocus([] if self.sentence.items[j].thing is None else [self.sentence.items[j].thing], "which")
            self.is_finite = True

    def _on_pronoun(self, i: int, item: Element) -> None:
        before = self.sentence.before(i)
        if before is None or before.kind in ("sub", "and", "comma"):
            # A pronoun that is a subject goes on with the subject before it.
            former = [thing for thing in self.subjects if fits(item.word.text, self.things[thing])]
            self.subjects = former or self.things.meant_by(item.word.text, [])
            self.is_finite = False
            self._refocus(self.subjects, "subject")

    def _on_adjective(self, i: int, item: Element) -> None:
        following = self.sentence.at(i + 1)
        if item.word.text in lexicon.READY and following and following.word.text in ("to", "for"):
            self.is_aside = True
