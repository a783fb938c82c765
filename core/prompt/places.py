"""Expressions of place: what stands there, and what it is measured from."""

from __future__ import annotations

from .chunks import Chunk
from .reading import DIRECTIONS, Reading
from .spatial import Place
from .things import fits


def read_place(reading: Reading, i: int, item: Chunk) -> None:
    """Reads the expression of place at chunk `i`."""
    place, j = item.place, reading.sentence.skip_both(i + 1)
    following = reading.sentence.at(j) if place.form == "open" else None
    before = reading.sentence.at(i - 1)
    if before is not None and before.kind == "comma" and reading.is_bare:
        _place_of_owner(reading)
    if item.text == "by" and reading.undergone and before is not None and before.kind == "verb":
        reading.pending = (f"by {reading.undergone}", reading.focus or [])  # "chased by a dog"
    elif following and following.kind == "np":
        reading.pending = (place.predicate, None if _is_fronted(reading, i, j + 1) else reading.about(place.predicate))
    elif following and following.kind == "pronoun":
        _measured_from_pronoun(reading, i, j + 1, place.predicate, following.text, 1 if j == i + 1 else 2)
    elif place.form == "open" and j > i + 1:
        _measured_from_pronoun(reading, i, j, place.predicate, "them", 2)  # "to the right of both"
    elif place.form == "owned":
        _measured_from_pronoun(reading, i, i + 1, place.predicate, place.owner, 1)
    elif place.form == "bare" or place.predicate in DIRECTIONS:
        _measured_from_context(reading, i, place)
    reading.is_bare = False


def _place_of_owner(reading: Reading) -> None:
    """In a list of tags a place is that of the last entry that can act: "1girl, red hat, on a chair"."""
    are_tags = all(reading.things[thing].is_tag for thing in reading.subjects)
    if are_tags and reading.agents and not reading.are_agents(reading.subjects) and reading.focus == reading.subjects:
        reading.subjects = reading.agents
        reading.at_subject()


def complete(reading: Reading, found: list[int], again: bool) -> None:
    """Relates what the last place was about to its complement: "above the fork", and `again` "and the knife"."""
    predicate, subjects = reading.completed if again else reading.pending
    reading.completed, reading.pending = (predicate, subjects), None
    if predicate.startswith("by "):
        reading.things.relate(found, predicate.removeprefix("by "), subjects or [])
        reading.open(found, "complement", again)
        return
    if subjects is None:
        reading.fronted.append((predicate, found, ()))
    else:
        reading.things.relate(subjects, predicate, found)
        if found:
            reading.open(found, "complement", again)
    reading.things.bring_up(found, 0 if predicate in DIRECTIONS and not again else 1)


def _is_fronted(reading: Reading, i: int, end: int) -> bool:
    """Whether the place over chunks [i, end) comes before what is there: "above the cat is a dog"."""
    sentence = reading.sentence
    if reading.focus is None:
        return True
    before = sentence.before(i)
    if before is not None and before.kind not in ("and", "comma", "sub"):
        return False
    if sentence.comes(end, "and") and sentence.comes(end + 1, "place"):
        end += 3  # "to the left of it and above the dog is …"
    if not sentence.comes(end, "be", "verb"):
        return False
    while sentence.comes(end, "be", "verb"):
        end = sentence.skip_adverbs(end) + 1
    return sentence.comes(end, "np")


def _is_label(reading: Reading, i: int) -> bool:
    """ "left: a cat", "on the right a dog": whether what stands at a side of the picture comes after it."""
    sentence = reading.sentence
    before, following = sentence.before(i), sentence.at(i + 1)
    if following is None or (before is not None and before.kind not in ("and", "comma")):
        return False
    if following.text in ("]", ")") and sentence.items[0].text not in ("[", "("):
        return False  # "a cat (left) and a dog"
    marks = (":", "-", "–", "]", ")")
    return following.kind in ("np", "there") or (following.text in marks and sentence.comes(i + 2, "np"))


