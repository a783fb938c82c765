"""Which columns of the token axis an encoder's tokens become.

Between an encoder and the conditioning the host cuts templates off, joins encoders, stacks layers, keeps the last few
hundred rows: each model does it in its own way. Instead of repeating any of that, the host does it once more, with
numbers in place of features: every transformer hands out the number of each token, and where a number turns up in the
conditioning, there is its token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ...core.prompt.targets import CROSS_ATTENTION, Stretch
from .encoder import Encoder, cannot_follow
from .listening import Heard
from .words import Place

# Tokens of which the network, not an encoder, makes the conditioning's rows: the conditioning's entry for them, their
# key, and the rows that the network makes at least (comfy/ldm/anima/model.py:206).
_BY_THE_NETWORK = {"t5xxl_ids": ("t5xxl", 512)}


@dataclass(frozen=True)
class Axis:
    """The token axis: the column of each token of each encoder, and the stretches of it that were encoded together.

    `rows` are the places of tokens in the encoder's own features, where those are not its places in the list of tokens.
    """

    columns: Mapping[str, Mapping[Place, int]]
    stretches: tuple[Stretch, ...]
    rows: Mapping[str, Mapping[Place, int]]

    def used(self, encoders: Sequence[Encoder]) -> list[Encoder]:
        """The encoders whose tokens reach the attention. (Flux uses CLIP's pooled text only.)"""
        return [encoder for encoder in encoders if self.columns.get(encoder.key)]

    def first_readers(self, encoders: Sequence[Encoder]) -> list[Encoder]:
        """For each stretch the first of the encoders that have tokens in it. (Those of SDXL share all columns.)"""
        columns = {encoder: set(self.columns[encoder.key].values()) for encoder in self.used(encoders)}
        readers = ([e for e, own in columns.items() if own & {*stretch.columns}] for stretch in self.stretches)
        return [found[0] for found in readers if found]


def token_axis(clip, encoders: list[Encoder], tokens: dict, conditioning: list, heard: Mapping[str, Heard]) -> Axis:
    """The axis of a conditioning that `clip` made of `tokens`. Raises HostError if it cannot be told."""
    features, extras = conditioning[0]
    for entry, (key, at_least) in _BY_THE_NETWORK.items():
        if entry in extras:
            places = [(0, index) for index in range(len(tokens[key][0]))]
            length = max(at_least, len(places))
            return Axis({key: {place: place[1] for place in places}}, (Stretch(0, length, entry, key),), {})
    if not any(one.outputs for one in heard.values()):  # nothing to encode: Lens makes no rows of an empty prompt
        return Axis({}, (Stretch(0, features.shape[1]),), {})
    numbers = _Numbers(encoders, tokens, heard)
    plain = {
        key: [[(token[0], 1.0, *token[2:]) for token in chunk] for chunk in chunks] for key, chunks in tokens.items()
    }
    with numbers.in_place_of_features():
        made = clip.encode_from_tokens(plain, return_dict=True)
    if made["cond"].shape != features.shape:
        raise cannot_follow(clip)
    columns: dict[str, dict[Place, int]] = {encoder.key: {} for encoder in encoders}
    stretches: list[Stretch] = []
    offset = 0
    for name, tensor in {CROSS_ATTENTION: made.pop("cond"), **made}.items():
        if not isinstance(tensor, torch.Tensor) or tensor.ndim < 3:
            continue
        rows = numbers.read(tensor)
        if name != CROSS_ATTENTION and not any(rows):
            continue
        for row, found in enumerate(rows):
            for key, place in found:
                columns[key].setdefault(place, offset + row)
        stretches += _stretches(rows, offset, name)
        offset += len(rows)
    if not any(columns.values()):
        raise cannot_follow(clip)
    return Axis(columns, tuple(stretches), numbers.rows)


def _stretches(rows: list[list[tuple[str, Place]]], offset: int, tensor: str) -> list[Stretch]:
    """Cuts where the rows become those of another encoder or chunk; padding goes with what stands before it."""
    starts, readers, before = [0], [], set()
    for row, found in enumerate(rows):
        here = {(key, chunk) for key, (chunk, _) in found}
        if here and before and not here & before:
            starts.append(row)
        if here and len(readers) < len(starts):
            readers.append(found[0][0])
        before = here or before
    return [
        Stretch(offset + start, end - start, tensor, reader)
        for start, end, reader in zip(starts, [*starts[1:], len(rows)], readers or [""], strict=True)
    ]


class _Numbers:
    """A number for each row of each encoder's features, 1 and up: exact in float32."""

    def __init__(self, encoders: list[Encoder], tokens: dict, heard: Mapping[str, Heard]):
        self.heard = {encoder: heard[encoder.key] for encoder in encoders if encoder.key in heard}
        self.own: dict[Encoder, range] = {}
        self.places: list[tuple[str, Place] | None] = [None]
        self.rows: dict[str, dict[Place, int]] = {}
        for encoder, one in self.heard.items():
            if not one.outputs:
                continue
            first = len(self.places)
            rows = self.rows[encoder.key] = {}
            for chunk, chunk_tokens in enumerate(tokens[encoder.key]):
                # SDClipModel.process_tokens leaves out an embedding of another width, which moves what follows.
                kept = [i for i, token in enumerate(chunk_tokens) if one.takes(token[0])]
                rows.update({(chunk, i): row for row, i in enumerate(kept)})
                self.places += [(encoder.key, (chunk, i)) for i in kept]
                self.places += [None] * (one.length - len(kept))
            self.own[encoder] = range(first, len(self.places))

    @contextmanager
    def in_place_of_features(self) -> Iterator[None]:
        """For this time the transformers give out numbers; they are put back whatever happens."""
        replaced = []
        try:
            for encoder, own in self.own.items():
                transformer = encoder.module.transformer
                replaced.append((transformer, transformer.__dict__.get("forward")))
                transformer.forward = self._stand_in(self.heard[encoder], own.start)
            yield
        finally:
            for transformer, before in replaced:
                del transformer.forward
                if before is not None:
                    transformer.forward = before

    def _stand_in(self, one: Heard, first: int):
        def forward(*args, **kwargs):
            given = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
            rows, device = given.shape[0], given.device
            numbers = torch.arange(first, first + rows * one.length, device=device, dtype=torch.float32)
            return _filled(one.outputs, numbers.view(rows, one.length))

        return forward

    def read(self, tensor: torch.Tensor) -> list[list[tuple[str, Place]]]:
        """The tokens in each row of [1, rows, C] or [1, layers, rows, C]."""
        values = tensor.float().movedim(-2, 0).flatten(1)  # [rows, what stands in each]
        found: list[list[tuple[str, Place]]] = [[] for _ in values]
        for own in self.own.values():
            numbers = torch.where((values >= own.start) & (values < own.stop), values, 0).amax(dim=1)
            for row, number in zip(found, numbers.long().tolist(), strict=True):
                if self.places[number] is not None:
                    row.append(self.places[number])
        return found


def _filled(shape, numbers: torch.Tensor):
    """What a transformer gives out, with `numbers` [rows, tokens] for features, and nothing for what has no tokens."""
    if isinstance(shape, torch.Tensor):
        rows, length = numbers.shape
        empty = torch.zeros((rows, *shape.shape[1:]), device=numbers.device)
        if shape.ndim < 3 or shape.shape[-2] != length:
            return empty
        return empty + numbers.view(rows, *[1] * (shape.ndim - 3), length, 1)
    if isinstance(shape, dict):
        return {name: _filled(value, numbers) for name, value in shape.items()}
    if isinstance(shape, (tuple, list)):
        return type(shape)(_filled(value, numbers) for value in shape)
    return shape
