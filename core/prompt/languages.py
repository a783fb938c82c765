"""Sentences in other languages: nothing can be read from them, and it is better to say so."""

from __future__ import annotations

from .lexicon import ENGLISH, FOREIGN, IN_ENGLISH
from .word import Word


def is_foreign(words: list[Word]) -> bool:
    """Whether a sentence is in another language, judged by the little words that hold it together."""
    spelled = [word for word in words if word.text.isalpha()]
    if spelled and all(word.tag == "GAP" for word in spelled):
        return True  # another script
    foreign = [word.text for word in spelled if word.text in FOREIGN and word.text not in ENGLISH]
    if not foreign or all(word in IN_ENGLISH for word in foreign):
        return False
    english = sum(word.text in ENGLISH for word in spelled)
    return len(foreign) > english and 8 * len(foreign) >= len(spelled)
