"""What a sentence says is not there: taken out before the sentence is read, so that it can't become a target."""

from __future__ import annotations

from .chunks import Chunk

_JOINTS = ("and", "comma")
_OWN = ("verb", "with", "be", "which", "aux")  # what starts a description of its own after a phrase


def without_negated(chunks: list[Chunk]) -> list[Chunk]:
    """The chunks but for negations and what each denies."""
    result: list[Chunk] = []
    i = 0
    while i < len(chunks):
        end = _denied(chunks, i)
        if end == i:
            result.append(chunks[i])
            i += 1
            continue
        if chunks[i].kind == "np":
            end = _take_back(result, chunks, end)
        elif result and result[-1].kind == "and":
            result.pop()  # "a dog but not a cat"
        i = end
    return result


def _denied(chunks: list[Chunk], i: int) -> int:
    """Where the denial that starts at `i` ends; `i` if none starts there."""
    chunk = chunks[i]
    if chunk.kind == "np":
        return _joined(chunks, i + 1) if chunk.phrase.determiner in ("no", "neither") else i
    if chunk.kind != "not":
        return i
    end = i + 1
    while end < len(chunks) and chunks[end].kind in ("verb", "be", "aux", "other", "prep", "with", "place"):
        end += 1
    if end < len(chunks) and chunks[end].kind == "adjective":
        while end < len(chunks) and chunks[end].kind == "adjective":
            end += 1
        return end
    return _joined(chunks, _phrase_end(chunks, end))


def _phrase_end(chunks: list[Chunk], i: int) -> int:
    """Past the phrase at `i`, with what it is "of"."""
    if i < len(chunks) and chunks[i].kind in ("np", "pronoun"):
        i += 1
        while i + 1 < len(chunks) and chunks[i].kind == "of" and chunks[i + 1].kind == "np":
            i += 2
    return i


def _joined(chunks: list[Chunk], i: int) -> int:
    """Past further members of a denied list: "without hats or gloves". A phrase with a description of its own, and
    somebody after things, is none.
    """
    while i + 1 < len(chunks) and chunks[i].kind == "and" and chunks[i + 1].kind == "np":
        member, following = chunks[i + 1], chunks[i + 2] if i + 2 < len(chunks) else None
        if chunks[i].text == "but" or member.phrase.determiner == "no":
            return i
        denied = chunks[i - 1].phrase
        is_or = chunks[i].text in ("or", "nor")
        has_own = following is not None and following.kind in _OWN
        is_other = member.phrase.is_agent and not (denied is not None and denied.is_agent)
        is_fresh = bool(member.phrase.determiner) != bool(denied is not None and denied.determiner)
        if not is_or and (has_own or is_other or is_fresh or member.phrase.colours):
            return i
        i += 2
    return i


def _take_back(result: list[Chunk], chunks: list[Chunk], end: int) -> int:
    """Takes out what led to "no hat": a joint ("and no hat"), or the word that it alone belonged to ("with no hat").
    Returns where to read on.
    """
    if result and result[-1].kind in _JOINTS:
        if result[-1].kind == "and":
            result.pop()
        return end
    if end + 1 < len(chunks) and chunks[end].kind == "and" and chunks[end + 1].kind == "np":
        return end + 1  # "with no windows and a red lamp": with a lamp
    while result and result[-1].kind in ("with", "prep", "verb", "place", "of", "aux"):
        result.pop()
    return end
