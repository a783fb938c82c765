"""TinyShapes as it is trained: the host's UNetModel and CLIPTextModel, with what training needs changed around them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def probabilities(q: Tensor, k: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention probabilities [b, heads, n, m] of queries [b, n, heads * d] on keys [b, m, heads * d]."""
    width = q.shape[-1] // heads
    q, k = (t.view(t.shape[0], -1, heads, width).transpose(1, 2) for t in (q, k))  # [b, heads, n, d]
    scores = (q * width**-0.5) @ k.transpose(-1, -2)
    return (scores if mask is None else scores + mask).softmax(-1)


def attend(weights: Tensor, v: Tensor) -> Tensor:
    """Probabilities [b, heads, n, m] and values [b, m, heads * d] -> [b, n, heads * d]."""
    heads = weights.shape[1]
    values = v.view(v.shape[0], -1, heads, v.shape[-1] // heads).transpose(1, 2)
    return (weights @ values).transpose(1, 2).flatten(2)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention with explicit probabilities: on the CPU its backward is faster than the fused kernel's."""
    return attend(probabilities(q, k, heads, mask), v)


class Watch:
    """`optimized_attention_override` for the host's UNet: explicit attention, keeping the
    cross-attention at 16 x 16.
    """

    def __init__(self):
        self.maps: list[Tensor] = []  # a layer: [b, 256, tokens], mean over the heads

    def __call__(self, _original, q: Tensor, k: Tensor, v: Tensor, heads: int, *args, **kwargs) -> Tensor:
        weights = probabilities(q, k, heads)
        if q.shape[1] == 256 and k.shape[1] != 256:
            self.maps.append(weights.float().mean(1))
        return attend(weights, v)

    def mean(self) -> Tensor:
        return torch.stack(self.maps).mean(0)


class TinyShapes(nn.Module):
    """UNet and text encoder. Text enters as rows of a small table (`vocabulary`: the host
    tokenizer's ids that occur).
    """

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
        """Vocabulary rows [b, 16] -> [b, 16, width]: the host's text encoder, its sums out of place so that autograd
        allows them.
        """
        model = self.text.text_model
        x = model.embeddings.token_embedding(rows) + model.embeddings.position_embedding.weight
        n = x.shape[1]
        causal = torch.full((n, n), -torch.finfo(torch.bfloat16).max, device=x.device).triu_(1)
        for layer in model.encoder.layers:
            x = x + layer.self_attn(layer.layer_norm1(x), causal, softmax_attention)
            x = x + layer.mlp(layer.layer_norm2(x))
        return model.final_layer_norm(x)

    def forward(self, x: Tensor, t: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted noise [b, 4, 16, 16] for noisy latents at timesteps `t` [b], and the mean cross-attention [b, 256,
        16].
        """
        watch = Watch()
        noise = self.unet(x, t, context=self.encode(rows), transformer_options={"optimized_attention_override": watch})
        return noise, watch.mean()


def noise_schedule() -> Tensor:
    """Stable Diffusion's cumulative products of 1 - beta, [1000]: square root of beta linear from .00085 to .012."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, 0).float()


def rows_of(captions: list[str], tokenizer, vocabulary: list[int]) -> Tensor:
    """Captions -> rows of the vocabulary [b, 16], by the host's tokenizer."""
    index = {token: row for row, token in enumerate(vocabulary)}
    ids = [[token for token, _ in tokenizer.tokenize_with_weights(caption)["l"][0]] for caption in captions]
    return torch.tensor(np.vectorize(index.__getitem__)(np.array(ids)))
