"""Forms of English words: singular and plural of nouns, the -ing form of verbs."""

from __future__ import annotations

from ...keeping import by_word
from .lists import words

_IRREGULAR = dict(
    pair.split(":")
    for pair in (
        "people:person men:man women:woman children:child mice:mouse geese:goose feet:foot teeth:tooth knives:knife "
        "wolves:wolf shelves:shelf leaves:leaf scarves:scarf wives:wife loaves:loaf halves:half calves:calf "
        "elves:elf hooves:hoof oxen:ox policemen:policeman firemen:fireman thieves:thief buses:bus gases:gas "
        "lenses:lens canvases:canvas potatoes:potato tomatoes:tomato heroes:hero mangoes:mango movies:movie "
        "cookies:cookie ties:tie pies:pie zombies:zombie hoodies:hoodie selfies:selfie horses:horse houses:house "
        "vases:vase roses:rose noses:nose nurses:nurse purses:purse cases:case bases:base axes:axe cheeses:cheese "
        "blouses:blouse fries:fries caches:cache "
    ).split()
)
_SAME_IN_BOTH = words(
    "scissors skis glasses sunglasses jeans pants trousers shorts binoculars headphones pliers tongs tweezers pajamas "
    "pyjamas goggles bus gas lens series species news canvas tennis"
)


@by_word
def singular(word: str) -> str:
    """The form that "cat" and "cats" share, to recognise a thing mentioned again."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _SAME_IN_BOTH or len(word) < 4 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zzes")):
        return word[:-2]
    return word[:-1]


def is_plural(word: str) -> bool:
    return singular(word) != word or word in _SAME_IN_BOTH - {"bus", "gas", "lens", "canvas", "tennis", "news"}


_PROGRESSIVE = {
    form: progressive
    for progressive, forms in {
        "holding": "held", "wearing": "wore worn", "riding": "rode ridden", "eating": "ate eaten",
        "drinking": "drank drunk", "throwing": "threw thrown", "catching": "caught", "drawing": "drew drawn",
        "driving": "drove driven", "flying": "flew flown flies", "building": "built", "feeding": "fed",
        "biting": "bit bitten", "carrying": "carries carried", "fighting": "fought", "giving": "gave given",
        "hiding": "hid hidden", "leading": "led", "making": "made", "reading": "read", "stealing": "stole stolen",
        "taking": "took taken", "writing": "wrote written", "pulling": "pulled", "kissing": "kisses kissed",
        "playing": "plays played", "lying": "lies lay lie", "tying": "ties tied tie", "sitting": "sat",
        "standing": "stood", "sewing": "sewn", "shooting": "shot", "bringing": "brought", "seeing": "saw seen",
    }.items()
    for form in forms.split()
}  # fmt: skip
_NO_FINAL_E = ("ee", "oe", "ye")


@by_word
def progressive(verb: str) -> str:
    """The -ing form of a verb's form: "kisses", "kissed", "kiss" -> "kissing"."""
    if verb in _PROGRESSIVE:
        return _PROGRESSIVE[verb]
    if verb.endswith("ing"):
        return verb
    stem = verb
    if verb.endswith("ied") or verb.endswith("ies"):
        stem = verb[:-3] + "y"
    elif verb.endswith("ed"):
        stem = verb[:-2]
    elif verb.endswith(("ches", "shes", "sses", "xes", "zzes", "oes")):
        stem = verb[:-2]
    elif verb.endswith("s") and not verb.endswith("ss"):
        stem = verb[:-1]
    if stem.endswith("e") and not stem.endswith(_NO_FINAL_E):
        stem = stem[:-1]
    elif _doubles(stem):
        stem += stem[-1]
    return stem + "ing"


def _doubles(stem: str) -> bool:
    """Whether a short verb doubles its last letter: "hug" -> "hugging"."""
    if len(stem) < 3 or stem[-1] in "aeiouwxyhs" or stem[-2] not in "aeiou" or stem[-3] in "aeiou":
        return False
    return len(stem) <= 4
