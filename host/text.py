"""Encodes a prompt through the host's CLIP, once, and keeps what the methods need of it: token positions and text
self-attention.
"""

from dataclasses import replace
from functools import partial

import node_helpers
import torch

from ..core import prompt as prompts
from ..core.prompt.targets import Targets
from ..core.prompt.tokens import Reading, build_targets
from .encoders.between import between_content, lent
from .encoders.columns import Axis, token_axis
from .encoders.encoder import Encoder, encoders_of
from .encoders.listening import Heard, listening
from .encoders.words import Words, pieces_of, word_ids
from .errors import HostError
from .networks.rows import KEY


def encode_with_targets(clip, text: str, words: str = "") -> tuple[list, Targets]:
    """The host's CONDITIONING for `text`, marked as that of its Targets, and the Targets themselves.

    `words` (comma or line separated) names the objects; without it they are those marked in the prompt
    (core.prompt.marks), or else read from it. Raises core.prompt.WordNotFound for a word that is not in the prompt, and
    HostError without a usable CLIP.
    """
    if clip is None:
        raise HostError(
            "No CLIP is connected. Your checkpoint may hold no text encoder: load one with a CLIP loader and connect "
            "it."
        )
    parsed = prompts.parse_weights(text)
    words = words if words.strip() else ", ".join(prompts.marked(parsed))
    scene = prompts.find_words(parsed.text, words) if words else prompts.extract(parsed)
    tokens = clip.tokenize(text, return_word_ids=True)
    encoders = encoders_of(clip, tokens)
    with listening(encoders) as heard:
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
    axis = token_axis(clip, encoders, tokens, conditioning, heard)
    own = Words(clip)
    readings = [read(own, encoder, tokens[encoder.key], text, axis) for encoder in axis.used(encoders)]
    targets = build_targets(text, scene, readings, axis.stretches)
    attention = between_content(targets, axis, heard)
    if attention is None and targets.content:
        attention = _borrowed(own, encoders, heard, tokens, parsed, readings[0])
    targets = replace(
        targets,
        text_attention=attention,
        pads_with_end=all(encoder.pads_with_end for encoder in axis.first_readers(encoders)),
        encode=partial(_encode, clip),
    )
    return node_helpers.conditioning_set_values(conditioning, {KEY: targets.handle}), targets


def read(own: Words, encoder: Encoder, chunks: list, text: str, axis: Axis | None = None) -> Reading:
    """The prompt's own tokens among an encoder's `chunks`; without an axis in the order of the tokens."""
    places = own.places(encoder, chunks, text)
    columns = range(len(places)) if axis is None else [axis.columns[encoder.key].get(place) for place in places]
    return Reading(pieces_of(encoder, chunks, places), word_ids(chunks, places), columns, own.knows_weights(encoder))


def _borrowed(
    own: Words, encoders: list[Encoder], heard: dict[str, Heard], tokens: dict, prompt: prompts.Prompt, reading: Reading
) -> torch.Tensor | None:
    """The attention between tokens that the network reads itself, from an encoder of the same prompt (Anima's Qwen)."""
    lender = next((e for e in encoders if e.key in heard and heard[e.key].attention is not None), None)
    if lender is None:
        return None
    chunks = tokens[lender.key]
    rows = [index for _, index in own.places(lender, chunks, prompt.typed)]
    attention = heard[lender.key].attention[0][rows][:, rows]
    spans = (one.spans(prompt, prompt.text) for one in (read(own, lender, chunks, prompt.typed), reading))
    return lent(attention, *spans)


def _encode(clip, texts: list[str]) -> list[tuple[torch.Tensor, dict]]:
    """The host's conditioning of each text: the encoder's output [1, tokens, C], and what else there is."""
    return [_on_cpu(*clip.encode_from_tokens_scheduled(clip.tokenize(text))[0]) for text in texts]


def _on_cpu(text: torch.Tensor, more: dict) -> tuple[torch.Tensor, dict]:
    kept = {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in more.items()}
    return text.cpu(), kept
