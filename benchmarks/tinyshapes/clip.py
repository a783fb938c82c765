"""TinyCLIP as it is trained: the host's vision tower and text encoder, their sums out of place so that autograd
allows them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .model import softmax_attention


class TinyClip(nn.Module):
    """`vocabulary`: the host tokenizer's ids that captions use; text enters as rows of that small table."""

    def __init__(self, text_config: dict, vision_config: dict, vocabulary: list[int]):
        super().__init__()
        import comfy.clip_model
        import comfy.ops

        operations = comfy.ops.disable_weight_init
        self.text = comfy.clip_model.CLIPTextModel(text_config, torch.float32, "cpu", operations)
        self.text.set_input_embeddings(nn.Embedding(len(vocabulary), text_config["hidden_size"]))
        self.vision = comfy.clip_model.CLIPVisionModelProjection(vision_config, torch.float32, "cpu", operations)
        self.vocabulary = vocabulary

    def initialise(self, seed: int) -> None:
        """Random weights; the host's layers come uninitialised."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            with torch.no_grad():
                if "embedding" in name and "patch" not in name:
                    parameter.normal_(0.0, 0.1, generator=generator)
                elif name.endswith("bias"):
                    parameter.zero_()
                elif parameter.ndim == 1:  # a norm's weight
                    parameter.fill_(1.0)
                else:
                    parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
                if name.endswith(("out_proj.weight", "fc2.weight")):
                    parameter.mul_(0.4)

    def encode_text(self, rows: Tensor, ends: Tensor) -> Tensor:
        """Vocabulary rows [b, tokens], each text's place of the end token [b] -> unit embeddings [b, width]."""
        tower = self.text.text_model
        x = tower.embeddings.token_embedding(rows) + tower.embeddings.position_embedding.weight
        n = x.shape[1]
        causal = torch.full((n, n), -torch.finfo(torch.bfloat16).max, device=x.device).triu_(1)
        x = tower.final_layer_norm(_through(tower.encoder.layers, x, causal))
        return nn.functional.normalize(self.text.text_projection(x[torch.arange(len(x)), ends]), dim=-1)

    def encode_pictures(self, pictures: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """[b, side, side, 3] in 0..1 -> unit embeddings [b, width]."""
        tower = self.vision.vision_model
        pixels = ((pictures - mean) / std).movedim(-1, 1)
        x = _through(tower.encoder.layers, tower.pre_layrnorm(tower.embeddings(pixels)), None)
        return nn.functional.normalize(self.vision.visual_projection(tower.post_layernorm(x[:, 0])), dim=-1)


def _through(layers: nn.ModuleList, x: Tensor, mask: Tensor | None) -> Tensor:
    for layer in layers:
        x = x + layer.self_attn(layer.layer_norm1(x), mask, softmax_attention)
        x = x + layer.mlp(layer.layer_norm2(x))
    return x
