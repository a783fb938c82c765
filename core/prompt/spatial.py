"""Expressions of place: "to the left of", "on its right", "beneath", "at their feet"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .lexicon import SIDES
from .word import Word


@dataclass(frozen=True)
class Place:
    """An expression of place, `length` words long.

    `form` says where the thing that the place is measured from stands: "open" after it ("left of ..."), "owned" in
    it ("to their left", `owner` = "their"), "bare" nowhere ("to the left"). `sides` are those of the picture that a
    bare place may mean: "left", "right", "top", "bottom", "middle".
    """

    predicate: str
    form: str
    length: int
    owner: str = ""
    sides: tuple[str, ...] = ()


_NEAR = "slightly|directly|just|immediately|right|far|further|farther|somewhat|straight|off|over|partially|up|down"
_NEAR_WORDS = rf"(?:(?:{_NEAR}) )*"
_BY = r"(?:to|on|at|from|in|by|toward|towards|along)"
_AT = r"(?:to|on|at|from|in|by|toward|towards|along|over|under|beneath)"
_SIDE = r"(?P<side>left|right)(?:-hand)?(?: hand)?(?: side| edge| end| corner| half| part)?"
_GRIP = r"(?:hand|hands|arms|mouth|beak|jaws|teeth|claws|talons|trunk|tentacles|paws|lap)"
_LEVEL = r"(?P<level>top|bottom|upper|lower)"
_OWNER = r"(?P<owner>its|their|his|her|my|your)"
_BODY = r"(?: (?:hand|arm|shoulder|paw|foot|leg|wrist|elbow|hip|wing|trunk|claw))?"

# In order: the first that matches wins, so longer expressions come first.
_RULES: list[tuple[re.Pattern[str], str, str]] = [
    (re.compile(pattern), predicate, form)
    for pattern, predicate, form in [
        (rf"{_NEAR_WORDS}(?:{_BY} )?(?:the |its )?(?:immediate |far |extreme )?{_SIDE} of\b", "{side} of", "open"),
        (rf"{_NEAR_WORDS}{_AT} {_OWNER} (?:own |immediate |far )?{_SIDE}{_BODY}", "{side} of", "owned"),
        (rf"with {_OWNER} (?:own )?(?P<side>left|right) hand\b", "{side} of", "owned"),
        (rf"(?:{_BY} )?(?:the |its )?{_LEVEL}[ -]{_SIDE}(?! (?:of|to)\b)", "{side} of", "bare"),
        (rf"{_NEAR_WORDS}{_BY} the (?:immediate |far |extreme )?{_SIDE}\b", "{side} of", "bare"),
        (rf"{_NEAR_WORDS}(?:at|by|near) {_OWNER} (?:feet|foot|base|paws)", "below", "owned"),
        (r"(?:at|by|near) the (?:feet|foot|base|bottom) of\b", "below", "open"),
        (rf"(?:on|upon|atop|over|above) {_OWNER} (?:head|back|shoulders|shoulder)\b", "above", "owned"),
        (rf"(?:on|upon) {_OWNER} (?:lap|top)\b", "on", "owned"),
        (rf"{_BY} {_OWNER} side\b", "next to", "owned"),
        (rf"in {_OWNER} {_GRIP}\b", "held by", "owned"),
        (rf"{_NEAR_WORDS}(?:on|at) (?:the )?(?:very )?top of\b", "on", "open"),
        (rf"{_NEAR_WORDS}at the top(?: of the (?:picture|image|frame))?\b", "above", "bare"),
        (rf"{_NEAR_WORDS}(?:on|at) (?:the )?top\b", "on", "bare"),
        (rf"{_NEAR_WORDS}(?:on|at) (?:the )?bottom\b", "below", "bare"),
        (r"in the (?:middle|center|centre)(?! of (?!the (?:picture|image|frame|scene))\b)", "between", "bare"),
        (r"in the (?:middle|center|centre|midst|heart|corner) of\b", "in", "open"),
        (rf"{_NEAR_WORDS}in (?:the )?front of\b", "in front of", "open"),
        (r"in (?:the )?back of\b", "behind", "open"),
        (rf"in {_OWNER} front\b", "in front of", "owned"),
        (r"in front\b", "in front of", "bare"),
        (r"higher (?:up )?than\b", "above", "open"),
        (r"(?:lower|lower down) than\b", "below", "open"),
        (r"higher\b", "above", "bare"),
        (r"lower\b", "below", "bare"),
        (rf"{_NEAR_WORDS}(?:above|over)\b", "above", "open"),
        (rf"{_NEAR_WORDS}(?:below|beneath|under|underneath)\b", "below", "open"),
        (r"overhead\b", "above", "bare"),
        (r"(?:next|close|adjacent|near) to\b", "next to", "open"),
        (r"(?:beside|alongside|near|by|against|nearby to)\b", "next to", "open"),
        (rf"{_NEAR_WORDS}behind\b", "behind", "open"),
        (r"(?:in between|between|amid|amidst|among|amongst)\b", "between", "open"),
        (r"(?:inside of|inside|within|in)\b", "in", "open"),
        (rf"{_NEAR_WORDS}(?:atop|upon|onto|on)\b", "on", "open"),
        (r"(?:around|surrounding)\b", "around", "open"),
        (r"outside(?: of)?\b", "outside", "open"),
        (r"(?:across from|opposite)\b", "opposite", "open"),
    ]
]  # fmt: skip
_LONGEST = 9
# A quick test before the patterns are tried.
_FIRST_WORDS = frozenset(
    (
        "slightly directly just immediately right left far further farther somewhat straight off over partially up "
        "down to on at from in by toward towards along with upon atop above higher lower below beneath under "
        "underneath overhead next close adjacent near beside alongside against nearby behind between amid amidst "
        "among amongst inside within into onto around surrounding outside across opposite the "
    ).split()
)


_SIDES_OF = {**SIDES, "center": "middle", "centre": "middle", "middle": "middle"}
_PREDICATE_OF = {"left": "left of", "right": "right of", "top": "above", "bottom": "below", "middle": "between"}
_LABEL_WORDS = frozenset({*_SIDES_OF, "side", "half", "corner", "part"})


def place_at(words: list[Word], i: int) -> Place | None:
    """The expression of place that starts at word `i`, if one does."""
    label = _label_at(words, i)
    if label is not None:
        return label
    if words[i].text not in _FIRST_WORDS:
        return None
    window = " ".join(word.text for word in words[i : i + _LONGEST])
    for pattern, predicate, form in _RULES:
        found = pattern.match(window)
        if found:
            groups = found.groupdict()
            length = found.group().count(" ") + 1
            after = words[i + length] if i + length < len(words) else None
            if form == "bare" and after and (after.is_noun or after.is_adjective):
                return None  # "on the left shoe", "a lower shelf"
            predicate = predicate.format(**groups)
            sides = _sides(predicate, groups.get("level")) if form == "bare" else ()
            return Place(predicate, form, length, groups.get("owner") or "", sides)
    return None


def _sides(predicate: str, level: str | None) -> tuple[str, ...]:
    """The sides of the picture that a bare place names: "top left" names two."""
    sides = [side for side, said in _PREDICATE_OF.items() if said == predicate]
    if level:
        sides.append(_SIDES_OF[level])
    return tuple(sides) or (("middle",) if predicate == "between" else ("top",) if predicate == "on" else ())


def _label_at(words: list[Word], i: int) -> Place | None:
    """A side by itself: "left: a cat", or after what stands there, "a cat, left" or "a cat (left)"."""
    end = i
    while end < len(words) and words[end].text in _LABEL_WORDS and end - i < 3:
        end += 1
    sides = tuple(_SIDES_OF[word.text] for word in words[i:end] if word.text in _SIDES_OF)
    if not sides or words[i].text not in _SIDES_OF:
        return None
    before = words[i - 1] if i else None
    after = words[end].text if end < len(words) else ","
    opens = before is None or before.text in (",", "(", "[", "and", "the")
    in_brackets = before is not None and before.text in ("[", "(") and after in ("]", ")")
    is_label = opens and (after in (":", "a", "an") or in_brackets)
    trails = (
        before is not None
        and (before.is_noun or before.text in (",", "(", "["))
        and after in (",", ")", "]", "and")
        and sides[-1] in ("left", "right")
    )
    if not (is_label or trails):
        return None
    return Place(_PREDICATE_OF[sides[-1]], "bare", end - i, sides=sides)
