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
from .encoders.between import between_content
from .encoders.columns import token_axis
from .encoders.encoder import encoders_of
from .encoders.listening import listening
from .encoders.words import Words, pieces_of, word_ids
from .errors import HostError
from .networks.rows import KEY


def encode_with_targets(clip, text: str, words: str = "") -> tuple[list, Targets]:
    """The host's CONDITIONING for `text`, marked as that of its Targets, and the Targets themselves.

    `words` (comma or line separated) names the objects; without it they are read from the prompt. Raises
    core.prompt.WordNotFound for a word that is not in the prompt, and HostError without a usable CLIP.
    """
    if clip is None:
        raise HostError(
            "No CLIP is connected. Your checkpoint may hold no text encoder: load one with a CLIP loader and connect "
            "it."
        )
    parsed = prompts.parse_weights(text)
    scene = prompts.find_words(parsed.text, words) if words.strip() else prompts.extract(parsed)
    tokens = clip.tokenize(text, return_word_ids=True)
    encoders = encoders_of(clip, tokens)
    with listening(encoders) as heard:
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
    axis = token_axis(clip, encoders, tokens, conditioning, heard)
    used, own = axis.used(encoders), Words(clip)
    places = {encoder.key: own.places(encoder, tokens[encoder.key], text) for encoder in used}
    readings = {
        encoder.key: Reading(
            pieces_of(encoder, tokens[encoder.key], places[encoder.key]),
            word_ids(tokens[encoder.key], places[encoder.key]),
            [axis.columns[encoder.key].get(place) for place in places[encoder.key]],
            own.knows_weights(encoder),
        )
        for encoder in used
    }
    targets = build_targets(text, scene, list(readings.values()), axis.stretches)
    targets = replace(
        targets,
        text_attention=between_content(targets, axis, heard),
        pads_with_end=all(encoder.pads_with_end for encoder in axis.first_readers(used)),
        encode=partial(_encode, clip),
    )
    return node_helpers.conditioning_set_values(conditioning, {KEY: targets.handle}), targets


def _encode(clip, texts: list[str]) -> list[torch.Tensor]:
    """The encoder's output [1, tokens, C] of each text."""
    return [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0].cpu() for text in texts]
