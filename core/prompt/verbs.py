"""Verbs: who does it, and to what. Whatever the verb is, its subject stands before it and its object after it."""

from __future__ import annotations

from .chunks import Chunk
from .lexicon import (
    EFFECT_VERBS,
    HOLDING,
    MOTION,
    NOT_ATTRIBUTES,
    POSTURES,
    READY,
    STATES,
    VEHICLES,
    progressive,
    singular,
)
from .phrases import Phrase
from .reading import DIRECTIONS, Reading, Site
from .things import Thing


def read_verb(reading: Reading, i: int, item: Chunk) -> None:
    """Attaches a verb to who does it."""
    before = reading.sentence.at(i - 1)
    after_be = before is not None and before.kind in ("be", "aux")
    if reading.relative and (item.is_finite or item.is_active):
        if item.is_active:
            _attach(reading, i, item)
        reading.relative = False
    elif item.is_finite and not reading.is_finite and reading.subjects and before is not None:
        reading.at_subject()  # "a dog wearing goggles sits"
        reading.is_finite = True
    elif item.word.is_participle and not after_be:
        _attach_participle(reading, i, item, before)
    _note_action(reading, i, item, after_be)
    reading.is_bare = False


def _attach_participle(reading: Reading, i: int, item: Chunk, before: Chunk | None) -> None:
    if before is not None and before.kind in ("comma", "sub"):
        if item.is_active or item.text in POSTURES:
            _attach_to_owner(reading)
    elif reading.sites:
        _attach(reading, i, item)


def _attach_to_owner(reading: Reading) -> None:
    """After a comma: the subject; in a list of tags, the last entry that can act: "1girl, red hat, holding a sword"."""
    owners = reading.subjects
    if reading.agents and not reading.are_agents(owners) and (reading.is_bare or not owners):
        owners = reading.agents
    if owners or reading.sites:
        reading.subjects = owners
        reading.sites = [Site(owners, "subject")]


def _attach(reading: Reading, i: int, item: Chunk) -> None:
    """Attaches a participle to the nearest thing on the open edge that can do it, else to what it stands after."""
    if not reading.sites:
        return
    text = item.text
    if item.is_active or text in POSTURES:
        for site in reversed(reading.sites):
            acts = reading.are_agents(site.things) and not _is_held(reading, site, i)
            if acts or _can_move(reading, site, text):
                reading.at_site(site)
                return
    last = reading.sites[-1]
    if not last.things:
        return
    is_posed = text in POSTURES and not reading.are_agents(reading.sites[0].things)
    stays = last.by == "with" and (reading.with_clause or is_posed)  # "with a lamp standing"
    if last.by in ("with", "verb") and (item.is_active or text in POSTURES) and not stays:
        reading.at_site(reading.sites[0])
    else:
        reading.at_site(last)


def _is_held(reading: Reading, site: Site, i: int) -> bool:
    """Whether it is an animal or a toy that somebody has with them: "a girl with a cat sitting on a bench"."""
    first = reading.sites[0]
    if site is first or site.by not in ("with", "verb") or not reading.are_agents(first.things):
        return False
    following = reading.sentence.at(i + 1)
    if following is not None and following.kind == "place" and following.place.predicate in DIRECTIONS:
        return False  # "with a dog sitting to their left"
    if site.by == "with" and reading.with_clause or site.by == "verb" and reading.action not in HOLDING:
        return False
    return not all(reading.things[thing].is_person for thing in site.things)


def _can_move(reading: Reading, site: Site, verb: str) -> bool:
    """Whether it is a vehicle that does what vehicles do."""
    heads = [singular(reading.things[thing].phrase.head) for thing in site.things]
    return verb in MOTION and bool(heads) and all(head in VEHICLES for head in heads)


def _note_action(reading: Reading, i: int, item: Chunk, after_be: bool) -> None:
    word, following = item.word, reading.sentence.at(reading.sentence.skip_adverbs(i + 1))
    has_object = following is not None and following.kind == "np"
    is_passive = word.tag == "VVN" and (after_be or not has_object)
    reading.actors = reading.focus or []
    reading.action = reading.undergone = ""
    if word.tag.startswith("VH"):
        reading.action = "with"
    elif is_passive or (word.tag == "VVD" and not has_object):
        reading.undergone = "" if word.text in STATES or word.text in POSTURES else progressive(word.text)
    else:
        reading.action = progressive(word.text)
    is_clause = word.tag == "VVG" and not after_be and i > 0
    reading.effect = word.text in EFFECT_VERBS and (word.tag == "VVI" or is_clause)


def is_effect(reading: Reading, phrase: Phrase, is_drawn: bool) -> bool:
    """Whether a verb's object is an effect on the onlooker, "creating a colourful contrast", rather than a thing."""
    if not reading.effect:
        return False
    is_new = phrase.determiner in ("a", "an", "another", "some", "") and not phrase.possessed
    return not (is_drawn and (is_new or phrase.colours))


def read_be(reading: Reading, i: int, item: Chunk) -> None:
    """ "The car is black": what comes next is about the subject, and adjectives describe it."""
    if reading.relative:
        following = reading.sentence.at(reading.sentence.skip_adverbs(i + 1))
        reading.relative = following is not None and following.is_active
    elif item.is_finite and not reading.is_finite and reading.subjects:
        reading.at_subject()
        reading.is_finite = True
    if item.kind == "be" and reading.focus is not None and len(reading.focus) == 1:
        _describe(reading, reading.things[reading.focus[0]], i + 1)
    reading.is_bare = False


def _describe(reading: Reading, thing: Thing, i: int) -> None:
    """ "… is black and shiny": the adjectives after "be"."""
    words: list[list] = []
    for item in reading.sentence.items[i : i + 12]:
        word = item.word
        if item.kind == "adjective" and word.text not in NOT_ATTRIBUTES and word.text not in READY:
            words.append([word])
        elif item.kind == "np" and not item.phrase.determiner and item.phrase.is_colour:
            words.append([*(w for a in item.phrase.attributes for w in a), *item.phrase.name])
        elif item.kind not in ("and", "comma", "other"):
            break
    thing.describe(words)


def read_which(reading: Reading, i: int, item: Chunk) -> None:
    """ "…, which is", "who holds": about the phrase before; "who" about somebody."""
    j = i - 1
    while j >= 0 and reading.sentence.items[j].kind != "np":
        j -= 1
    if j < 0:
        return
    reading.relative = True
    if item.text == "who":
        for site in reversed(reading.sites):
            if reading.are_agents(site.things):
                reading.at_site(site)
                return
    thing = reading.sentence.items[j].thing
    found = [] if thing is None else [thing]
    if reading.sites and reading.sites[-1].things == found:
        reading.at_site(reading.sites[-1])
    else:
        reading.open(found, "which")
