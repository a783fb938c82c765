"""Prompts whose meaning stands beside them, and whether a scene has all of it.

A line is `prompt || objects[attributes] || relations || not an object || not a relation`; the last parts may be empty,
`# …` names the kind of the prompts below it.

- An object is read right if one found object has its name (case, plural and the number of `1girl` aside), all of its
  attributes' words and no colour besides; no further object may have the same name.
- A relation is read right if it was found between objects of these names. "left of" and "right of" say the same with
  subject and object changed round, and what lies "on" something is also "above" it and "at" it.
- What is listed as no object must be neither the name of a found object, nor words within one, nor its whole phrase.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_OBJECT = re.compile(r"(?P<name>[^\[\],]+)(?:\[(?P<attributes>[^\]]*)\])?")
_TURNED = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_TURNED |= {"in front of": "behind", "behind": "in front of", "next to": "next to"}
_ALSO = {"on": ("above", "at"), "below": ("under",), "with": ("having",)}


@dataclass(frozen=True)
class Stated:
    """A prompt with what it names, how that relates, and what must not be read into it."""

    sentence: str
    objects: tuple[tuple[str, tuple[str, ...]], ...]  # (name, attributes)
    relations: tuple[str, ...] = ()
    no_objects: tuple[str, ...] = ()
    no_relations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What of a stated prompt a scene has: indices of listed objects found and bound, relations, what is wrong."""

    matched: int
    bound: int
    relations: int
    faults: tuple[str, ...]


def read_stated(line: str) -> Stated:
    """Reads a line of the format above."""
    parts = [part.strip() for part in line.split("||")] + [""] * 4
    objects = tuple(
        (found["name"].strip(), tuple(_listed(found["attributes"] or "", ",")))
        for found in _OBJECT.finditer(parts[1])
        if found["name"].strip()
    )
    return Stated(
        parts[0], objects, tuple(_listed(parts[2], ";")), tuple(_listed(parts[3], ",")), tuple(_listed(parts[4], ";"))
    )


def _listed(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def judge(stated: Stated, scene, singular: Callable[[str], str], colours: frozenset[str]) -> Verdict:
    """Compares a scene with what is stated. `singular` brings a word to its singular."""

    def words_of(text: str) -> tuple[str, ...]:
        return tuple(singular(word) for word in re.sub(r"[_\s]+", " ", re.sub(r"^\d+", "", text.lower())).split())

    names = [words_of(thing.name) for thing in scene.objects]
    looks = [{word for a in thing.attributes for word in a.text.lower().split()} for thing in scene.objects]
    faults: list[str] = []

    free = list(range(len(names)))
    matched = bound = 0
    for name, attributes in sorted(stated.objects, key=lambda listed: -len(listed[1])):
        wanted = {word for attribute in attributes for word in attribute.lower().split()}
        same = [i for i in free if names[i] == words_of(name)]
        right = [i for i in same if wanted <= looks[i] and not (looks[i] - wanted) & colours]
        matched, bound = matched + bool(same), bound + bool(right)
        if same:
            free.remove((right or same)[0])
        if not right:
            faults.append(f"{name}: {'other attributes' if same else 'not found'}")
    listed_names = {words_of(name) for name, _ in stated.objects}
    faults += [f"{scene.objects[i].phrase}: once too often" for i in free if names[i] in listed_names]

    phrases = [words_of(thing.phrase) for thing in scene.objects]
    for text in stated.no_objects:
        no = words_of(text)
        if any(no == p or _within(no, n) and n not in listed_names for n, p in zip(names, phrases, strict=True)):
            faults.append(f"{text}: is no object")

    said = {(*names[r.subject], r.predicate, *names[r.object]) for r in scene.relations}
    said = {" ".join(words) for words in said}
    implied = said | {" ".join(words) for words in _implied(scene.relations, names)}
    relations = 0
    for text in stated.relations:
        relations += _plain(text, singular) in {_plain(found, singular) for found in implied}
        if _plain(text, singular) not in {_plain(found, singular) for found in implied}:
            faults.append(f"{text}: not found")
    faults += [
        f"{text}: is no relation"
        for text in stated.no_relations
        if _plain(text, singular) in {_plain(found, singular) for found in said}
    ]
    return Verdict(matched, bound, relations, tuple(faults))


def _implied(relations, names: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """The relations in other words."""
    for r in relations:
        for predicate in (*_ALSO.get(r.predicate, ()),):
            yield (*names[r.subject], predicate, *names[r.object])
        if r.predicate in _TURNED:
            yield (*names[r.object], _TURNED[r.predicate], *names[r.subject])
        if r.predicate == "on":
            yield (*names[r.object], "below", *names[r.subject])


def _plain(text: str, singular: Callable[[str], str]) -> str:
    return " ".join(singular(re.sub(r"^\d+", "", word)) for word in text.lower().split())


def _within(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    return any(outer[i : i + len(inner)] == inner for i in range(len(outer) - len(inner) + 1))
