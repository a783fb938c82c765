"""Whether a phrase names a thing to be drawn, and not a part, a place, a manner, or a word about quality."""

from __future__ import annotations

from . import lexicon
from .chunks import Chunk
from .lexicon import is_abstract, is_compound
from .phrases import Phrase
from .tagger import alone


def is_drawable(phrase: Phrase, role: str, directed: bool, before: Chunk | None, after: Chunk | None) -> bool | None:
    """True for a thing, False for nothing to draw, None for a place that is a thing if there is nothing else.

    `role` is what the phrase does in its sentence, `directed` says that a direction is measured from it ("above the
    street"), `before` and `after` are the chunks around it.
    """
    head = phrase.head
    if phrase.determiner == "no" or (phrase.number is not None and after is not None and after.text == ":"):
        return False  # "two people: a man on the left, a woman on the right"
    if is_compound([word.text for word in phrase.name]):
        return True
    if phrase.is_colour and (head not in lexicon.COLOUR_NOUNS or (role == "predicate" and not phrase.determiner)):
        return False
    if phrase.described in lexicon.NOT_DRAWN or head in lexicon.LIGHT or is_abstract(head):
        return False
    if head in lexicon.QUALITY and not (head in lexicon.QUALITY_OR_THING and phrase.determiner):
        return False
    if head == "camera" and before is not None and before.text in ("at", "toward", "towards", "facing"):
        return False
    if _is_mood(phrase, before, after):
        return False
    if head in lexicon.MEDIA:
        hangs = after is not None and (
            after.kind == "be" or after.is_finite or (after.kind == "place" and after.place.predicate != "in")
        )
        return (role not in ("subject", "of") or hangs) and bool(phrase.determiner or phrase.colours)
    return _is_whole(phrase, role, directed, after)


def _is_whole(phrase: Phrase, role: str, directed: bool, after: Chunk | None) -> bool | None:
    """Whether it is no mere part of something, nor the place where all is."""
    head = phrase.head
    whole_is_named = phrase.possessed or (after is not None and after.kind == "of")
    if phrase.is_body_part and not (head in lexicon.THINGS_TOO and phrase.determiner in ("a", "an")):
        return not whole_is_named and bool(phrase.attributes or len(phrase.name) > 1)
    if (head in lexicon.THING_PARTS and whole_is_named) or (head in lexicon.MATERIALS and phrase.possessed):
        return False
    if lexicon.is_setting(head) and phrase.name[-1].tag != "NP0":
        if head in lexicon.TIMES and not (directed or phrase.determiner):
            return None
        is_undergoing = role == "verb" and (phrase.determiner in ("a", "an") or (phrase.is_tag and phrase.is_plural))
        if not phrase.colours and not is_undergoing:
            owns = after is not None and after.role == "owned"
            if owns or not (directed or role in ("subject", "subject too", "predicate")):
                return None
    return True


def _is_mood(phrase: Phrase, before: Chunk | None, after: Chunk | None) -> bool:
    """An entry of a tag list that is an adjective by itself: "serene, a cat on a roof"."""
    if phrase.determiner or len(phrase.name) > 1 or phrase.name[0].capital:
        return False
    is_entry = (before is None or before.kind == "comma") and (after is None or after.kind == "comma")
    return is_entry and alone(phrase.head).startswith(("AJ", "AV", "VVG"))
