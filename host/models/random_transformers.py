"""The configs of small random transformers, one of each family that the host draws pictures with.

The wiring is each family's own, only widths and depths are small. Their text comes from a small CLIP whatever the
family's encoder is, as words reach the attention the same way from any: `random_models` puts the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import comfy.supported_models

TEXT = 48  # width of the text
_HEADS = {"hidden_size": 32, "num_heads": 2, "mlp_ratio": 2.0}
_FLUX = {
    **_HEADS, "image_model": "flux", "in_channels": 16, "out_channels": 16, "context_in_dim": TEXT, "depth": 2,
    "depth_single_blocks": 2, "axes_dim": [4, 6, 6], "theta": 10000, "patch_size": 2, "qkv_bias": True,
    "guidance_embed": True, "vec_in_dim": TEXT, "txt_ids_dims": [],
}  # fmt: skip
_SD3 = {
    "in_channels": 16, "patch_size": 2, "out_channels": 16, "depth": 2, "input_size": None, "adm_in_channels": TEXT,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": TEXT, "out_features": 128}},
    "num_patches": 1024, "pos_embed_max_size": 32, "pos_embed_scaling_factor": None, "qk_norm": "rms",
    "x_block_self_attn_layers": [], "num_blocks": 3,
}  # fmt: skip
_COSMOS = {
    "image_model": "cosmos_predict2", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16,
    "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "model_channels": 32, "concat_padding_mask": True,
    "crossattn_emb_channels": TEXT, "pos_emb_cls": "rope3d", "pos_emb_learnable": True, "pos_emb_interpolation": "crop",
    "min_fps": 1, "max_fps": 30, "use_adaln_lora": True, "adaln_lora_dim": 8, "num_blocks": 3, "num_heads": 2,
    "extra_per_block_abs_pos_emb": False, "rope_h_extrapolation_ratio": 4.0, "rope_w_extrapolation_ratio": 4.0,
    "rope_t_extrapolation_ratio": 1.0, "rope_enable_fps_modulation": False,
}  # fmt: skip
_KANDINSKY = {
    "image_model": "kandinsky5", "model_dim": 32, "axes_dims": (4, 6, 6), "rope_scale_factor": (1.0, 1.0, 1.0),
    "time_dim": 16, "ff_dim": 48, "visual_embed_dim": 64, "in_visual_dim": 16, "out_visual_dim": 16,
    "in_text_dim": TEXT, "in_text_dim2": TEXT, "num_text_blocks": 1, "num_visual_blocks": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Transformer:
    """`supported` is the name of the host's class in comfy.supported_models, `config` that of the network; a latent has
    `channels`, and a dimension for its one frame if it is `framed`.
    """

    supported: str
    config: dict = field(hash=False)
    channels: int = 16
    framed: bool = False


TRANSFORMERS = {
    "flux": Transformer("Flux", _FLUX),
    "sd3": Transformer("SD3", _SD3),
    "sd35_medium": Transformer("SD3", {**_SD3, "x_block_self_attn_layers": [0, 1]}),
    "cosmos_predict2": Transformer("CosmosT2IPredict2", _COSMOS, framed=True),
    "kandinsky5": Transformer("Kandinsky5Image", _KANDINSKY),
}


def available() -> list[str]:
    """The families that this version of the host has."""
    return [name for name, each in TRANSFORMERS.items() if hasattr(comfy.supported_models, each.supported)]


def config_class(name: str) -> type:
    """The host's config of a family, small."""
    each = TRANSFORMERS[name]
    parts = {"unet_config": each.config, "unet_extra_config": {}}
    return type(f"Tiny{each.supported}", (getattr(comfy.supported_models, each.supported),), parts)
