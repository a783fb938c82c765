"""TinyShapes as it is trained: the host's UNetModel and CLIPTextModel, with what training needs changed around them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **_) -> Tensor:
    """Attention with explicit probabilities: on the CPU its backward is faster than the fused kernel's. [b, n, h * d] in and out."""
    b, n, width = q.shape
    q, k, v = (t.view(b, -1, heads, width // heads).transpose(1, 2) for t in (q, k, v))  # [b, h, n, d]
    scores = (q * (width // heads) ** -0.5) @ k.transpose(-1, -2)  # [b, h, n, m]
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, width)


def override(_original, q: Tensor, k: Tensor, v: Tensor, heads: int, *args, **kwargs) -> Tensor:
    """`optimized_attention_override` for the host's UNet."""
    return softmax_attention(q, k, v, heads)


class TinyShapes(nn.Module):
    """UNet and text encoder. Text enters as rows of a small table (`vocabulary`: the host tokenizer's ids that occur)."""

    def __init__(self, unet_config: dict, clip_config: dict, vocabulary: list[int]):
        super().__init__()
        import comfy.clip_model
        import comfy.ops
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

        operations = comfy.ops.disable_weight_init
        self.unet = UNetModel(**unet_config, dtype=torch.float32, device="cpu", operations=operations)
        self.text = comfy.clip_model.CLIPTextModel(clip_config, torch.float32, "cpu", operations)
        self.text.set_input_embeddings(nn.Embedding(len(vocabulary), clip_config["hidden_size"]))
        self.text.text_projection = None
        self.vocabulary = vocabulary

    def initialise(self, seed: int) -> None:
        """Random weights (the host's layers come uninitialised): each residual branch starts at nought."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            last = name.split(".")[-1]
            with torch.no_grad():
                if "embedding" in name:
                    parameter.normal_(0.0, 0.1, generator=generator)
                elif last == "bias":
                    parameter.zero_()
                elif parameter.ndim == 1:  # a norm's weight
                    parameter.fill_(1.0)
                else:
                    fan_in = parameter[0].numel()
                    parameter.normal_(0.0, fan_in**-0.5, generator=generator)
                if name.endswith(("out_layers.3.weight", "proj_out.weight")) or name == "unet.out.2.weight":
                    parameter.zero_()
                elif "text" in name and name.endswith(("out_proj.weight", "fc2.weight")):
                    parameter.mul_(0.4)

    def encode(self, rows: Tensor) -> Tensor:
        """Vocabulary rows [b, 16] -> [b, 16, width]: the host's text encoder, its sums out of place so that autograd allows them."""
        model = self.text.text_model
        x = model.embeddings.token_embedding(rows) + model.embeddings.position_embedding.weight
        n = x.shape[1]
        causal = torch.full((n, n), -torch.finfo(torch.bfloat16).max, device=x.device).triu_(1)
        for layer in model.encoder.layers:
            x = x + layer.self_attn(layer.layer_norm1(x), causal, softmax_attention)
            x = x + layer.mlp(layer.layer_norm2(x))
        return model.final_layer_norm(x)

    def forward(self, x: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """Predicted noise [b, 4, 16, 16] for noisy latents at timesteps `t` [b]."""
        return self.unet(x, t, context=self.encode(rows), transformer_options={"optimized_attention_override": override})


def noise_schedule() -> Tensor:
    """Stable Diffusion's cumulative products of 1 - beta, [1000]: square root of beta linear from .00085 to .012."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, 0).float()


def rows_of(captions: list[str], tokenizer, vocabulary: list[int]) -> Tensor:
    """Captions -> rows of the vocabulary [b, 16], by the host's tokenizer."""
    index = {token: row for row, token in enumerate(vocabulary)}
    ids = [[token for token, _ in tokenizer.tokenize_with_weights(caption)["l"][0]] for caption in captions]
    return torch.tensor(np.vectorize(index.__getitem__)(np.array(ids)))
