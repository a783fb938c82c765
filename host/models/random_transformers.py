"""The configs of small random transformers, one of each family that the host draws pictures with.

The wiring is each family's own, only widths and depths are small. Their text comes from a small CLIP whatever the
family's encoder is, as words reach the attention the same way from any: `random_models` puts the two together.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import comfy.supported_models
import torch
from comfy.ldm.chroma_radiance.model import ChromaRadianceParams

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
_LONGCAT = {**_FLUX, "guidance_embed": False, "vec_in_dim": None, "txt_ids_dims": [1, 2]}
_FLUX2 = {
    **_FLUX, "image_model": "flux2", "in_channels": 128, "out_channels": 128, "axes_dim": [4, 4, 4, 4], "theta": 2000,
    "patch_size": 1, "qkv_bias": False, "guidance_embed": False, "vec_in_dim": None, "txt_ids_dims": [3],
    "global_modulation": True, "mlp_silu_act": True, "ops_bias": False, "default_ref_method": "index",
    "ref_index_scale": 10.0,
}  # fmt: skip
_CHROMA = {
    **_HEADS, "image_model": "chroma", "in_channels": 64, "out_channels": 64, "context_in_dim": TEXT, "depth": 2,
    "depth_single_blocks": 2, "axes_dim": [4, 6, 6], "theta": 10000, "patch_size": 2, "qkv_bias": True, "in_dim": 64,
    "out_dim": 32, "hidden_dim": 48, "n_layers": 2, "txt_ids_dims": [], "vec_in_dim": None,
}  # fmt: skip
_RADIANCE = {
    **_CHROMA, "image_model": "chroma_radiance", "in_channels": 3, "out_channels": 3, "patch_size": 4,
    "nerf_hidden_size": 8, "nerf_mlp_ratio": 2, "nerf_depth": 1, "nerf_max_freqs": 2, "nerf_tile_size": 0,
    "nerf_final_head_type": "linear", "nerf_embedder_dtype": torch.float32, "use_x0": False,
    **{name: False for name in ("use_sequential_txt_ids",) if name in ChromaRadianceParams.__dataclass_fields__},
}  # fmt: skip
_QWEN = {
    "image_model": "qwen_image", "in_channels": 64, "out_channels": 16, "num_layers": 3, "attention_head_dim": 16,
    "num_attention_heads": 2, "joint_attention_dim": TEXT, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
_LUMINA = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 32, "cap_feat_dim": TEXT, "n_layers": 3,
    "qk_norm": True, "n_heads": 2, "n_kv_heads": 1, "axes_dims": [4, 6, 6], "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0, "ffn_dim_multiplier": 1.0, "multiple_of": 16,
}  # fmt: skip
_Z_IMAGE = {  # its modulation has 256 numbers, whatever the width
    **_LUMINA, "dim": 256, "axes_dims": [32, 48, 48], "multiple_of": 64, "n_kv_heads": 2, "z_image_modulation": True,
    "time_scale": 1000.0, "pad_tokens_multiple": 32, "rope_theta": 256.0, "ffn_dim_multiplier": 0.25, "n_layers": 2,
}  # fmt: skip
_HUNYUAN_IMAGE = {
    **_HEADS, "image_model": "hunyuan_video", "in_channels": 64, "out_channels": 64, "patch_size": [1, 1],
    "vec_in_dim": None, "axes_dim": [8, 8], "meanflow": False, "context_in_dim": TEXT, "depth": 2,
    "depth_single_blocks": 2, "theta": 256, "qkv_bias": True, "byt5": False, "guidance_embed": False,
    "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
_AURA = {"cond_seq_dim": TEXT, "n_layers": 3, "n_double_layers": 1, "dim": 32, "n_heads": 2, "max_seq": 256}
_WAN = {
    "image_model": "wan2.1", "model_type": "t2v", "dim": 64, "out_dim": 16, "num_heads": 2, "ffn_dim": 48,
    "num_layers": 3, "patch_size": (1, 2, 2), "freq_dim": 16, "window_size": (-1, -1), "qk_norm": True,
    "cross_attn_norm": True, "eps": 1e-6, "in_dim": 16, "text_dim": TEXT,
}  # fmt: skip
_HIDREAM = {
    "image_model": "hidream", "attention_head_dim": 16, "axes_dims_rope": [4, 6, 6], "caption_channels": [TEXT, TEXT],
    "max_resolution": [128, 128], "in_channels": 16, "llama_layers": [0, 1, 1], "num_attention_heads": 2,
    "num_routed_experts": 2, "num_activated_experts": 1, "num_layers": 2, "num_single_layers": 1, "out_channels": 16,
    "patch_size": 2, "text_emb_dim": TEXT,
}  # fmt: skip
_OMNIGEN = {
    "image_model": "omnigen2", "axes_dim_rope": [4, 6, 6], "axes_lens": [300, 64, 64], "ffn_dim_multiplier": None,
    "hidden_size": 32, "in_channels": 16, "multiple_of": 16, "norm_eps": 1e-5, "num_attention_heads": 2,
    "num_kv_heads": 1, "num_layers": 2, "num_refiner_layers": 1, "out_channels": None, "patch_size": 2,
    "text_feat_dim": TEXT, "timestep_scale": 1000.0,
}  # fmt: skip
_BOOGU = {
    "image_model": "boogu", "axes_dim_rope": [4, 6, 6], "axes_lens": [300, 64, 64], "hidden_size": 32,
    "in_channels": 16, "multiple_of": 16, "num_attention_heads": 2, "num_kv_heads": 1, "num_layers": 2,
    "num_double_stream_layers": 2, "num_refiner_layers": 1, "instruction_feat_dim": TEXT,
}  # fmt: skip
_KREA = {
    "image_model": "krea2", "features": 32, "channels": 16, "patch": 2, "layers": 3, "heads": 2, "kvheads": 1,
    "txtlayers": 2, "txtdim": TEXT // 2, "tdim": 16, "txtheads": 2, "txtkvheads": 2,
}  # fmt: skip
_LENS = {
    "image_model": "lens", "in_channels": 128, "out_channels": 32, "num_layers": 3, "attention_head_dim": 16,
    "num_attention_heads": 2, "enc_hidden_dim": TEXT // 2, "axes_dims_rope": (4, 6, 6),
    "multi_layer_encoder_feature": True, "selected_layer_index": (0, 1),
}  # fmt: skip
_MAGE = {
    "image_model": "mage_flow", "in_channels": 128, "out_channels": 128, "num_layers": 3, "attention_head_dim": 16,
    "num_attention_heads": 2, "joint_attention_dim": TEXT, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
_IDEOGRAM = {
    "image_model": "ideogram4", "in_channels": 128, "num_layers": 3, "num_attention_heads": 2,
    "attention_head_dim": 16, "intermediate_size": 48, "adaln_dim": 16, "llm_features_dim": TEXT, "rope_theta": 10000,
    "mrope_section": [2, 3, 3], "norm_eps": 1e-5,
}  # fmt: skip
_JOY = {
    "image_model": "joyimage", "in_channels": 16, "hidden_size": 32, "num_attention_heads": 2, "text_dim": TEXT,
    "num_layers": 3, "mlp_width_ratio": 2.0, "rope_dim_list": [4, 6, 6], "theta": 10000,
}  # fmt: skip
_PIXELDIT = {
    "image_model": "pixeldit_t2i", "num_groups": 2, "hidden_size": 32, "pixel_hidden_size": 8,
    "pixel_attn_hidden_size": 16, "pixel_num_groups": 2, "patch_depth": 3, "pixel_depth": 1, "patch_size": 4,
    "txt_embed_dim": TEXT, "txt_max_length": 300,
}  # fmt: skip
_ERNIE = {
    "image_model": "ernie", "hidden_size": 32, "num_attention_heads": 2, "num_layers": 3, "ffn_hidden_size": 48,
    "in_channels": 128, "out_channels": 128, "patch_size": 1, "text_in_dim": TEXT, "rope_axes_dim": (4, 6, 6),
}  # fmt: skip
_PIXART = {
    "image_model": "pixart_sigma", "num_heads": 2, "patch_size": 8, "hidden_size": 48, "in_channels": 4, "depth": 3,
    "caption_channels": TEXT, "micro_condition": False, "model_max_length": 77, "pe_interpolation": None,
}  # fmt: skip
_HUNYUAN_DIT = {
    "image_model": "hydit", "depth": 4, "hidden_size": 32, "num_heads": 2, "in_channels": 4, "mlp_ratio": 2.0,
    "text_states_dim": TEXT, "text_states_dim_t5": TEXT, "text_len": 77, "text_len_t5": 16, "patch_size": 2,
    "qk_norm": True,
}  # fmt: skip
# What stands inside networks at a width that no config says: (module of comfy.ldm, class) and what it is made with.
_ADAPTER = {"source_dim": TEXT, "target_dim": TEXT, "model_dim": 32, "num_layers": 1, "num_heads": 2}


@dataclass(frozen=True)
class Transformer:
    """`supported` is the name of the host's class in comfy.supported_models, `config` that of the network; a latent has
    `channels`, and a dimension for its one frame if it is `framed`. `patch`: cells to a token, one way.
    `masked`: whether the network is to be told which of the text's tokens are any. `beside`: what of a prompt it gets
    besides the text and its pooled vector, by the host's name for it, in which size.
    """

    supported: str
    config: dict = field(hash=False)
    channels: int = 16
    framed: bool = False
    patch: int = 2
    masked: bool = False
    parts: dict = field(hash=False, default_factory=dict)
    beside: dict[str, tuple[int, ...]] = field(hash=False, default_factory=dict)


TRANSFORMERS = {
    "flux": Transformer("Flux", _FLUX),
    "sd3": Transformer("SD3", _SD3),
    "sd35_medium": Transformer("SD3", {**_SD3, "x_block_self_attn_layers": [0, 1]}),
    "cosmos_predict2": Transformer("CosmosT2IPredict2", _COSMOS, framed=True),
    "kandinsky5": Transformer("Kandinsky5Image", _KANDINSKY),
    "chroma": Transformer("Chroma", _CHROMA),
    "qwen_image": Transformer("QwenImage", _QWEN, framed=True),
    "z_image": Transformer("ZImage", _Z_IMAGE),
    "lumina2": Transformer("Lumina2", _LUMINA),
    "flux2": Transformer("Flux2", _FLUX2, channels=128, patch=1),
    "anima": Transformer(
        "Anima",
        {**_COSMOS, "image_model": "anima"},
        framed=True,
        parts={("anima.model", "LLMAdapter"): _ADAPTER},
    ),
    "wan": Transformer("WAN21_T2V", _WAN, framed=True),
    "hunyuan_image": Transformer("HunyuanImage21", _HUNYUAN_IMAGE, channels=64, patch=1),
    "aura": Transformer("AuraFlow", _AURA, channels=4),
    "longcat": Transformer("LongCatImage", _LONGCAT),
    "radiance": Transformer("ChromaRadiance", _RADIANCE, channels=3, patch=4),
    "omnigen2": Transformer("Omnigen2", _OMNIGEN, masked=True),
    "boogu": Transformer("Boogu", _BOOGU, masked=True),
    "krea2": Transformer("Krea2", _KREA, framed=True),
    "lens": Transformer("Lens", _LENS, channels=128, patch=1),
    "mage_flow": Transformer("MageFlow", _MAGE, channels=128, patch=1),
    "ideogram4": Transformer("Ideogram4", _IDEOGRAM, channels=128, patch=1),
    "joyimage": Transformer("JoyImage", _JOY, framed=True),
    "pixeldit": Transformer("PixelDiTT2I", _PIXELDIT, channels=3, patch=4),
    "hidream": Transformer("HiDream", _HIDREAM, beside={"conditioning_llama3": (2, 20, TEXT)}),
    "ernie": Transformer("ErnieImage", _ERNIE, channels=128, patch=1),
    "pixart": Transformer("PixArtSigma", _PIXART, channels=4, patch=8),
    "pixart_alpha": Transformer(
        "PixArtAlpha", {**_PIXART, "image_model": "pixart_alpha", "micro_condition": True}, channels=4, patch=8
    ),
    "hunyuan_dit": Transformer(
        "HunyuanDiT",
        _HUNYUAN_DIT,
        channels=4,
        masked=True,
        beside={"conditioning_mt5xl": (16, TEXT), "attention_mask_mt5xl": (16,)},
    ),
}


def available() -> list[str]:
    """The families that this version of the host has."""
    return [name for name, each in TRANSFORMERS.items() if hasattr(comfy.supported_models, each.supported)]


def config_class(name: str) -> type:
    """The host's config of a family, small."""
    each = TRANSFORMERS[name]
    parts = {"unet_config": each.config, "unet_extra_config": {}}
    return type(f"Tiny{each.supported}", (getattr(comfy.supported_models, each.supported),), parts)


@contextmanager
def small_parts(name: str) -> Iterator[None]:
    """While a network of the family is made: what stands inside it is small too."""
    each = TRANSFORMERS.get(name)
    before = []
    try:
        for (module, part), sizes in (each.parts if each else {}).items():
            module = importlib.import_module(f"comfy.ldm.{module}")
            before.append((module, part, getattr(module, part)))
            setattr(module, part, partial(getattr(module, part), **sizes))
        yield
    finally:
        for module, part, own in before:
            setattr(module, part, own)
