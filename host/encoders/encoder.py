"""The text encoders of a CLIP, each with its tokenizer, as the host names them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import HostError


@dataclass(frozen=True)
class Encoder:
    """One of a CLIP's text encoders: the `key` of its tokens, its tokenizer, its module.

    `module` is None where the network makes features of the tokens itself (Anima does from T5's).
    """

    key: str
    tokenizer: object
    module: torch.nn.Module | None

    @property
    def pads_with_end(self) -> bool:
        return self.tokenizer.pad_token is not None and self.tokenizer.pad_token == self.tokenizer.end_token


def encoders_of(clip, keys) -> list[Encoder]:
    """The encoders whose tokens `clip.tokenize` returned under `keys`, CLIP-L before the others.

    The host keeps an encoder under its key or "clip_" and its key, the tokenizer as well as the module. Raises
    HostError where there is no tokenizer whose tokens could be spelled.
    """
    found = []
    for key in sorted(keys, key=lambda key: key != "l"):
        tokenizer = _named(clip.tokenizer, key)
        if hasattr(tokenizer, "inv_vocab"):
            module = _named(clip.cond_stage_model, key)
            found.append(Encoder(key, tokenizer, module if hasattr(module, "transformer") else None))
    if not any(encoder.module for encoder in found):
        raise cannot_follow(clip)
    return found


def cannot_follow(clip) -> HostError:
    return HostError(
        f"The words of a prompt cannot be followed through the connected text encoder ({name_of(clip)}): it does not "
        f"keep its tokens and their features the way ComfyUI's own encoders do. Use CLIP Text Encode with this model, "
        f"without this pack, or load its text encoder with ComfyUI's own CLIP loaders."
    )


def name_of(clip) -> str:
    """What the artist may know the encoder by: "Flux", "QwenImage"."""
    return type(clip.tokenizer).__name__.removesuffix("Tokenizer")


def _named(owner, key: str):
    return getattr(owner, key, None) or getattr(owner, f"clip_{key}", None)
