"""What a noun phrase does in its sentence, judged by what stands around it."""

from __future__ import annotations

from .chunks import Chunk
from .lexicon import CONTAINERS
from .reading import Reading

_JOINABLE = ("subject", "complement", "with", "verb")
# What starts a description of its own after a phrase.
_DESCRIBING = ("verb", "with", "place", "which", "be")


def role_of(reading: Reading, i: int) -> str:
    """The role of the phrase at chunk `i`.

    One of subject, complement (of a place), with, verb (its object), contents (of a container), of, prep, predicate;
    "subject too", "complement too", "with too" and "verb too" say that it is one more of the same.
    """
    sentence = reading.sentence
    before = sentence.before(i)
    if before is None or before.kind in ("sub", "there"):
        return "subject"
    if reading.fronted and before.kind in ("comma", "be", "verb"):
        return "subject"
    if before.kind == "place" and reading.pending:
        return "complement"
    if before.kind == "with":
        return "with"
    if before.kind == "verb" and (reading.focus is not None or before.word.tag in ("VVG", "VVN")):
        return "verb"
    if before.kind == "of":
        outer = sentence.at(i - 2)
        return "contents" if outer and outer.kind == "np" and outer.phrase.head in CONTAINERS else "of"
    if before.kind == "prep":
        return "prep"
    if before.kind in ("and", "comma"):
        return _joined_role(reading, i, before)
    if before.kind == "be" and reading.focus is not None:
        return "predicate"
    if before.kind == "np" and before.role == "verb" and before.phrase.is_agent and before is sentence.at(i - 1):
        return "verb"  # "giving a boy a flower"
    return "subject"


def _joined_role(reading: Reading, i: int, joint: Chunk) -> str:
    """After "and" or a comma: one more of the same, or the start of something new?"""
    sentence = reading.sentence
    j = i - 1
    while j >= 0 and sentence.items[j].kind in ("and", "comma", "other"):
        j -= 1
    former = sentence.at(j)
    if (
        former is None
        or former.kind != "np"
        or reading.fronted
        or not (joint.kind == "and" or sentence.is_inner_member(i))
    ):
        return "subject"
    role = former.role.removesuffix(" too")
    if role not in _JOINABLE or _starts_anew(reading, i, former, role):
        return "subject"
    return f"{role} too"


def _starts_anew(reading: Reading, i: int, former: Chunk, role: str) -> bool:
    """Whether the phrase at `i`, after "and", is a subject beside the one before rather than one more of its things."""
    following, phrase = reading.sentence.at(i + 1), reading.sentence.items[i].phrase
    if following is not None and (following.kind == "be" or following.is_finite):
        # "… above the cat and the dog is …", once the clause has its own verb
        return role != "subject" and (reading.is_finite or not reading.subjects)
    if role == "subject":
        return False
    is_other = phrase.is_agent and not former.phrase.is_agent
    describes = following is not None and following.kind in _DESCRIBING
    if role == "complement":
        # "above the cat and a dog next to it", "in a coat and a man", but "in sunglasses and a jacket riding"
        acts = reading.are_agents(reading.subjects)
        if describes and following.kind == "verb" and acts and not phrase.is_agent:
            return False
        return describes or (is_other and phrase.is_person and acts)
    if not describes:  # "with a basket and a boy"
        return is_other and phrase.is_person and reading.are_agents(reading.subjects)
    return is_other or _is_parallel(reading, i, following)


def _is_parallel(reading: Reading, i: int, following: Chunk) -> bool:
    """Whether the phrase at `i` is described in the way in which the subject was: "a bowl with apples and a plate with
    grapes", "a bear eating honey and a fox drinking tea".
    """
    phrase = reading.sentence.items[i].phrase
    if phrase.is_agent:
        return reading.are_agents(reading.subjects) and (following.is_active or following.kind != "verb")
    if reading.are_agents(reading.subjects):
        return False
    first = next((k for k, item in enumerate(reading.sentence.items[:i]) if item.role == "subject"), None)
    described = reading.sentence.at(first + 1) if first is not None else None
    return described is not None and described.kind == following.kind
