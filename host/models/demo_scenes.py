"""TinyScenes, the pack's small text-to-image model of tinted emoji, loaded through the host's own classes.

Flux's architecture in 20 MB: the host's transformer with joint attention, its CLIP tokenizer and text encoder, flow
sampling, and a VAE that needs no training. It draws 128 x 128 pictures of one to three emoji ("a cat and a red
backpack"). benchmarks/tinyscenes/ trained it; assets/tinyscenes.json says how.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import comfy.latent_formats
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import torch
from torch import Tensor

from .assemble import Misfit, assemble_clip, assemble_model
from .assets import ASSETS, incomplete, read_card, read_weights
from .pca_vae import colours, component_vae
from .text_encoder import CLIP_CONFIG, TOKENS, text_weights, token_ids, token_rows
from .threads import on_one_thread, small

WEIGHTS = ASSETS / "tinyscenes.safetensors"
CARD = ASSETS / "tinyscenes.json"
# What it is called where its files are not as they should be, and what makes them.
_NAMES = ("the scenes demo model", "benchmarks/tinyscenes/train.py")

SHIFT = 5.0  # of the sampling schedule: the words decide at high noise

# A joint-attention transformer on 16 x 16 latents of 16 channels, a cell of 8 x 8 pixels a token.
FLUX_CONFIG = {
    "in_channels": 16,
    "out_channels": 16,
    "hidden_size": 192,
    "context_in_dim": 128,
    "mlp_ratio": 4.0,
    "num_heads": 3,
    "depth": 2,
    "depth_single_blocks": 4,
    "axes_dim": [16, 24, 24],
    "theta": 100,
    "patch_size": 1,
    "qkv_bias": True,
    "guidance_embed": False,
    "vec_in_dim": None,
    "txt_ids_dims": [],
}

FLUX_PREFIX = "model.diffusion_model."
TEXT_PREFIX = "text_encoders.clip_l."
VAE_PREFIX = "vae."  # mean, basis, scale
TOKEN_ROWS, TOKEN_IDS = token_rows(TEXT_PREFIX), token_ids(TEXT_PREFIX)


class SceneLatents(comfy.latent_formats.SD3):
    """Sixteen channels on 8 x 8 pixels, as they are."""

    def __init__(self):
        super().__init__()
        self.scale_factor, self.shift_factor = 1.0, 0.0
        self.taesd_decoder_name = None  # made for other latents
        self.show_as(torch.zeros(self.latent_channels, 3), torch.zeros(3))

    def show_as(self, factors: Tensor, bias: Tensor) -> None:
        """How the host's previews colour a cell: what each channel adds [16, 3], and an empty cell's colour [3]."""
        self.latent_rgb_factors, self.latent_rgb_factors_bias = factors.tolist(), bias.tolist()


class TinyScenes(comfy.supported_models.FluxSchnell):
    unet_config = {"image_model": "flux", **FLUX_CONFIG}
    unet_extra_config: dict = {}
    latent_format = SceneLatents
    sampling_settings = {"multiplier": 1.0, "shift": SHIFT}


def is_demo_scenes(patcher) -> bool:
    """Whether a host's ModelPatcher holds TinyScenes."""
    return isinstance(patcher.model.model_config, TinyScenes)


@cache
def scenes_card(card: Path = CARD) -> dict:
    """The model's card (assets/tinyscenes.json): vocabulary, sampling settings, recipe, metrics."""
    return read_card(card, *_NAMES)


@on_one_thread
def load_demo_scenes(weights: Path = WEIGHTS) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """TinyScenes' diffusion model, text encoder and VAE. Raises HostError for a weights file that is missing or
    damaged.
    """
    vae_parts = [VAE_PREFIX + name for name in ("mean", "basis", "scale")]
    stored = read_weights(weights, *_NAMES, needs=(TOKEN_ROWS, TOKEN_IDS, *vae_parts))
    flux = {name.removeprefix(FLUX_PREFIX): value for name, value in stored.items() if name.startswith(FLUX_PREFIX)}
    try:
        patcher = assemble_model(TinyScenes({"image_model": "flux", **FLUX_CONFIG}), flux)
        clip = assemble_clip(
            comfy.sd1_clip.SD1Tokenizer,
            comfy.sd1_clip.SD1ClipModel,
            {"clip_l": CLIP_CONFIG},
            text_weights(stored, TEXT_PREFIX),
            TOKENS,
        )
    except Misfit as error:
        raise incomplete(weights, *_NAMES, f"of something else ({error})") from None
    code = [stored[name].float() for name in vae_parts]
    patcher.model.latent_format.show_as(*colours(*code))
    return small(patcher, clip, component_vae(*code))
