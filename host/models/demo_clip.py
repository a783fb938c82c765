"""TinyCLIP, the small CLIP that goes with the demo model: how well a picture of coloured shapes fits a text.

A vision tower and a text encoder with its projection, loaded through the host's own classes, so that every node that
takes a CLIP and a CLIP_VISION can use them. benchmarks/tinyshapes/train_clip.py trained it; assets/tinyclip.json says
how.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import comfy.clip_vision
import comfy.sd
import comfy.sd1_clip
import torch
from torch import Tensor

from .assemble import Misfit, assemble_clip, check_fit
from .assets import ASSETS, incomplete, read_weights
from .text_encoder import CLIP_CONFIG, TOKEN_TABLE, TOKENS, VOCABULARY_SIZE
from .threads import on_one_thread, small_part, small_text

WEIGHTS = ASSETS / "tinyclip.safetensors"
_NAMES = ("the demo CLIP", "benchmarks/tinyshapes/train_clip.py")

VISION_CONFIG = {
    "model_type": "clip_vision_model",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "hidden_act": "quick_gelu",
    "num_channels": 3,
    "image_size": 64,
    "patch_size": 8,
    "projection_dim": CLIP_CONFIG["hidden_size"],
}

TEXT_PREFIX = "text."
VISION_PREFIX = "vision."
TOKEN_ROWS, TOKEN_IDS = TEXT_PREFIX + "token_rows", TEXT_PREFIX + "token_ids"  # only the rows that captions use


def assemble_vision(config: dict) -> comfy.clip_vision.ClipVisionModel:
    """The host's vision tower of a configuration, its weights not loaded yet."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"  # older versions of ComfyUI take nothing but a file
        file.write_text(json.dumps(config))
        return comfy.clip_vision.ClipVisionModel(str(file))


@on_one_thread
def load_demo_clip(weights: Path = WEIGHTS) -> tuple[comfy.sd.CLIP, comfy.clip_vision.ClipVisionModel]:
    """TinyCLIP's text encoder and vision tower. Raises HostError for a weights file that is missing or damaged."""
    read = read_weights(weights, *_NAMES, needs=(TOKEN_ROWS, TOKEN_IDS))
    stored = {name: value.float() for name, value in read.items()}
    vision, seen = assemble_vision(VISION_CONFIG), vision_weights(stored)
    try:
        clip = assemble_clip(
            comfy.sd1_clip.SD1Tokenizer,
            comfy.sd1_clip.SD1ClipModel,
            {"clip_l": CLIP_CONFIG},
            _text_weights(stored),
            TOKENS,
        )
        check_fit(vision.model, seen)
    except Misfit as error:
        raise incomplete(weights, *_NAMES, f"of something else ({error})") from None
    vision.load_sd(seen)
    return small_text(clip), small_part(vision, "encode_image")


def vision_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The vision tower's weights as the host names them."""
    return {name.removeprefix(VISION_PREFIX): value for name, value in stored.items() if name.startswith(VISION_PREFIX)}


def _text_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The text encoder's weights as the host names them, the token table filled up: words never trained on say
    nothing.
    """
    weights = {
        "clip_l.transformer." + name.removeprefix(TEXT_PREFIX): value
        for name, value in stored.items()
        if name.startswith(TEXT_PREFIX) and name not in (TOKEN_ROWS, TOKEN_IDS)
    }
    table = torch.zeros(VOCABULARY_SIZE, CLIP_CONFIG["hidden_size"])
    table[stored[TOKEN_IDS].long()] = stored[TOKEN_ROWS]
    return {**weights, "clip_l." + TOKEN_TABLE: table}
