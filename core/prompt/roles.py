"""What a noun phrase does in its sentence, judged by what stands around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .clauses import Element, Sentence
from .lexicon import CONTAINERS

if TYPE_CHECKING:
    from .grammar import Reader


def role_of(reader: Reader, i: int) -> str:
    """The role of the phrase at element `i`.

    One of subject, complement (of a place), with, verb (its object), contents (of a container), of, prep, predicate;
    "subject too", "complement too", "with too" and "verb too" say that it is one more of the same.
    """
    sentence = reader.sentence
    before = sentence.before(i)
    if before is None or before.kind in ("sub", "there"):
        return "subject"
    if reader.fronted and before.kind in ("comma", "be", "verb"):
        return "subject"
    if before.kind == "place" and reader.pending:
        return "complement"
    if before.kind == "with":
        return "with"
    if before.kind == "verb" and (reader.focus is not None or before.word.tag in ("VVG", "VVN")):
        return "verb"
    if before.kind == "of":
        outer = sentence.at(i - 2)
        return "contents" if outer and outer.kind == "np" and outer.phrase.head in CONTAINERS else "of"
    if before.kind == "prep":
        return "prep"
    if before.kind in ("and", "comma"):
        return _joined_role(reader, i, before)
    if before.kind == "be" and reader.focus is not None:
        return "predicate"
    return "subject"


def _joined_role(reader: Reader, i: int, joint: Element) -> str:
    """After "and" or a comma: one more of the same, or the start of something new?"""
    sentence = reader.sentence
    j = i - 1
    while j >= 0 and sentence.items[j].kind in ("and", "comma", "other"):
        j -= 1
    former, following = sentence.at(j), sentence.at(i + 1)
    if (
        former is None
        or former.kind != "np"
        or reader.fronted
        or not (joint.kind == "and" or _is_inner_member(sentence, i))
    ):
        return "subject"
    starts_clause = following is not None and (following.kind == "be" or following.is_finite)
    if starts_clause and former.role != "subject" and (reader.is_finite or not reader.subjects):
        return "subject"  # "… above the cat and the dog is …", once the clause has its own verb
    role = former.role.removesuffix(" too")
    if role == "complement" and not starts_clause and sentence.comes(i + 1, "place", "verb"):
        return "subject"  # "above the cat and a dog next to it"
    return f"{role} too" if role in ("subject", "complement", "with", "verb") else "subject"


def _is_inner_member(sentence: Sentence, i: int) -> bool:
    """Whether the phrase at `i` is an inner member of "a, b and c"."""
    for j in range(i + 1, len(sentence.items) - 1):
        kind = sentence.items[j].kind
        if kind == "and":
            return sentence.items[j + 1].kind == "np"
        if kind not in ("np", "comma"):
            return False
    return False
