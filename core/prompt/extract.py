"""Clean text -> scene, by the grammar alone."""

from __future__ import annotations

from .languages import is_foreign
from .limits import MOST_RELATIONS, MOST_THINGS, MOST_WORDS
from .reader import Reader
from .scene import Scene, SceneAttribute, SceneObject, SceneRelation
from .split import split_words
from .syntax import Prompt
from .tagger import sentences
from .things import Thing, Things
from .word import Word

_FOREIGN = "The prompt, or a part of it, is not in English: nothing was read from that. List its objects yourself."
_LONG = f"The prompt is longer than {MOST_WORDS} words and marks: only the first {MOST_WORDS} were read for objects."
_FULL = f"The prompt names more than {MOST_THINGS} objects: only the first {MOST_THINGS} are used."
_TANGLED = (
    f"The prompt says more than {MOST_RELATIONS} times where things stand: only the first {MOST_RELATIONS} count."
)


def extract(prompt: str | Prompt) -> Scene:
    """The objects that a prompt describes, their attributes and relations.

    `prompt` is the result of `parse_weights`, or a clean text alone; with weights, words of weight 0 and less name
    nothing. Never raises; a text without anything to draw gives a scene without objects.
    """
    text, silent = (prompt, []) if isinstance(prompt, str) else (prompt.text, prompt.silent)
    notes: list[str] = []
    reader = Reader()
    words = split_words(text, silent)
    if len(words) > MOST_WORDS:
        notes.append(_LONG)
    for sentence in sentences(words[:MOST_WORDS]):
        if is_foreign(sentence):
            notes = list(dict.fromkeys([*notes, _FOREIGN]))
        else:
            reader.read(sentence)
    found = reader.finish()
    if found.is_full:
        notes.append(_FULL)
    if found.relates_too_much:
        notes.append(_TANGLED)
    return _scene(text, found, notes)


def _scene(text: str, found: Things, notes: list[str]) -> Scene:
    things = found.all
    order = sorted(range(len(things)), key=lambda i: things[i].phrase.name[0].start)
    place = {old: new for new, old in enumerate(order)}
    return Scene(
        text,
        tuple(_object(text, things[i]) for i in order),
        tuple(SceneRelation(place[s], predicate, place[o]) for s, predicate, o in found.relations),
        tuple(notes),
    )


def _object(text: str, thing: Thing) -> SceneObject:
    attributes = tuple(attribute_of(text, words) for words in thing.attributes)
    return SceneObject(
        spell(text, thing.phrase.name),
        phrase_of(text, thing.phrase.name, thing.attributes),
        tuple(word.span for word in thing.phrase.name),
        attributes,
        tuple(tuple(word.span for word in mention) for mention in thing.mentions),
    )


def attribute_of(text: str, words: list[Word]) -> SceneAttribute:
    return SceneAttribute(spell(text, words), tuple(word.span for word in words))


def spell(text: str, words: list[Word]) -> str:
    """The words as the artist typed them."""
    return " ".join(text[word.start : word.end] for word in words)


def phrase_of(text: str, name: list[Word], attributes: list[list[Word]]) -> str:
    """The name with its attributes, in the prompt's own order where they stand together ("cup of coffee")."""
    before = [word for attribute in attributes for word in attribute if word.start < name[0].start]
    after = [word for attribute in attributes for word in attribute if word.start > name[0].start]
    if after and text[name[-1].end : after[0].start].strip() == "of":
        name, after = [*name, *after], []
        return " ".join([*(spell(text, [word]) for word in before), text[name[0].start : name[-1].end]])
    # "the car is black": said after the name, but a black car all the same
    return " ".join(spell(text, [word]) for word in [*before, *after, *name])
