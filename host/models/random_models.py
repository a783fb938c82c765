"""Tiny networks with seeded random weights, one of each family, for tests and trials.

The wiring is each family's own (blocks, attention levels, text encoders, prediction type, pooled conditioning); only
the widths are small. They draw nothing, but everything that hooks into a model can be tried on them in a second.
"""

from __future__ import annotations

import comfy.model_base
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.supported_models
import comfy.text_encoders.sd2_clip
import torch
from torch import Tensor

from .assemble import assemble_clip, assemble_model
from .mean_vae import block_mean_vae
from .random_transformers import TRANSFORMERS, config_class, small_parts
from .threads import on_one_thread, small

TEXT = {"num_hidden_layers": 3, "num_attention_heads": 4}
UNET = {"image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "use_spatial_transformer": True,
        "use_temporal_attention": False, "legacy": False}  # fmt: skip
# Attention at 1, 1/2 and 1/4 of the latent's resolution and, in the middle block, at 1/8.
FOUR_LEVELS = {
    **UNET,
    "channel_mult": [1, 1, 2, 2],
    "num_res_blocks": [1, 1, 1, 1],
    "transformer_depth": [1, 1, 1, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
}
# No attention at full resolution, one block at 1/2, two at 1/4.
THREE_LEVELS = {
    **UNET,
    "channel_mult": [1, 2, 2],
    "num_res_blocks": [1, 1, 1],
    "transformer_depth": [0, 1, 2],
    "transformer_depth_output": [0, 0, 1, 1, 2, 2],
    "transformer_depth_middle": 2,
}


class TinySD1(comfy.supported_models.SD15):
    unet_config = {**FOUR_LEVELS, "context_dim": 48, "use_linear_in_transformer": False, "adm_in_channels": None}
    unet_extra_config = {"num_heads": 2, "num_head_channels": -1}


class TinySD2(comfy.supported_models.SD20):
    unet_config = {**FOUR_LEVELS, "context_dim": 64, "use_linear_in_transformer": True, "adm_in_channels": None}
    unet_extra_config = {"num_heads": -1, "num_head_channels": 16, "attn_precision": torch.float32}

    def model_type(self, state_dict: dict, prefix: str = "") -> comfy.model_base.ModelType:
        return comfy.model_base.ModelType.V_PREDICTION


class TinySDXL(comfy.supported_models.SDXL):
    # The pooled text of encoder g (64) and six sizes of 256 each come in besides the tokens (48 of l, 64 of g).
    unet_config = {**THREE_LEVELS, "context_dim": 112, "use_linear_in_transformer": True,
                   "adm_in_channels": 64 + 6 * 256, "num_classes": "sequential"}  # fmt: skip
    unet_extra_config = {"num_heads": -1, "num_head_channels": 16}


# Where these are larger, attention prefers some tokens to others.
_QUERIES_AND_KEYS = tuple(
    f"{name}.weight" for name in ("to_q", "to_k", "qkv", "q_proj", "k_proj", "to_query", "to_key")
)
SMALL = {**TEXT, "hidden_size": 48, "intermediate_size": 96}
LARGE = {**TEXT, "hidden_size": 64, "intermediate_size": 128}
FAMILIES = {
    "sd1": (TinySD1, comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel, {"clip_l": SMALL}),
    "sd2": (
        TinySD2,
        comfy.text_encoders.sd2_clip.SD2Tokenizer,
        comfy.text_encoders.sd2_clip.SD2ClipModel,
        {"clip_h": LARGE},
    ),
    "sdxl": (
        TinySDXL,
        comfy.sdxl_clip.SDXLTokenizer,
        comfy.sdxl_clip.SDXLClipModel,
        {"clip_l": SMALL, "clip_g": LARGE},
    ),
}


def random_weights(module: torch.nn.Module, seed: int, device: str = "cpu", prefers: bool = True) -> dict[str, Tensor]:
    """Weights for every parameter of `module`, and for its tables of positions, that keep activations near unit size,
    on the CPU, the same for the same seed; `device` draws them, and another kind of device draws others. `prefers`:
    whether attention is to prefer some tokens to others, as in networks; a text encoder's does not.
    """
    generator = torch.Generator(device).manual_seed(seed)
    weights = {}
    tables = [(name, table) for name, table in module.named_buffers() if name in module.state_dict()]
    for name, parameter in sorted([*module.named_parameters(), *tables]):
        if parameter.ndim == 0:  # a logit scale, which nothing here reads
            continue
        values = torch.randn(parameter.shape, generator=generator, device=device).cpu()
        if parameter.ndim > 1 and "embedding" not in name:
            values *= parameter[0].numel() ** -0.5
        elif parameter.ndim == 1:
            values = 0.05 * values + (0.0 if name.endswith("bias") else 1.0)
        if prefers and name.endswith(_QUERIES_AND_KEYS):
            values *= 1.5
        weights[name] = values
    return weights


@on_one_thread
def load_random_model(
    family: str, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """A tiny model of `family` ("sd1", "sd2", "sdxl" or one of TRANSFORMERS) with random weights: its patcher, text
    encoder(s) and VAE.

    `dtype` is the network's; float64 serves for finite differences (of what happens inside it: its output leaves the
    host in float32). Raises ValueError for another family.
    """
    if family not in (*FAMILIES, *TRANSFORMERS):
        known = ", ".join((*FAMILIES, *TRANSFORMERS))
        raise ValueError(f"there is no random model of family {family!r}: choose one of {known}")
    if family in TRANSFORMERS:
        made, (_, tokenizer, encoder, settings) = config_class(family), FAMILIES["sd1"]
    else:
        made, tokenizer, encoder, settings = FAMILIES[family]
    config = made(dict(made.unet_config))
    config.set_inference_dtype(torch.float32, None)
    with small_parts(family):
        shapes = config.get_model({}, "", device="meta").diffusion_model
        patcher = assemble_model(made(dict(made.unet_config)), random_weights(shapes, seed), dtype)
    options = {f"{name}_model_config": {**changes, "max_position_embeddings": 77} for name, changes in settings.items()}
    shapes = encoder(device="meta", dtype=torch.float32, model_options=options)
    # Words that differ more for transformers: some round in float32 whatever they are given, and small gradients drown.
    text = random_weights(shapes, seed + 1, prefers=family in TRANSFORMERS)
    return small(patcher, assemble_clip(tokenizer, encoder, settings, text), block_mean_vae())
