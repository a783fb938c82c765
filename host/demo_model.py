"""TinyShapes, the pack's small text-to-image model of coloured shapes, loaded through the host's own classes."""

from __future__ import annotations

TOKENS = 16  # token positions: with 77, padding would take three quarters of all cross-attention

# Stable Diffusion 1.x's architecture, smaller: 16 x 16 latents, attention at 16 x 16 and 8 x 8.
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

CLIP_CONFIG = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": TOKENS,
    "eos_token_id": 49407,
}
