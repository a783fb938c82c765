"""Clean text + a list of words that the artist typed -> scene. The list says what counts, word for word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from . import commas
from .extract import attribute_of, extract, phrase_of, spell
from .lexicon import singular
from .limits import MOST_THINGS, MOST_WORDS
from .phrases import noun_phrase
from .scene import Scene, SceneObject, SceneRelation, Span, WordNotFound
from .split import split_words
from .syntax import parse_weights
from .tagger import sentences
from .unfound import explain
from .word import Word


def find_words(text: str, words: str) -> Scene:
    """The objects named in `words` (separated by commas, semicolons or lines), in that order, found in the clean text.

    An entry may be a phrase: "black car" is the object "car" with the attribute "black"; a single word gets no
    attributes. Articles and plurals need not be the prompt's. An entry listed twice takes two successive occurrences.
    Relations are those that the prompt states between the listed objects.

    Raises `WordNotFound` if an entry is not in the text, or listed more often than the text has it, or if there are
    more entries than can be used.
    """
    entries = commas.entries(parse_weights(words).text)
    if len(entries) > MOST_THINGS:
        raise WordNotFound(f"{len(entries)} objects are listed: at most {MOST_THINGS} can be used.")
    tagged = _tagged(text)
    by_grammar = extract(text)
    taken: set[int] = set()  # indices of words that some entry has claimed as its name
    found: dict[int, SceneObject] = {}
    # Longer phrases choose first: in "a black cat and a cat", the entry "cat" must leave the black one to "black cat".
    for number in sorted(range(len(entries)), key=lambda i: -len(entries[i].split())):
        match = _find(text, tagged, entries[number], taken, by_grammar)
        if match is None:
            raise WordNotFound(explain(entries[number], _tagged(entries[number]), entries, tagged))
        found[number] = match
    objects = tuple(found[number] for number in range(len(entries)))
    return Scene(text, objects, _relations(by_grammar, objects), by_grammar.notes[:1] if not objects else ())


def _tagged(text: str) -> list[Word]:
    return [word for sentence in sentences(split_words(text)[:MOST_WORDS]) for word in sentence]


def _find(text: str, tagged: list[Word], entry: str, taken: set[int], by_grammar: Scene) -> SceneObject | None:
    """The object that an entry means: its very words, else without its article, each also in another number."""
    typed = _tagged(entry)
    start = next((i for i, word in enumerate(typed) if not word.is_determiner), 0)
    spelled = [word.text for word in typed]
    for wanted in dict.fromkeys((tuple(spelled), tuple(spelled[start:]))):
        for same in (_is_equal, _is_equal_in_singular):
            for i in _occurrences(tagged, wanted, same):
                match = _object(text, tagged[i : i + len(wanted)])
                claimed = {j for j in range(i, i + len(wanted)) if tagged[j].span in match.spans}
                if not claimed & taken:
                    taken |= claimed
                    return match
    described = _described_elsewhere(spelled[start:], tagged, taken, by_grammar)
    return described or _inside_a_word(text, entry, tagged, taken)


def _is_equal(a: str, b: str) -> bool:
    return a == b


def _is_equal_in_singular(a: str, b: str) -> bool:
    return singular(a) == singular(b)


def _occurrences(tagged: list[Word], wanted: tuple[str, ...], same: Callable[[str, str], bool]) -> Iterator[int]:
    """Where the wanted words stand together."""
    for i in range(len(tagged) - len(wanted) + 1) if wanted else ():
        if all(same(tagged[i + k].text, want) for k, want in enumerate(wanted)):
            yield i


def _object(text: str, words: list[Word]) -> SceneObject:
    """Splits the words of an entry into name and attributes."""
    owner = max((i + 1 for i, word in enumerate(words[:-1]) if word.text == "'s"), default=0)
    start = next((i for i in range(owner, len(words)) if not words[i].is_determiner), owner)
    phrase = noun_phrase(words, start)
    embedding = next((word for word in reversed(words) if word.tag == "GAP"), None)
    if embedding is not None:
        name, attributes = [embedding], [[w] for w in words if w.is_noun or w.is_adjective]
    elif phrase is None:  # no noun among them ("standing", other languages): the last word is the name
        name, attributes = words[-1:], [[word] for word in words[start:-1]]
    else:
        after = [[w] for w in words[phrase.end :] if w.is_noun or w.is_adjective]
        name, attributes = phrase.name, phrase.attributes + after
    spans = tuple(word.span for word in name)
    return SceneObject(
        spell(text, name),
        phrase_of(text, name, attributes),
        spans,
        tuple(attribute_of(text, words) for words in attributes),
        (spans,),
    )


def _described_elsewhere(
    wanted: list[str], tagged: list[Word], taken: set[int], by_grammar: Scene
) -> SceneObject | None:
    """ "black car" where the prompt says "a shiny black old car" or "the car is black"."""
    for thing in by_grammar.objects:
        name = [singular(word) for word in thing.name.lower().split()]
        rest = wanted[: -len(name)]
        attributes = {attribute.text.lower(): attribute for attribute in thing.attributes}
        claimed = {i for i, word in enumerate(tagged) if word.span in thing.spans}
        is_named = [singular(word) for word in wanted[-len(name) :]] == name
        if rest and is_named and not claimed & taken and all(word in attributes for word in rest):
            taken |= claimed
            return SceneObject(
                thing.name,
                " ".join([*rest, thing.name]),
                thing.spans,
                tuple(attributes[word] for word in rest),
                (thing.spans,),
            )
    return None


def _inside_a_word(text: str, entry: str, tagged: list[Word], taken: set[int]) -> SceneObject | None:
    """Scripts that write no spaces: the entry is found anywhere. Occurrences are numbered past the words' indices."""
    if not any(character.isalpha() and ord(character) > 0x24F for character in entry):
        return None
    for occurrence in re.finditer(re.escape(entry), text, re.IGNORECASE):
        key = len(tagged) + occurrence.start()
        if key not in taken:
            taken.add(key)
            return SceneObject(
                occurrence.group(), occurrence.group(), (occurrence.span(),), (), ((occurrence.span(),),)
            )
    return None


def _relations(by_grammar: Scene, objects: tuple[SceneObject, ...]) -> tuple[SceneRelation, ...]:
    listed: dict[int, int] = {}
    for index, thing in enumerate(by_grammar.objects):
        heads: set[Span] = {mention[-1] for mention in thing.mentions}
        for number, match in enumerate(objects):
            if match.spans[-1] in heads:
                listed.setdefault(index, number)
    return tuple(
        SceneRelation(listed[r.subject], r.predicate, listed[r.object])
        for r in by_grammar.relations
        if r.subject in listed and r.object in listed
    )
