"""Reads tagged sentences: which things they name, what describes them, how they relate."""

from __future__ import annotations

from .chunks import Chunk
from .drawable import is_drawable
from .lexicon import READY, SIDES, TIMES, is_setting
from .places import complete, read_place, relate_sides, stand
from .reading import DIRECTIONS, Reading
from .roles import role_of
from .sentence import Sentence
from .things import Things, fits
from .verbs import is_effect, read_be, read_verb, read_which
from .word import Word

# What reads each kind of chunk: the functions of verbs and places, and the reader's own methods by their names (a table
# of bound methods would hold the reader in a circle).
_READ = {"place": read_place, "verb": read_verb, "be": read_be, "aux": read_be, "which": read_which}
_OWN = {
    "np": "_on_phrase",
    "comma": "_on_comma",
    "sub": "_on_clause",
    "pronoun": "_on_pronoun",
    "adjective": "_on_adjective",
}


class Reader:
    """Reads sentences in order, chunk by chunk; each finds its place on the open edge of what was read so far."""

    def __init__(self) -> None:
        self.reading = Reading()

    def read(self, words: list[Word]) -> None:
        """Reads one sentence."""
        self.reading = self.reading.then(Sentence(words))
        for i, item in enumerate(self.reading.sentence.items):
            if item.kind in _READ:
                _READ[item.kind](self.reading, i, item)
            elif item.kind in _OWN:
                getattr(self, _OWN[item.kind])(self.reading, i, item)

    def finish(self) -> Things:
        """The things read, with how they stand in the picture. Places are things of their own if nothing else is to be
        drawn: "a misty forest at dawn".
        """
        things = self.reading.things
        if all(is_setting(thing.phrase.head) for thing in things.all):
            only = not things.all
            for phrase in things.settings:
                if only or phrase.head not in TIMES:
                    things.add(phrase, self.reading.number)
        relate_sides(self.reading)
        return things

    def _on_phrase(self, reading: Reading, i: int, item: Chunk) -> None:
        item.role = item.role or role_of(reading, i)
        item.thing = self._thing(reading, i, item)
        found = [] if item.thing is None else [item.thing]
        role = item.role.removesuffix(" too")
        again = role != item.role
        if role == "subject":
            self._on_subject(reading, i, found, again)
        elif role == "complement":
            complete(reading, found, again)
        elif role == "of" and reading.sentence.is_made_of(i):
            for thing in reading.focus or []:
                reading.things[thing].describe([item.phrase.name])  # "a turtle made of glass"
        elif role == "with":
            self._on_with(reading, i, item, found, again)
        elif role == "verb":
            if reading.action:
                reading.things.relate(reading.actors, reading.action, found)
            reading.open(found, "verb", again)
            reading.things.bring_up(found, 1)
        elif role == "owned" and found:
            self._on_owned(reading, i, found)
        elif role == "contents" and item.phrase.is_plural and reading.sentence.items[i - 2].thing is not None:
            reading.things.relate(found, "in", [reading.sentence.items[i - 2].thing])  # "a bowl of oranges"
        else:
            reading.things.bring_up(found, 1)

    def _thing(self, reading: Reading, i: int, item: Chunk) -> int | None:
        """The thing that a phrase names: one known already, a new one, or None if it is nothing to draw."""
        phrase, role, sentence = item.phrase, item.role, reading.sentence
        before, after = sentence.at(i - 1), sentence.at(i + 1)
        is_tag = role == "subject" and phrase.is_tag
        side = phrase.side or (_side(after.place.sides) if after is not None and after.kind == "place" else "")
        known = reading.things.recall(phrase, reading.number, is_tag, side)
        if known is not None:
            return known
        if role == "of" and sentence.is_made_of(i):
            return None
        directed = role == "complement" and reading.pending is not None and reading.pending[0] in DIRECTIONS
        drawn = is_drawable(phrase, role, directed, before, after)
        if role == "verb" and is_effect(reading, phrase, bool(drawn)):
            reading.aside = "effect"
        if reading.aside and not (reading.aside == "effect" and phrase.determiner in ("a", "an") and drawn):
            return None
        if drawn is None:
            reading.things.settings.append(phrase)
        if not drawn:
            return None
        thing = reading.things.add(phrase, reading.number, is_tag, side)
        if thing is not None and phrase.side:
            stand(reading, [thing], (phrase.side,))
        return thing

    def _on_subject(self, reading: Reading, i: int, found: list[int], again: bool) -> None:
        things = reading.things
        if again:
            reading.subjects = reading.subjects + found
            reading.at_subject()
            things.bring_up(found, 1)
            return
        for predicate, objects, sides in reading.fronted:
            if predicate != "between" or not sides:
                things.relate(found, predicate, [o for o in objects if not set(sides) & reading.placed.get(o, set())])
            stand(reading, found, sides)
        for predicate, subjects in reading.foretold:
            things.relate(subjects, predicate, found)
        if reading.completed[0] == "between" and reading.sentence.comes(i - 1, "and"):
            things.relate(reading.completed[1] or [], "between", found)  # "between a cup on the left and a fork"
            reading.completed = ("", [])
        things.bring_up(found, 1 if reading.fronted else 0)
        reading.fronted, reading.foretold = [], []
        reading.subjects, reading.is_finite, reading.relative, reading.is_bare = found, False, False, True
        reading.at_subject()
        if reading.are_agents(found):
            reading.agents = found

    def _on_with(self, reading: Reading, i: int, item: Chunk, found: list[int], again: bool) -> None:
        sentence = reading.sentence
        owners = reading.owners if again else _neighbour(reading, i - 2) or reading.about("with")
        if not sentence.comes(i + 1, "place", "verb") or _describes_owner(reading, i, found):
            reading.things.relate(owners, "with", found)
        reading.owners = owners
        reading.with_clause = again and reading.with_clause or sentence.comes(i - 2, "comma")
        if item.phrase.is_body_part:
            reading.things.bring_up(found, 1)  # "a cat with blue eyes sitting on": still the cat
        else:
            reading.open(found, "with", again)
            reading.things.bring_up(found, 1)
        reading.is_bare = False

    def _on_owned(self, reading: Reading, i: int, found: list[int]) -> None:
        """ "A wizard's hat on a table": about the hat from here on."""
        owner = reading.sentence.items[i - 1]
        if owner.kind == "np" and owner.role.startswith("subject"):
            reading.subjects = found
            reading.at_subject()
        else:
            reading.open(found, "which")
        reading.things.bring_up(found, 1)

    def _on_comma(self, reading: Reading, i: int, item: Chunk) -> None:
        reading.aside = ""

    def _on_clause(self, reading: Reading, i: int, item: Chunk) -> None:
        reading.sites, reading.is_finite, reading.aside, reading.relative = [], False, "", False

    def _on_pronoun(self, reading: Reading, i: int, item: Chunk) -> None:
        before = reading.sentence.before(i)
        if before is None or before.kind in ("sub", "and", "comma"):
            # A pronoun that is a subject goes on with the subject before it.
            former = [thing for thing in reading.subjects if fits(item.text, reading.things[thing])]
            reading.subjects = former or reading.things.meant_by(item.text, [])
            reading.is_finite = False
            reading.at_subject()

    def _on_adjective(self, reading: Reading, i: int, item: Chunk) -> None:
        following = reading.sentence.at(i + 1)
        if item.text in READY and following and following.text in ("to", "for"):
            reading.aside = "purpose"


def _side(sides: tuple[str, ...]) -> str:
    return next((side for side in sides if side in SIDES.values()), "")


def _neighbour(reading: Reading, i: int) -> list[int]:
    """Somebody named right before "with" as what a place is measured from or the like: "next to a boy with a cap"."""
    before = reading.sentence.at(i)
    if before is None or before.kind != "np" or before.thing is None or before.role not in ("complement", "of", "prep"):
        return []
    return [before.thing] if before.phrase.is_agent else []


def _describes_owner(reading: Reading, i: int, found: list[int]) -> bool:
    """Whether the place or verb after "with a crown" goes on about the owner: a crown does nothing."""
    following = reading.sentence.at(reading.sentence.skip_adverbs(i + 1))
    if reading.sentence.comes(i - 2, "comma"):
        return False
    if not reading.are_agents(reading.owners or reading.focus or []) or reading.are_agents(found):
        return False
    return following.kind == "verb" or (following.kind == "place" and following.place.form == "open")
