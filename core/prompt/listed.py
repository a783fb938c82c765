"""Clean text + a list of words that the artist typed -> scene. The list says what counts, word for word."""

from __future__ import annotations

import re
from collections import Counter

from .extract import attribute_of, extract, phrase_of, spell
from .lexicon import singular
from .phrases import noun_phrase
from .scene import Scene, SceneObject, SceneRelation, Span, WordNotFound
from .syntax import parse_weights
from .tagger import tagged_sentences
from .word import Word

# Tags of words that hold a sentence together; an error message doesn't offer them.
_FUNCTION_TAGS = (
    "AT0",
    "CJC",
    "CJS",
    "CJT",
    "PRP",
    "PRF",
    "PNP",
    "DPS",
    "DT0",
    "DTQ",
    "TO0",
    "PUN",
    "VBZ",
    "VBD",
    "VBB",
    "POS",
    "EX0",
    "",
)


def find_words(text: str, words: str) -> Scene:
    """The objects named in `words` (separated by commas or lines), in that order, found in the clean text.

    An entry may be a phrase: "black car" is the object "car" with the attribute "black"; a single word gets no
    attributes. An entry listed twice takes two successive occurrences. Relations are those that the prompt states
    between the listed objects.

    Raises `WordNotFound` if an entry is not in the text, or listed more often than the text has it.
    """
    entries = [entry for entry in (part.strip() for part in re.split(r"[,\n]", parse_weights(words).text)) if entry]
    tagged = [word for sentence in tagged_sentences(text) for word in sentence]
    by_grammar = extract(text)
    taken: set[int] = set()  # indices of words that some entry has claimed as its name
    found: dict[int, SceneObject] = {}
    # Longer phrases choose first: in "a black cat and a cat", the entry "cat" must leave the black one to "black cat".
    for number in sorted(range(len(entries)), key=lambda i: -len(entries[i].split())):
        match = _find(text, tagged, entries[number], taken, by_grammar)
        if match is None:
            raise WordNotFound(_explain(entries[number], entries, tagged))
        found[number] = match
    objects = tuple(found[number] for number in range(len(entries)))
    return Scene(text, objects, _relations(by_grammar, objects))


def _find(text: str, tagged: list[Word], entry: str, taken: set[int], by_grammar: Scene) -> SceneObject | None:
    wanted = [word.text for sentence in tagged_sentences(entry) for word in sentence]
    for same in (lambda a, b: a == b, lambda a, b: singular(a) == singular(b)):
        for i in range(len(tagged) - len(wanted) + 1):
            if wanted and all(same(word.text, want) for word, want in zip(tagged[i:], wanted, strict=False)):
                match = _object(text, tagged[i : i + len(wanted)])
                claimed = {j for j in range(i, i + len(wanted)) if tagged[j].span in match.spans}
                if not claimed & taken:
                    taken |= claimed
                    return match
    return _described_elsewhere(wanted, tagged, taken, by_grammar) or _inside_a_word(text, entry, tagged, taken)


def _object(text: str, words: list[Word]) -> SceneObject:
    """Splits the words of an entry into name and attributes."""
    start = next((i for i, word in enumerate(words) if not word.is_determiner), 0)
    phrase = noun_phrase(words, start)
    if phrase is None:  # no noun among them ("standing", other languages): the last word is the name
        name, attributes = words[-1:], [[word] for word in words[start:-1]]
    else:
        name, attributes = (
            phrase.name,
            phrase.attributes + [[w] for w in words[phrase.end :] if w.is_noun or w.is_adjective],
        )
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
        name = thing.name.lower().split()
        rest = wanted[: -len(name)]
        attributes = {attribute.text.lower(): attribute for attribute in thing.attributes}
        claimed = {i for i, word in enumerate(tagged) if word.span in thing.spans}
        if rest and wanted[-len(name) :] == name and not claimed & taken and all(word in attributes for word in rest):
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


def _explain(entry: str, entries: list[str], tagged: list[Word]) -> str:
    words = [word.text for word in tagged]
    offered = ", ".join(dict.fromkeys(word.text for word in tagged if word.tag not in _FUNCTION_TAGS)) or "no words"
    missing = [
        word.text
        for sentence in tagged_sentences(entry)
        for word in sentence
        if singular(word.text) not in map(singular, words)
    ]
    times = Counter(other.lower() for other in entries)[entry.lower()]
    if missing:
        named = ", ".join(f'"{word}"' for word in missing)
        source = "" if missing == [entry.lower()] else f' (of "{entry}")'
        says = f"words {named}{source} are" if len(missing) > 1 else f"word {named}{source} is"
        problem = f"The {says} not in the prompt."
    elif times > 1:
        problem = f'"{entry}" is listed {times} times, more often than it is in the prompt.'
    else:
        problem = f'The words of "{entry}" are in the prompt, but not together, or another entry has them already.'
    return f"{problem} The prompt has: {offered}."
