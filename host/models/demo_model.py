"""TinyShapes, the pack's small text-to-image model of coloured shapes, loaded through the host's own classes.

Stable Diffusion 1.x's architecture in 10 MB: the host's UNet, CLIP tokenizer and text encoder, and a VAE that needs no
training. It draws 128 x 128 pictures of one to three objects ("a red ball and a blue ring") in about a second on a CPU,
and fails the way its large relatives do. benchmarks/tinyshapes/ trained it; assets/tinyshapes.json says how.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
from torch import Tensor

from .assemble import Misfit, assemble_clip, assemble_model
from .assets import ASSETS, incomplete, read_card, read_weights
from .mean_vae import block_mean_vae
from .text_encoder import CLIP_CONFIG, TOKENS, text_weights, token_ids, token_rows
from .threads import on_one_thread, small

WEIGHTS = ASSETS / "tinyshapes.safetensors"
CARD = ASSETS / "tinyshapes.json"
_NAMES = ("the demo model", "benchmarks/tinyshapes/train.py")


# 16 x 16 latents; attention at 16 x 16 and 8 x 8.
UNET_CONFIG = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "channel_mult": [1, 2],
    "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "num_heads": 4,
    "num_head_channels": -1,
    "context_dim": 128,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
    "legacy": False,
}

UNET_PREFIX = "model.diffusion_model."
TEXT_PREFIX = "cond_stage_model."
TOKEN_ROWS, TOKEN_IDS = token_rows(TEXT_PREFIX), token_ids(TEXT_PREFIX)


class TinyShapes(comfy.supported_models.SD15):
    unet_config = UNET_CONFIG
    unet_extra_config: dict = {}


def is_demo_model(patcher) -> bool:
    """Whether a host's ModelPatcher holds TinyShapes."""
    return isinstance(patcher.model.model_config, TinyShapes)


@cache
def demo_card() -> dict:
    """The model's card (assets/tinyshapes.json): vocabulary, sampling settings, recipe, metrics."""
    return read_card(CARD, *_NAMES)


def stored_weights(weights: Path = WEIGHTS) -> dict[str, Tensor]:
    """The file's tensors under its own names. Raises HostError for a file that is missing or damaged."""
    return read_weights(weights, *_NAMES, needs=(TOKEN_ROWS, TOKEN_IDS))


@on_one_thread
def load_demo_model(weights: Path = WEIGHTS) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """TinyShapes' diffusion model, text encoder and VAE. Raises HostError for a weights file that is missing or
    damaged.
    """
    stored = stored_weights(weights)
    unet = {name.removeprefix(UNET_PREFIX): value for name, value in stored.items() if name.startswith(UNET_PREFIX)}
    try:
        patcher = assemble_model(TinyShapes(UNET_CONFIG), unet)
        clip = assemble_clip(
            comfy.sd1_clip.SD1Tokenizer,
            comfy.sd1_clip.SD1ClipModel,
            {"clip_l": CLIP_CONFIG},
            text_weights(stored, TEXT_PREFIX),
            TOKENS,
        )
    except Misfit as error:
        raise incomplete(weights, *_NAMES, f"of something else ({error})") from None
    return small(patcher, clip, block_mean_vae())
