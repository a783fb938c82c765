"""Mends part-of-speech tags that can't be right where they stand in the description of a picture.

A rule sees a word, the (mended) words before it and the two after it; the first that returns a tag decides.
"""

from __future__ import annotations

from dataclasses import replace

from .lexicon import (
    COLOUR_NOUNS,
    COLOURS,
    HOMOGRAPHS,
    ING_NOUNS,
    MEDIA,
    MEDIA_OF,
    NUMERALS,
    POSTURE_VERBS,
    is_agent,
    is_compound,
    is_plural,
    singular,
)
from .word import Word

_ENDS_A_PHRASE = ("PUN", "CJC", "CJS", "PRP", "PRF", "POS", "DTQ")


def corrected(words: list[Word], titled: bool = False) -> list[Word]:
    """The words of a sentence with their tags mended. `titled` says that capital letters mean nothing in it."""
    stripes = {i for i in range(len(words)) if _is_stripe(words, i)}
    words = [replace(word, tag="VVZ") if _is_posture(words, i) else word for i, word in enumerate(words)]
    result: list[Word] = []
    for i, word in enumerate(words):
        if i in stripes:
            result.append(replace(word, tag="AJ0"))
            continue
        tags = (rule(word, result, words[i + 1 : i + 3]) for rule in _RULES)
        result.append(replace(word, tag=next((tag for tag in tags if tag), word.tag)))
    return (
        result
        if titled
        else [replace(word, tag="NP0") if _is_name(result, i) else word for i, word in enumerate(result)]
    )


def _is_name(words: list[Word], i: int) -> bool:
    """A capitalised word within a sentence; at its start only if an adjective or the like can't stand there."""
    word = words[i]
    if not word.capital or word.tag[0] in "CDPEGS" or word.tag == "AT0" or word.text == "i":
        return False
    before = words[i - 1] if i else None
    if before is not None and before.text not in (",", ":", "("):
        return before.is_noun or before.is_determiner or word.is_noun or word.tag in ("UNC", "AV0", "AVP", "CRD", "AJ0")
    after = words[i + 1] if i + 1 < len(words) else None
    if after is None or word.is_verb:
        return False
    if after.capital:
        return not word.is_adjective or word.tag == "ORD"
    return (
        word.text not in COLOURS
        and (word.tag == "NP0" or after.is_verb or after.tag == "PRP")
        and (word.tag != "NN2" and (word.is_noun or word.tag in ("UNC", "AV0", "AJ0")))
    )


def _is_stripe(words: list[Word], i: int) -> bool:
    """A colour in a row of colours before a noun: "an orange and white cat", "a ruby, silver and gold crown"."""
    if words[i].text not in COLOURS:
        return False
    end, joints = i + 1, set()
    while end < len(words) and (words[end].text in COLOURS or words[end].text in ("and", ",", "&")):
        joints.add(words[end].text)
        end += 1
    if not joints & {"and", "&"} or end == len(words) or words[end - 1].text not in COLOURS:
        return False
    if i and words[i - 1].text in ("a", "an") and is_plural(words[end].text):
        return False  # "an orange and red apples"
    return words[end].is_noun or words[end].is_adjective


def _is_posture(words: list[Word], i: int) -> bool:
    """A verb of posture that was taken for a plural: "the deer stands tall"."""
    if words[i].text not in POSTURE_VERBS or not words[i].is_noun or i == 0:
        return False
    if words[i - 1].tag in ("AT0", "DPS", "CRD", "CJC", "PUN"):
        return False
    return i + 1 == len(words) or words[i + 1].tag in ("PRP", "AV0", "AVP", "AJ0", "TO0", "PUN", "CJC", "ORD")


