"""What a prompt asks for, located on the text encoder's token axis.

Positions are absolute: columns of the encoded prompt as the network gets it, with the tensors that it appends to the
main one (mT5 behind CLIP) counted on. So 0 is the start token of CLIP's first chunk, and a CLIP prompt of two chunks
has positions 0..153. They index the token axis of every cross-attention map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ..copies import CopiesToItself

# Axis x runs to the right and y downwards, as in images.
_AXES = {"left of": ("x", -1), "right of": ("x", 1), "above": ("y", -1), "below": ("y", 1), "on": ("y", -1)}
# Each of these says what the other says with subject and object changed round.
_OPPOSITES = {"right of": "left of", "below": "above", "behind": "in front of"}
_SYMMETRIC = frozenset({"next to", "opposite"})

CROSS_ATTENTION = "cross_attn"  # the host's name for a conditioning's main tensor


@dataclass(frozen=True)
class Attribute:
    """A word or phrase that describes a target, such as "black", and the tokens that spell it."""

    text: str
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """An object that the picture must show.

    `name` is the object's words without its attributes ("tennis racket"), `phrase` the words as they stand in the
    prompt with the attributes ("black car"), `positions` the tokens of every piece of the name's words.
    """

    name: str
    phrase: str
    positions: tuple[int, ...]
    attributes: tuple[Attribute, ...] = ()

    @property
    def all_positions(self) -> tuple[int, ...]:
        """Tokens of the name and of its attributes, in the prompt's order."""
        return tuple(sorted({*self.positions, *(p for a in self.attributes for p in a.positions)}))


@dataclass(frozen=True)
class Relation:
    """`subject` stands in the relation `predicate` to `object`; both are indices into `Targets.objects`."""

    subject: int
    predicate: str
    object: int

    @property
    def axis(self) -> tuple[str, int] | None:
        """The image axis along which the subject lies from the object: ("x", -1) is left of, ("y", 1) is below.

        None for predicates that order nothing ("next to", "holding").
        """
        return _AXES.get(self.predicate)

    @property
    def normal(self) -> Relation:
        """The same fact in the form that equal facts share: "b right of a" becomes "a left of b"."""
        if self.predicate in _OPPOSITES:
            return Relation(self.object, _OPPOSITES[self.predicate], self.subject)
        if self.predicate in _SYMMETRIC and self.subject > self.object:
            return Relation(self.object, self.predicate, self.subject)
        return self


@dataclass(frozen=True)
class Stretch:
    """Tokens that were read together: `length` columns of the token axis from `start` on.

    `tensor` is the entry of the conditioning that holds them: "cross_attn", or one that the network appends to it.
    `encoder` is the host's name for who read them.
    """

    start: int
    length: int
    tensor: str = CROSS_ATTENTION
    encoder: str = ""

    @property
    def columns(self) -> range:
        return range(self.start, self.start + self.length)


@dataclass(frozen=True)
class Targets(CopiesToItself):
    """The objects and relations of a prompt, with the encoder's tokens they stand on.

    `content` are the absolute positions of the prompt's own tokens (no start, end, padding or template), in order, and
    `pieces` their readable text. `length` is the whole token axis (77 per chunk for CLIP), `chunk` the tokens of one
    chunk. `spans` are the stretches of the axis where they are not so alike: the prompt stands in each of them (Stable
    Diffusion 3: 77 of CLIP, then those of T5), and a word's map is the sum of its maps there.
    `text_attention` [len(content), len(content)] float32 is the text encoder's self-attention between content
    tokens, mean over layers and heads; the host layer fills it in. `pads_with_end` says whether the encoder fills up
    short prompts with the end token (Stable Diffusion 1) or with another (Stable Diffusion 2). `notes` tell the artist
    what of the prompt was not read. `encode` is the text encoder itself: of each text [1, tokens, C], and what
    else the host's conditioning of it says; it is left out where Targets are pickled.
    """

    prompt: str
    objects: tuple[Target, ...]
    relations: tuple[Relation, ...]
    content: tuple[int, ...]
    pieces: tuple[str, ...]
    length: int
    chunk: int
    text_attention: torch.Tensor | None = None
    pads_with_end: bool = True
    notes: tuple[str, ...] = field(default=(), compare=False)
    encode: Callable[[list[str]], list[tuple[torch.Tensor, dict]]] | None = field(
        default=None, compare=False, repr=False
    )
    spans: tuple[Stretch, ...] = ()

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The token axis cut where one encoder, or one of its chunks, ends: between stretches tokens don't meet."""
        size = self.chunk or self.length
        return self.spans or tuple(Stretch(start, size) for start in range(0, self.length, size or 1))

    def by_stretch(self, positions: Sequence[int]) -> list[list[int]]:
        """Positions (or those of them that there are) in each of the `stretches`."""
        return [[p for p in positions if p in stretch.columns] for stretch in self.stretches]

    def by_encoder(self, positions: Sequence[int]) -> list[list[int]]:
        """Positions in the tokens of each encoder that has some of them: a word's map is the sum of its maps there."""
        found: dict[str, list[int]] = {}
        for stretch, own in zip(self.stretches, self.by_stretch(positions), strict=True):
            found.setdefault(stretch.encoder, []).extend(own)
        return [own for own in found.values() if own]

    def columns_of(self, tensor: str = CROSS_ATTENTION) -> int:
        """How many columns of the token axis an entry of the conditioning holds."""
        return sum(stretch.length for stretch in self.stretches if stretch.tensor == tensor)

    @property
    def handle(self) -> str:
        """What a conditioning carries to be known as this prompt's: plain text, which any copy, file or other process
        keeps, and which holds nothing else alive.
        """
        return f"{self.prompt}\n{' '.join(map(str, self.content))}"

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "encode"}

    def summary(self, positions: bool = True) -> str:
        """What was understood, for the artist: one line per object, then the relations; where the words stand on the
        token axis, unless `positions` is off.
        """
        if not self.objects:
            none = (
                "No objects found in the prompt. Name them in the list of words, or describe things that can be drawn."
            )
            return "\n".join([*self.notes, none])
        lines = [f"{len(self.objects)} objects:" if len(self.objects) > 1 else "1 object:"]
        for number, target in enumerate(self.objects, start=1):
            words = [(target.name, target.positions), *((a.text, a.positions) for a in target.attributes)]
            spelled = [f"{word} ({_tokens(places)})" if positions else word for word, places in words]
            lines.append(f"  {number}. {', '.join(spelled)}")
        if self.relations:
            lines.append("Relations:")
            for r in self.relations:
                lines.append(f"  {self.objects[r.subject].phrase} – {r.predicate} – {self.objects[r.object].phrase}")
        if positions:
            lines.append(f"{len(self.content)} tokens in {_chunks([s.length for s in self.stretches])}.")
        lines += self.notes
        return "\n".join(lines)


def _chunks(lengths: list[int]) -> str:
    """[77, 77] -> "2 chunks of 77"; [77, 256] -> "chunks of 77 and 256"."""
    if len(set(lengths)) > 1:
        return f"chunks of {' and '.join(map(str, lengths))}"
    return f"{len(lengths)} chunk{'s' if len(lengths) != 1 else ''} of {lengths[0] if lengths else 0}"


def _tokens(positions: tuple[int, ...]) -> str:
    """(4, 5, 6, 9) -> "tokens 4-6, 9"."""
    runs: list[list[int]] = []
    for p in sorted(positions):
        if runs and p == runs[-1][1] + 1:
            runs[-1][1] = p
        else:
            runs.append([p, p])
    spelled = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
    return f"{'token' if len(positions) == 1 else 'tokens'} {spelled or 'none'}"
