"""Targets of a conditioning that something else has encoded: another pack's node, a prompt in parts, SDXL's two texts.

The text is encoded once more, here; where the conditioning holds the same rows, it is that text's, and the words are
where they are in ours.
"""

from __future__ import annotations

import re
from dataclasses import replace

import node_helpers
import torch
from torch import Tensor

from ..core.prompt.targets import Relation, Stretch, Target, Targets
from .errors import HostError
from .networks.rows import KEY
from .text import encode_with_targets

_BREAK = re.compile(r"\s*\bBREAK\b\s*")
# Cosine of a word's row to ours, in the middle of all words: weights pull at some rows, each pack in its own way.
_SAME = 0.9


def find_in_conditioning(clip, conditioning: list, text: str, words: str = "") -> tuple[list, Targets]:
    """The conditioning, marked as that of its Targets wherever `text` was encoded in it, and the Targets.

    A text in parts (BREAK) is looked for in parts too. Raises HostError if it is nowhere in the conditioning, and what
    `encode_with_targets` raises.
    """
    readings = [encode_with_targets(clip, text, words)]
    parts = [part for part in _BREAK.split(text) if part.strip()]
    if len(parts) > 1:
        readings.insert(0, _in_parts([encode_with_targets(clip, part) for part in parts], text))
    for encoded, targets in readings:
        found = [_holds(entry[0], encoded[0][0], targets) for entry in conditioning]
        if any(found):
            marked = [
                node_helpers.conditioning_set_values([entry], {KEY: targets.handle})[0] if here else entry
                for entry, here in zip(conditioning, found, strict=True)
            ]
            return marked, targets
    raise _elsewhere(clip, conditioning, readings[-1][0])


def _holds(given: Tensor, ours: Tensor, targets: Targets) -> bool:
    """Whether the rows of `given` [1, tokens, C] at the words' places are those of `ours`; of two encoders side by
    side (SDXL's), those of one will do, as the other may have read another text.
    """
    places = [p for p in targets.content if p < ours.shape[1]]
    if not places or given.shape[-1] != ours.shape[-1] or given.shape[1] < ours.shape[1]:
        return False
    given, ours = given[0, places].float().cpu(), ours[0, places].float().cpu()
    width = given.shape[-1]
    halves = [slice(0, width), *((slice(0, 768), slice(768, width)) if width == 2048 else ())]
    return any(
        float(torch.nn.functional.cosine_similarity(given[:, part], ours[:, part], dim=1).median()) >= _SAME
        for part in halves
    )


def _in_parts(encoded: list[tuple[list, Targets]], text: str) -> tuple[list, Targets]:
    """Parts of a prompt that were encoded each by itself, one behind the other: as ConditioningConcat has them."""
    rows = torch.cat([conditioning[0][0] for conditioning, _ in encoded], dim=1)
    objects: list[Target] = []
    relations: list[Relation] = []
    spans: list[Stretch] = []
    content: list[int] = []
    offset = 0
    for _, targets in encoded:
        first = len(objects)
        objects += [_moved(target, offset) for target in targets.objects]
        relations += [Relation(r.subject + first, r.predicate, r.object + first) for r in targets.relations]
        spans += [replace(stretch, start=stretch.start + offset) for stretch in targets.stretches]
        content += [position + offset for position in targets.content]
        offset += targets.length
    first = encoded[0][1]
    blocks = [targets.text_attention for _, targets in encoded]
    attention = None if any(block is None for block in blocks) else torch.block_diag(*blocks)
    whole = replace(
        first,
        prompt=text,
        objects=tuple(objects),
        relations=tuple(relations),
        content=tuple(content),
        pieces=tuple(piece for _, targets in encoded for piece in targets.pieces),
        length=offset,
        spans=tuple(spans),
        text_attention=attention,
        notes=tuple(dict.fromkeys(note for _, targets in encoded for note in targets.notes)),
    )
    return [[rows, {}]], whole


def _moved(target: Target, offset: int) -> Target:
    attributes = tuple(replace(a, positions=tuple(p + offset for p in a.positions)) for a in target.attributes)
    return replace(target, positions=tuple(p + offset for p in target.positions), attributes=attributes)


def _elsewhere(clip, conditioning: list, ours: list) -> HostError:
    given = conditioning[0][0].shape if conditioning else (0, 0, 0)
    sizes = ""
    if given[-1] != ours[0][0].shape[-1]:
        sizes = " It comes from another kind of text encoder than the CLIP that is connected."
    elif given[1] != ours[0][0].shape[1]:
        sizes = f" It has {given[1]} tokens, the text has {ours[0][0].shape[1]}."
    return HostError(
        f"This text is nowhere in the conditioning.{sizes} Give the very text that the conditioning was made from, and "
        f"the same CLIP ({type(clip.tokenizer).__name__} here, with its LoRAs); or encode the prompt with Extract "
        "Targets instead."
    )
