"""Prompts that a picture should not fit: the artist's, each time with another object in the place of one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..prompt.syntax import parse_weights
from ..prompt.targets import Target, Targets

# What stands before an object's words and goes with them.
_BEFORE = re.compile(r"(?:\b(?:an?|the|one|some|two|three|four|five|his|her|its|their|my|another)\s+)?$", re.IGNORECASE)
_JOINTS = "and|with|or|next to|beside"
# What is left of a list from which something was taken.
_MENDED = (
    (re.compile(r"\s{2,}"), " "),
    (re.compile(r"\s+([,;.])"), r"\1"),
    (re.compile(r"\b(and|with|or|of|between)\s+(?:and|with|or)\b"), r"\1"),
    (re.compile(r"\s+(?:and|with|or)(?=[,;.])"), ""),
    (re.compile(r"([,;])(?:\s*(?:[,;]|(?:and|with|or)(?=[,;])))+"), r"\1"),
    (re.compile(rf"^(?:\s*(?:[,;]|(?:{_JOINTS})\b))+\s*"), ""),
    (re.compile(rf"(?:\s*[,;]|\s+(?:{_JOINTS}))+\s*(?=\.?$)"), ""),
)
_VOWELS = frozenset("aeiou")


@dataclass(frozen=True)
class Contrast:
    """The prompt `text` that does not ask for the object `target`, by its index among the targets."""

    target: int
    text: str


def whole(targets: Targets) -> str:
    """The prompt itself as its contrasts are made from it: without brackets and weights."""
    return parse_weights(targets.prompt).text


def contrasts(targets: Targets) -> tuple[Contrast, ...]:
    """Of "a black car and a white clock", for the car: "a white clock and a white clock" and "a white car and a white
    clock"; of a single object, or of one of several like it, the prompt without it.

    Models that leave an object out often draw another one twice, and those that mix attributes up draw the object in
    another's. An object whose words do not stand together in the prompt has no contrast.
    """
    text, found = whole(targets), []
    for t, target in enumerate(targets.objects):
        span = _span(text, targets, t)
        if span is None:
            continue
        others = [*targets.objects[t + 1 :], *targets.objects[:t]]
        unlike = [other.phrase for other in others if other.phrase.lower() != target.phrase.lower()]
        found.append(Contrast(t, _put(text, span, unlike[0]) if unlike else _without(text, span)))
        described = _as_another(text[slice(*span)], target, others)
        found += [Contrast(t, _put(text, span, described))] if described else []
    return tuple(one for one in dict.fromkeys(found) if one.text != text)


def _span(text: str, targets: Targets, t: int) -> tuple[int, int] | None:
    """Where an object's words stand; the second of two equal phrases stands at their second place."""
    for words in (lambda target: target.phrase, lambda target: target.name):
        own = words(targets.objects[t])
        nth = [words(target) for target in targets.objects[:t]].count(own)
        pattern = r"\s+".join(map(re.escape, own.split()))
        places = list(re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)) if pattern else []
        if len(places) > nth:
            return places[nth].span()
    return None


def _without(text: str, span: tuple[int, int]) -> str:
    left = text[: _BEFORE.search(text[: span[0]]).start()] + " " + text[span[1] :]
    for pattern, put in _MENDED:
        left = pattern.sub(put, left)
    return left.strip()


def _put(text: str, span: tuple[int, int], words: str) -> str:
    """The text with other words in a place, after a or an as they need it."""
    before, article = text[: span[0]], re.search(r"\b(a)n?(\s+)$", text[: span[0]], re.IGNORECASE)
    if article is not None:
        n = "n" if words[:1].lower() in _VOWELS else ""
        before = f"{before[: article.start()]}{article[1]}{n}{article[2]}"
    return before + words + text[span[1] :]


def _as_another(phrase: str, target: Target, others: list[Target]) -> str | None:
    """An object's words with the first attribute of another in the place of its own: "white car"."""
    own = {attribute.text.lower() for attribute in target.attributes}
    theirs = [a.text for other in others for a in other.attributes if a.text.lower() not in own]
    if not own or not theirs:
        return None
    pattern = re.compile(rf"(?<!\w){re.escape(target.attributes[0].text)}(?!\w)", re.IGNORECASE)
    return pattern.sub(lambda _: theirs[0], phrase, count=1) if pattern.search(phrase) else None