def _embedding(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "a photo of embedding:me", "embedding:me riding a bike": an embedding where only a noun can stand."""
    if not word.text.startswith("embedding:"):
        return None
    led = bool(before) and (before[-1].is_determiner or before[-1].is_adjective or before[-1].tag in ("PRF", "PRP"))
    acts = bool(after) and (after[0].is_verb or after[0].text in ("with", "in", "on"))
    return "NP0" if led or acts else None


def _nearby(word: Word, before: list[Word], after: list[Word]) -> str | None:
    return "AV0" if word.text == "nearby" and not (after and after[0].is_noun) else None


def _unknown(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """A word that HanTa has never seen is a name for a thing."""
    if word.tag == "CRD" and word.text.isalpha() and word.text not in NUMERALS:
        return "NN1"
    return "NN1" if word.tag == "UNC" and word.text.isalpha() else None


def _actor(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "an alien playing chess": who can act is no adjective before what is done."""
    if word.tag != "AJ0" or not is_agent(word.text) or not after:
        return None
    return "NN1" if after[0].tag in ("VVG", "VVZ", "PRP") or after[0].text.endswith("ing") else None


def _picture(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "3d render of": what shows something is a noun, whatever else the word can be."""
    is_media = word.text in MEDIA or word.text in MEDIA_OF
    return "NN1" if is_media and after and after[0].text == "of" and not word.is_noun else None


def _third_person(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "a monkey steals a banana": no plural stands between a noun and an article."""
    if word.tag != "NN2" or not before or before[-1].tag not in ("NN1", "NP0") or not after:
        return None
    return "VVZ" if after[0].tag in ("AT0", "DPS") and word.text.endswith("s") else None


def _compound(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "stop sign": two words that name one thing."""
    if after and is_compound([word.text, after[0].text]):
        return word.tag if word.is_adjective else "NN1"
    return "NN1" if before and is_compound([before[-1].text, word.text]) else None


def _colour(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "silver car", "orange cat": a colour before a noun describes it."""
    is_before_noun = bool(after) and (after[0].is_noun or after[0].tag == "AJ0")
    return "AJ0" if word.text in COLOURS and word.tag[0] in "NVU" and is_before_noun else None


def _side(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "to the left of" is a noun, "sits left of" is not, nor is "a cat, left" or "a cat (left)"."""
    if word.text not in ("left", "right"):
        return None
    if before and before[-1].is_noun and (not after or after[0].text in (",", "and", ")", "]")):
        return "AV0"
    if not after or after[0].text != "of":
        return None
    return "NN1" if before and before[-1].is_determiner else "AV0"


def _gerund(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "giraffe eating leaves": no eating leaves."""
    if not (word.is_noun and word.text.endswith("ing") and before):
        return None
    if not after or after[0].text in (",", "and"):  # "a vampire singing"
        acts = any(is_agent(other.text) for other in before[-8:])
        return "VVG" if acts and singular(word.text) not in ING_NOUNS and before[-1].is_noun else None
    goes_on = after[0].is_noun or after[0].is_determiner or after[0].tag in ("PRP", "UNC")
    is_between = before[-1].is_noun and goes_on
    return "VVG" if is_between and singular(word.text) not in ING_NOUNS else None


def _homograph(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "white remote and clock"."""
    if word.text not in HOMOGRAPHS or word.is_noun:
        return None
    if after and (
        after[0].is_noun or after[0].is_determiner or after[0].is_adjective or after[0].tag in ("PNP", "VVI")
    ):
        return None
    last = before[-1] if before else None
    opens = last is None or last.is_adjective or last.is_determiner or last.is_noun or last.tag in ("PUN", "CJC", "PRP")
    return "NN1" if opens else None


def _verb_in_phrase(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "the stop sign", "a toast": no verb can follow an article."""
    if word.tag not in ("VVB", "VVI", "VVZ") or not _is_in_phrase(before):
        return None
    return None if before[-1].is_noun and word.tag != "VVI" else "NN1"


def _adjective_alone(word: Word, before: list[Word], after: list[Word]) -> str | None:
    """ "the yellow remote": an adjective with nothing after it to describe is a noun."""
    if word.tag not in ("AJ0", "AJC") or not before or before[-1].is_noun or not _is_in_phrase(before):
        return None
    if word.text in COLOURS and word.text not in COLOUR_NOUNS:
        return None
    joints = (",", "and", "&") if word.text in COLOURS else (",",)
    if after and after[0].text in joints and after[-1].is_adjective:
        return None  # "a small, white bathroom", "an orange and white cat"
    if after and after[0].text in ("yet", "but"):
        return None  # "a cozy yet modern room"
    return "NN1" if not after or after[0].tag in _ENDS_A_PHRASE or after[0].is_verb else None


def _is_in_phrase(before: list[Word]) -> bool:
    """Whether an article or possessive, and after it only words of the same noun phrase, end the words so far."""
    for word in reversed(before):
        if word.tag in ("AT0", "DPS"):
            return True
        if not (word.is_adjective or word.is_noun):
            return False
    return False


_RULES = (
    _embedding,
    _nearby,
    _unknown,
    _actor,
    _picture,
    _third_person,
    _compound,
    _colour,
    _side,
    _gerund,
    _homograph,
    _verb_in_phrase,
    _adjective_alone,
)