def _measured_from_pronoun(reading: Reading, i: int, end: int, predicate: str, pronoun: str, how_many: int) -> None:
    """ "... with a dog to its right", "... and a cat above it"."""
    things = reading.things
    if _is_fronted(reading, i, end):
        reading.fronted.append((predicate, things.meant_by(pronoun, [], how_many), ()))
        return
    focus = reading.focus or []
    beside = reading.just_named(i, "complement")
    if beside and reading.completed[0] not in DIRECTIONS and any(fits(pronoun, things[t]) for t in focus):
        things.relate(beside, predicate, focus)  # "between a car to its right and …"
        return
    subjects = focus
    meant = reading.main_subject(pronoun, fits) if how_many == 1 else []
    meant = meant or things.meant_by(pronoun, focus, how_many)
    if meant and meant[0] in subjects:
        subjects = reading.named_last(i, meant)
        if not subjects and not reading.subjects:
            subjects, meant = focus, []  # "with a cat to its left, the dog …"
    if not meant:
        reading.foretold.append((predicate, subjects))
    things.relate(subjects, predicate, meant)
    holder = next((site for site in reading.sites if site.things == meant), None)
    if predicate == "held by" and holder is not None:
        reading.at_site(holder)  # "with a worm in its beak, perched": who holds it goes on
    things.bring_up(meant, 0 if predicate in DIRECTIONS else 1)


def _measured_from_context(reading: Reading, i: int, place: Place) -> None:
    """ "... with a dog to the right": right of what the sentence is about."""
    things, focus = reading.things, reading.focus or []
    beside = reading.just_named(i, "complement", "verb", "prep", "of")
    if beside is not None and not place.sides:
        things.relate(beside, place.predicate, focus)  # nothing if it is "the scene below"
    elif beside is not None:
        # "between a boat to the left and …", "lies on the bed to the left"
        things.relate(beside, place.predicate, focus)
        stand(reading, beside, place.sides)
    elif _is_fronted(reading, i, i + 1) or _is_label(reading, i):
        reading.fronted.append((place.predicate, things.salient[:1], place.sides))
    else:
        others = reading.main_subject("", fits) or [thing for thing in things.salient if thing not in focus][:1]
        if place.predicate != "between" and not all(reading.placed.get(t, ()) for t in others):
            things.relate(focus, place.predicate, others)
        elif place.predicate != "between":
            _relate_unlike(reading, focus, place, others)
        stand(reading, focus, place.sides)
        things.bring_up(others, 0)


def _relate_unlike(reading: Reading, focus: list[int], place: Place, others: list[int]) -> None:
    """Relates things that stand at sides of the picture, unless at the same one."""
    for other in others:
        if not reading.placed[other] & set(place.sides):
            reading.things.relate(focus, place.predicate, [other])


def stand(reading: Reading, found: list[int], sides: tuple[str, ...]) -> None:
    """Notes at which sides of the picture things stand."""
    for thing in found:
        reading.placed.setdefault(thing, set()).update(sides)


_SIDED = DIRECTIONS | {"on"}
_ORDER = (("left of", ("left", "middle", "right")), ("above", ("top", "middle", "bottom")))


def relate_sides(reading: Reading) -> None:
    """What stands at one side of the picture is left of or above what stands at the other."""
    placed = list(reading.placed.items())
    related = {(p in ("left of", "right of"), frozenset((s, o))) for s, p, o in reading.things.relations if p in _SIDED}
    for predicate, order in _ORDER:
        ends = {order[0], order[2]}
        ranked = [(thing, order.index(side)) for thing, sides in placed for side in order if side in sides]
        if not any(sides & ends for _, sides in placed):
            continue
        for first, rank in ranked:
            for second, other in ranked:
                is_new = (predicate == "left of", frozenset((first, second))) not in related
                if rank < other and is_new and _are_comparable(reading, first, second):
                    reading.things.relate([first], predicate, [second])


def _are_comparable(reading: Reading, first: int, second: int) -> bool:
    """ "The left girl" and "the right boy", but no "left shoe" and "right hand"."""
    one, other = reading.things[first], reading.things[second]
    if not (one.phrase.side and other.phrase.side):
        return True
    both_act = one.is_agent and other.is_agent
    return both_act or (
        one.phrase.head == other.phrase.head and one.phrase.determiner == "the" == other.phrase.determiner
    )
