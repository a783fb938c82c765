"""What a prompt describes, as spans of characters in its clean text (before any tokenizer)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import InPlainWords

Span = tuple[int, int]  # characters [start, end) of the clean text


class WordNotFound(InPlainWords):
    """A word that the artist listed is not in the prompt."""


@dataclass(frozen=True)
class SceneAttribute:
    """A word (or "dark blue") that describes an object."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class SceneObject:
    """One thing to be drawn: its name's words, the phrase it stands in, what describes it.

    `spans` are those of the name's words at their first mention; `mentions` those of all mentions ("the car ... it is
    red, the car" has two), a tuple of word spans each.
    """

    name: str
    phrase: str
    spans: tuple[Span, ...]
    attributes: tuple[SceneAttribute, ...] = ()
    mentions: tuple[tuple[Span, ...], ...] = ()


@dataclass(frozen=True)
class SceneRelation:
    """`subject` and `object` are indices into `Scene.objects`."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True)
class Scene:
    """The objects of a prompt in order of mention, and how they relate. `text` is the clean text.

    `notes` tell the artist what of the prompt was not read, in whole sentences.
    """

    text: str
    objects: tuple[SceneObject, ...] = ()
    relations: tuple[SceneRelation, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
