"""The published widths of a few transformers, and what their networks are called with for one picture of 1024².

Meant for PyTorch's meta device, where weights are not there, or for one block of each: the whole has gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import comfy.supported_models
import torch

_FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "hidden_size": 3072, "context_in_dim": 4096,
    "mlp_ratio": 4.0, "num_heads": 24, "depth": 19, "depth_single_blocks": 38, "axes_dim": [16, 56, 56],
    "theta": 10000, "patch_size": 2, "qkv_bias": True, "guidance_embed": True, "vec_in_dim": 768, "txt_ids_dims": [],
}  # fmt: skip
_SD35_LARGE = {
    "in_channels": 16, "patch_size": 2, "out_channels": 16, "depth": 38, "input_size": None, "adm_in_channels": 2048,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 2432}},
    "num_patches": 36864, "pos_embed_max_size": 192, "pos_embed_scaling_factor": None, "qk_norm": "rms",
    "x_block_self_attn_layers": [],
}  # fmt: skip
_Z_IMAGE = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 3840, "cap_feat_dim": 2560, "n_layers": 30,
    "qk_norm": True, "n_heads": 30, "n_kv_heads": 30, "axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512],
    "rope_theta": 256.0, "ffn_dim_multiplier": 8 / 3, "z_image_modulation": True, "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}  # fmt: skip
_QWEN_IMAGE = {
    "image_model": "qwen_image", "in_channels": 64, "out_channels": 16, "num_layers": 60, "attention_head_dim": 128,
    "num_attention_heads": 24, "joint_attention_dim": 3584, "axes_dims_rope": (16, 56, 56),
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """`supported` is the host's class, `config` the network's. `text` [tokens, C] is what a usual prompt becomes,
    `more` the sizes of what else the network is called with. `depths` are the entries of `config` that say how many
    blocks of a kind there are.
    """

    supported: str
    config: dict
    text: tuple[int, int]
    depths: tuple[str, ...]
    more: dict[str, tuple[int, ...]] = field(default_factory=dict)
    framed: bool = False

    def model(self, dtype: torch.dtype, device: str, **changes) -> torch.nn.Module:
        """The host's model, with weights that are not there, or not set."""
        made = type(self.supported, (getattr(comfy.supported_models, self.supported),), {"unet_extra_config": {}})
        made.unet_config = {**self.config, **changes}
        config = made(dict(made.unet_config))
        config.set_inference_dtype(dtype, None)
        with torch.inference_mode():
            return config.get_model({}, "", device=device)

    def inputs(self, latent: tuple[int, int], dtype: torch.dtype, device) -> tuple[torch.Tensor, dict]:
        """A latent of one picture, and the other arguments of the network, zeros."""
        frame = (1,) if self.framed else ()
        x = torch.zeros(1, 16, *frame, *latent, dtype=dtype, device=device)
        named = {"context": torch.zeros(1, *self.text, dtype=dtype, device=device)}
        named |= {name: torch.zeros(1, *size, dtype=dtype, device=device) for name, size in self.more.items()}
        if self.supported == "ZImage":
            named["num_tokens"] = self.text[0]
        return x, named


PUBLISHED = {
    "flux": Published("Flux", _FLUX, (256, 4096), ("depth", "depth_single_blocks"), {"y": (768,), "guidance": ()}),
    "sd35_large": Published("SD3", _SD35_LARGE, (154, 4096), ("num_blocks",), {"y": (2048,)}),
    "z_image": Published("ZImage", _Z_IMAGE, (64, 2560), ("n_layers",)),
    "qwen_image": Published("QwenImage", _QWEN_IMAGE, (64, 3584), ("num_layers",), framed=True),
}
