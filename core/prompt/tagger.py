"""Words of a clean text with their part of speech (HanTa, with a few corrections for descriptions of pictures)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from ..keeping import by_word
from .corrections import corrected
from .lexicon import SAYING
from .split import split_words
from .word import Word

# Words that are tagged at once: a longer "sentence" is cut.
LONGEST_SENTENCE = 2000


def tagged_sentences(text: str) -> list[list[Word]]:
    """The tagged words of `text`, sentence by sentence."""
    return sentences(split_words(text))


def sentences(words: list[Word]) -> list[list[Word]]:
    """Tags words, sentence by sentence."""
    result: list[list[Word]] = []
    current: list[Word] = []
    for word in words:
        if word.tag != "STOP":
            current.append(word)
        if current and (word.tag == "STOP" or len(current) == LONGEST_SENTENCE):
            result.append(current)
            current = []
    if current:
        result.append(current)
    titled = _is_titled(words)
    return [tagged for sentence in result if (tagged := _tag(_unquoted(sentence), titled))]


def _is_titled(words: list[Word]) -> bool:
    """Whether capital letters mean nothing: "A Red Car On A Hill", "A BLACK CAR"."""
    spelled = [word for word in words if word.text.isalpha()]
    small = sum(not word.capital for word in spelled)
    return 2 * small < len(spelled) and len(spelled) > 3


def _unquoted(words: list[Word]) -> list[Word]:
    """Without quotation marks, and without what a sign in the picture says: it is writing, not a thing."""
    result: list[Word] = []
    is_open = is_writing = False
    for i, word in enumerate(words):
        if word.tag == "QUOTE":
            is_open = not is_open
            said = words[max(i - 2, 0) : i]
            is_writing = is_open and any(before.text in SAYING for before in said)
        elif not is_writing:
            result.append(word)
    return result


@cache
def _model():
    """HanTa's English model: 0.2 s to load, hence at the first prompt only."""
    from HanTa import HanoverTagger

    model = HanoverTagger.HanoverTagger("morphmodel_en.pgz")
    return model, frozenset(model.cache)


@by_word
def is_unknown(word: str) -> bool:
    """Whether a word is no common English word: a name, another language, a misspelling."""
    model, known = _model()
    if word in known:
        return all(model.int2tag.get(abs(tag), "") in ("NP0", "UNC") for tag, _ in model.cache[word][:1])
    return not any(word.removesuffix(ending) in known for ending in ("s", "es", "ed", "ing", "er"))


@by_word
def alone(word: str) -> str:
    """The tag that a word has by itself."""
    found = _model()[0].tag_word(word, cutoff=2)
    return found[0][0] if found else "UNC"


def _tag(words: list[Word], titled: bool) -> list[Word]:
    """Tags one sentence."""
    words = [word for word in words if word.tag != "LINK"]
    english = [word for word in words if not word.tag]
    # Lower case: a capitalised prompt ("A BLACK CAR") must read like any other.
    tags = iter([tag for _, _, tag in _model()[0].tag_sent([word.text for word in english])]) if english else iter(())
    tagged = [word if word.tag else replace(word, tag=next(tags)) for word in words]
    return corrected(tagged, titled)
