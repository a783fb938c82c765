"""Who made a picture and in which style: taken out before the sentence is read, as it names nothing to draw."""

from __future__ import annotations

from .chunks import Chunk
from .lexicon import MAKING, SETTINGS, STATES, is_agent, is_plural
from .tagger import is_unknown

_STYLES = ("style", "styles", "manner", "aesthetic", "vein", "spirit")
_PUBLISHED = ("trending", "featured", "shot", "taken", "filmed", "captured", "photographed")


def without_credits(chunks: list[Chunk]) -> list[Chunk]:
    """The chunks but for "by somebody", "in the style of somebody", "trending on …"."""
    result: list[Chunk] = []
    i = 0
    while i < len(chunks):
        end = _credit_end(chunks, i, result)
        if end > i:
            while result and (result[-1].text in MAKING or result[-1].word.tag == "AV0") and result[-1].kind != "comma":
                result.pop()  # "art by", "painted by"
            i = end
        else:
            result.append(chunks[i])
            i += 1
    return result


def _credit_end(chunks: list[Chunk], i: int, before: list[Chunk]) -> int:
    chunk = chunks[i]
    following = chunks[i + 1] if i + 1 < len(chunks) else None
    if chunk.text == "by" and following is not None and following.kind == "np":
        last = before[-1] if before else None
        return _names_end(chunks, i + 1) if _is_author(following, last) else i
    is_entry = not before or before[-1].kind == "comma"
    if is_entry and chunk.text in _PUBLISHED and following is not None and following.text in ("on", "with"):
        return min(i + 3, len(chunks))  # "trending on artstation", "shot on Kodak Portra"
    if _is_style(chunk):
        end = i + 1
        if end + 1 < len(chunks) and chunks[end].kind == "of" and chunks[end + 1].kind == "np":
            end = _names_end(chunks, end + 1)
        while before and before[-1].kind in ("prep", "place", "owner", "np", "adjective"):
            is_name = before[-1].kind == "np"
            if is_name and before[-1].phrase.determiner:
                break
            before.pop()  # "in the style of", "studio ghibli style"
            if not is_name and before and before[-1].kind == "np":
                break
        return end
    return i


def _is_style(chunk: Chunk) -> bool:
    return chunk.kind == "np" and chunk.phrase.head in _STYLES


def _is_author(chunk: Chunk, before: Chunk | None) -> bool:
    """Whether the phrase after "by" is a person who made the picture, rather than a place or somebody in it."""
    phrase = chunk.phrase
    made = before is not None and (before.text in MAKING or (before.kind == "np" and before.phrase.head in MAKING))
    if made:
        return not (before.kind == "verb" and phrase.determiner)
    if phrase.determiner or phrase.number or phrase.possessed or is_plural(phrase.head) or phrase.head in SETTINGS:
        return False
    if before is not None and (before.text in STATES or before.word.tag in ("VVN", "VVD", "VVG")):
        return False
    words = [*phrase.name, *(word for attribute in phrase.attributes for word in attribute)]
    return any(word.tag == "NP0" or is_unknown(word.text) for word in words)


def _names_end(chunks: list[Chunk], i: int) -> int:
    """Past a list of names that starts at `i`: "wyeth, klimt and rembrandt"."""
    i += 1
    while i + 1 < len(chunks) and chunks[i].kind in ("and", "comma") and chunks[i + 1].kind == "np":
        phrase = chunks[i + 1].phrase
        is_named = phrase.name[-1].tag == "NP0" or (is_unknown(phrase.head) and not is_agent(phrase.head))
        if phrase.determiner or phrase.number or not is_named or is_plural(phrase.head):
            break
        i += 2
    return i
