"""Phrases that make one: "a photo of a cat", "a pair of skis", "a cup of coffee", "the cat's tail"."""

from __future__ import annotations

from .chunks import Chunk
from .lexicon import COLOURS, CONTAINERS, DEPICTING, DEPICTIONS, MEDIA, MEDIA_OF, PARTITIVES, is_plural
from .phrases import Phrase
from .spatial import Place

# "A large flock of sheep" are no large sheep, but "a brown pair of skis" brown skis.
_LIKE_WHAT_THEY_COUNT = ("pair", "piece", "slice", "set", "stalk")


def joined(chunks: list[Chunk]) -> list[Chunk]:
    """The chunks with phrases that belong together made one."""
    result: list[Chunk] = []
    for chunk in chunks:
        result.append(chunk)
        if chunk.kind == "np":
            _join_owned(result)
            _join_of(result)
    return result


def _join_owned(result: list[Chunk]) -> None:
    """ "the cat 's tail": a side of the cat, or a thing of the cat's."""
    if len(result) < 3 or result[-2].kind != "owner" or result[-3].kind != "np":
        return
    owned = result[-1]
    owned.phrase.possessed = True
    owned.role = "owned"
    del result[-2]


def side_of_owner(chunks: list[Chunk]) -> list[Chunk]:
    """ "on the cat's right side": a place, measured from the cat."""
    result: list[Chunk] = []
    i = 0
    while i < len(chunks):
        chunk = chunks[i]
        following = chunks[i + 1] if i + 1 < len(chunks) else None
        opens = len(result) > 1 and result[-1].kind == "np" and result[-2].text in ("to", "on", "at")
        if chunk.kind == "owner" and opens and following is not None:
            words = [following.word, *(following.phrase.name if following.phrase else ())]
            side = next((word.text for word in words if word.text in ("left", "right")), "")
            if side:
                result[-2] = Chunk("place", result[-2].word, place=Place(f"{side} of", "open", 1))
                i += 2
                while i < len(chunks) and chunks[i].text in ("side", "hand"):
                    i += 1
                continue
        result.append(chunk)
        i += 1
    return result


def _join_of(result: list[Chunk]) -> None:
    if len(result) < 3 or result[-3].kind != "np":
        return
    outer, inner = result[-3], result[-1]
    phrase = None
    if result[-2].kind == "of":
        phrase = _counted(outer.phrase, inner.phrase, _is_picture(result)) or _contained(outer.phrase, inner.phrase)
    elif result[-2].text in DEPICTING and outer.phrase.head in MEDIA | MEDIA_OF:
        phrase = _counted(outer.phrase, inner.phrase, True)
    if phrase is not None:
        if outer.role == "owned" and outer.phrase.head in MEDIA | MEDIA_OF and len(result) > 3:
            outer.role = ""
            del result[-4]  # "children's illustration of a mouse"
        result[-3:] = [Chunk("np", outer.word, phrase=phrase, role=outer.role)]


def _is_picture(result: list[Chunk]) -> bool:
    """Whether the phrase before the last "of" is a kind of picture, so that what it is "of" is what is seen."""
    head = result[-3].phrase.head
    before = result[-4] if len(result) > 3 else None
    is_first = before is None or before.kind in ("comma", "other", "adjective", "gap") or len(result) <= 4
    names_media = any(word.text in MEDIA for word in result[-3].phrase.name)  # "comic panel"
    return head in MEDIA or ((head in MEDIA_OF or names_media) and is_first)


def _counted(outer: Phrase, inner: Phrase, is_picture: bool) -> Phrase | None:
    """What is counted or shown, in place of the count or the picture. No blurry cat is in "a blurry photo of a cat"."""
    if not is_picture and outer.head not in PARTITIVES:
        return None
    whole = outer.head in _LIKE_WHAT_THEY_COUNT
    attributes = [a for a in outer.attributes if not is_picture and (whole or a[-1].text in COLOURS)]
    return Phrase(
        outer.start,
        inner.end,
        inner.determiner or ("" if is_picture else outer.determiner),
        inner.name,
        attributes + inner.attributes,
        inner.number,
        outer.other or inner.other,
        inner.possessed,
        inner.side,
    )


def _contained(outer: Phrase, inner: Phrase) -> Phrase | None:
    """ "a cup of coffee", "a statue of a horse": what is in the container, or what is shown, describes it."""
    is_mass = outer.head in CONTAINERS and not inner.determiner and not inner.number and not is_plural(inner.head)
    if not is_mass and outer.head not in DEPICTIONS:
        return None
    return Phrase(
        outer.start,
        inner.end,
        outer.determiner,
        outer.name,
        [*outer.attributes, *inner.attributes, inner.name],
        outer.number,
        outer.other,
        outer.possessed,
        outer.side,
    )
