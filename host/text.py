"""Encodes a prompt through the host's CLIP, once, and keeps what the methods need of it: token positions and text
self-attention.
"""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import node_helpers
import torch
from comfy.clip_model import CLIPAttention

from ..core import prompt as prompts
from ..core.maps.probabilities import probabilities
from ..core.prompt.targets import Targets
from ..core.prompt.tokens import build_targets
from .errors import HostError
from .networks.attention import split_heads
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
    # The CLIP tokenizers of one model (SDXL has two) split alike and differ in padding only.
    name = "l" if "l" in tokens else next(iter(tokens))
    tokenizer = _clip_tokenizer(clip, name)
    targets = build_targets(text, scene, _pieces(tokenizer, tokens[name]))
    with _self_attention(clip) as layers:
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
    pads_with_end = tokenizer.pad_token == tokenizer.end_token
    targets = replace(
        targets,
        text_attention=_between_content(layers, targets),
        pads_with_end=pads_with_end,
        encode=partial(_encode, clip),
    )
    return node_helpers.conditioning_set_values(conditioning, {KEY: targets.handle}), targets


def _encode(clip, texts: list[str]) -> list[torch.Tensor]:
    """The encoder's output [1, tokens, C] of each text."""
    return [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0].cpu() for text in texts]


def _clip_tokenizer(clip, name: str):
    tokenizer = getattr(clip.tokenizer, f"clip_{name}", None)
    if tokenizer is None or not hasattr(tokenizer, "inv_vocab"):
        raise HostError(
            f"The connected text encoder ({type(clip.tokenizer).__name__}) is not a CLIP of the Stable Diffusion "
            f"family, so its words cannot be located. "
            "Connect the CLIP of a Stable Diffusion 1.x, 2.x or SDXL checkpoint."
        )
    return tokenizer


def _pieces(tokenizer, chunks: list) -> list[list[tuple[str | None, float, int]]]:
    """Chunks of (vocabulary piece, or None for an embedding's vector; weight; word id) from the host's (token, weight,
    word id).
    """
    return [
        [
            (None if isinstance(token, torch.Tensor) else tokenizer.inv_vocab.get(token, ""), weight, word)
            for token, weight, word in chunk
        ]
        for chunk in chunks
    ]


@contextmanager
def _self_attention(clip):
    """Collects, per text encoder, the head mean of every layer's attention [rows, tokens, tokens] while the host
    encodes.

    The encoder hands its attention function down to each layer as an argument; a hook on the layer puts a listener
    around it. The hooks are taken off again whatever happens.
    """
    encoders: dict[str, list[torch.Tensor]] = {}
    handles = []
    for path, module in clip.cond_stage_model.named_modules():
        if isinstance(module, CLIPAttention):
            layers = encoders.setdefault(path.split(".")[0], [])
            handles.append(module.register_forward_pre_hook(_listener(layers), with_kwargs=True))
    try:
        yield encoders
    finally:
        for handle in handles:
            handle.remove()


def _listener(layers: list[torch.Tensor]):
    def listen(module, args, kwargs):
        x, mask, attention = (*args, *(kwargs.get(name) for name in ("mask", "optimized_attention")[len(args) - 1 :]))

        def heard(q, k, v, heads, mask=None, **rest):
            layers.append(probabilities(split_heads(q, heads), split_heads(k, heads), mask=mask).mean(dim=1).cpu())
            return attention(q, k, v, heads, mask, **rest)

        return (x, mask, heard), {}

    return listen


def _between_content(encoders: dict[str, list[torch.Tensor]], targets: Targets) -> torch.Tensor | None:
    """[content, content] float32: mean over encoders and layers, block-diagonal over the chunks, which are encoded
    apart.

    A weighted prompt is encoded with an empty one as an extra last row, which the chunks' own rows do not include.
    """
    means = [torch.stack(layers).mean(dim=0) for layers in encoders.values() if layers]
    if not means or not targets.content:
        return None
    rows = torch.stack(means).mean(dim=0)[: targets.length // targets.chunk]
    whole = torch.block_diag(*rows)
    index = torch.tensor(targets.content)
    return whole[index][:, index].contiguous()
