"""TinyScenes as it is trained: the host's Flux and CLIPTextModel hold the weights, plain functions compute with them.

The functions compute what the host's classes compute (tests/host/test_tinyscenes.py compares the two), written so that
`torch.compile` can fuse what lies between the matrix products: on a processor those cost more than the products
themselves. On a processor attention is written out, because its backward is faster there than the fused kernel's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention, silu

Turn = tuple[Tensor, Tensor]  # cosines and sines [tokens, width / 2]


def rotations(side: int, text: int, axes: list[int], theta: float) -> Turn:
    """Cosines and sines [text + side * side, width / 2] of the rotary position embedding.

    Words stand at the origin, cells at (0, row, column); each axis turns its own share of the head's channels.
    """
    cells = torch.stack([torch.zeros(side * side), *(i.flatten() for i in _rows_columns(side))], -1).double()
    places = torch.cat([torch.zeros(text, 3, dtype=torch.float64), cells])  # [tokens, 3]
    angles = torch.cat(
        [places[:, i, None] / theta ** (torch.arange(0, n, 2).double() / n) for i, n in enumerate(axes)], -1
    )
    return angles.cos().float(), angles.sin().float()


def _rows_columns(side: int) -> tuple[Tensor, Tensor]:
    line = torch.arange(side).float()
    return line[:, None].expand(side, side), line[None, :].expand(side, side)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + width / 2) of the channels of x [b, heads, n, width]; see `_unpaired`."""
    a, b = x.chunk(2, -1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([torch.addcmul(a * cos, b, sin, value=-1), torch.addcmul(b * cos, a, sin)], -1)


def _unpaired(weight: Tensor, heads: int) -> Tensor:
    """Reorder the rows of queries or keys [heads * width, ...] so that the channels that turn together, which the
    host keeps side by side, lie half a head apart: scores do not change, and the rotation runs over whole vectors.
    """
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, look: bool) -> tuple[Tensor, Tensor | None]:
    """Softmax attention over [b, heads, n, width] -> [b, n, heads * width], and if asked for its probabilities
    [b, heads, n, n]. The queries come scaled.
    """
    if q.is_cuda and not look:
        return scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).flatten(2), None
    weights = (q @ k.transpose(-1, -2)).softmax(-1)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2), weights if look else None


def time_features(t: Tensor, width: int = 256) -> Tensor:
    """Cosines and sines of 1000 t [b] at geometric frequencies, [b, width]."""
    steps = torch.arange(width // 2, dtype=torch.float32, device=t.device) / (width // 2)
    angles = 1000.0 * t[:, None].float() * torch.exp(-math.log(10_000.0) * steps)
    return torch.cat([angles.cos(), angles.sin()], -1)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


def _part(x: Tensor, layer: nn.Linear, first: int, last: int, heads: int = 0) -> Tensor:
    """Outputs `first` to `last` of a linear layer, for queries and keys (`heads` given) with their channels unpaired.

    Layers that the host computes as one are computed in parts: cutting their output is free, but the backward of the
    cuts is not.
    """
    weight, bias = layer.weight[first:last], layer.bias[first:last]
    if heads:
        weight, bias = _unpaired(weight, heads), _unpaired(bias, heads)
    return linear(x, weight, bias)


def _heads(x: Tensor, layer: nn.Linear, norm: nn.Module, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys (both normalised, their channels unpaired; queries scaled) and values [b, heads, n, width] from x
    [b, n, inner].
    """
    inner = x.shape[-1]
    q, k, v = (
        _part(x, layer, i * inner, (i + 1) * inner, heads if i < 2 else 0).unflatten(-1, (heads, -1)).transpose(1, 2)
        for i in range(3)
    )
    q_gain, k_gain = (gain.weight.view(-1, 2).T.flatten() for gain in (norm.query_norm, norm.key_norm))
    return _normalised(q, q_gain * q.shape[-1] ** -0.5), _normalised(k, k_gain), v


def _normalised(x: Tensor, gain: Tensor) -> Tensor:
    """RMS norm over the last axis."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return x * (length.square() / x.shape[-1] + 1e-6).rsqrt().to(x.dtype) * gain.to(x.dtype)


def _mlp(layers: nn.Sequential, x: Tensor) -> Tensor:
    return layers[2](gelu(layers[0](x), approximate="tanh"))


class TinyScenes(nn.Module):
    """Flux and a text encoder. Text enters as rows of a small table (`vocabulary`: the host tokenizer's ids in use)."""

    def __init__(self, flux_config: dict, clip_config: dict, vocabulary: list[int], side: int = 16):
        super().__init__()
        import comfy.clip_model
        import comfy.ops
        from comfy.ldm.flux.model import Flux

        operations = comfy.ops.disable_weight_init
        self.flux = Flux(**flux_config, dtype=torch.float32, device="cpu", operations=operations)
        self.text = comfy.clip_model.CLIPTextModel(clip_config, torch.float32, "cpu", operations)
        self.text.set_input_embeddings(nn.Embedding(len(vocabulary), clip_config["hidden_size"]))
        self.text.text_projection = None
        self.vocabulary, self.side = vocabulary, side
        self._fast = None
        self.tokens = clip_config["max_position_embeddings"]
        self.text_heads = clip_config["num_attention_heads"]
        self.heads = flux_config["num_heads"]
        cos, sin = rotations(side, self.tokens, flux_config["axes_dim"], flux_config["theta"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def initialise(self, seed: int) -> None:
        """Random weights (the host's layers come uninitialised): each block starts as the identity."""
        generator = torch.Generator().manual_seed(seed)
        closed = ("final_layer.linear.weight", "mod.lin.weight", "modulation.lin.weight", "modulation.1.weight")
        for name, parameter in self.named_parameters():
            with torch.no_grad():
                if "embedding" in name:
                    parameter.normal_(0.0, 0.1, generator=generator)
                elif name.endswith("bias") or name.endswith(closed):
                    parameter.zero_()
                elif parameter.ndim == 1:  # a norm's weight
                    parameter.fill_(1.0)
                else:
                    parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
                if name.startswith("text") and name.endswith(("out_proj.weight", "fc2.weight")):
                    parameter.mul_(0.4)

    def encode(self, rows: Tensor) -> Tensor:
        """Vocabulary rows [b, tokens] -> [b, tokens, width], as the host's text encoder does."""
        model = self.text.text_model
        x = model.embeddings.token_embedding(rows) + model.embeddings.position_embedding.weight
        n = x.shape[1]
        hidden = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
        for layer in model.encoder.layers:
            attention, y = layer.self_attn, layer.layer_norm1(x)
            q, k, v = (
                part(y).unflatten(-1, (self.text_heads, -1)).transpose(1, 2)
                for part in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
            x = x + attention.out_proj((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))
            y = layer.mlp.fc1(layer.layer_norm2(x))
            x = x + layer.mlp.fc2(y * torch.sigmoid(1.702 * y))
        return model.final_layer_norm(x)

    def double(
        self, block: nn.Module, img: Tensor, txt: Tensor, vec: Tensor, turn: Turn, look: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """A block with weights of their own for picture and words: both streams, and the attention's probabilities."""
        tokens, attn, words = self.tokens, block.img_attn, block.txt_attn
        i_shift, i_scale, i_gate, i_shift2, i_scale2, i_gate2 = block.img_mod.lin(vec).chunk(6, -1)
        t_shift, t_scale, t_gate, t_shift2, t_scale2, t_gate2 = block.txt_mod.lin(vec).chunk(6, -1)
        iq, ik, iv = _heads(_modulated(img, i_shift, i_scale), attn.qkv, attn.norm, self.heads)
        tq, tk, tv = _heads(_modulated(txt, t_shift, t_scale), words.qkv, words.norm, self.heads)
        q, k = (rotate(torch.cat(parts, 2), *turn) for parts in ((tq, iq), (tk, ik)))
        out, weights = attend(q, k, torch.cat([tv, iv], 2), look)
        txt = txt + t_gate * words.proj(out[:, :tokens])
        img = img + i_gate * attn.proj(out[:, tokens:])
        txt = txt + t_gate2 * _mlp(block.txt_mlp, _modulated(txt, t_shift2, t_scale2))
        img = img + i_gate2 * _mlp(block.img_mlp, _modulated(img, i_shift2, i_scale2))
        return img, txt, weights

    def single(
        self, block: nn.Module, both: Tensor, vec: Tensor, turn: Turn, look: bool
    ) -> tuple[Tensor, Tensor | None]:
        """A block over words and picture together, attention beside the MLP."""
        shift, scale, gate = block.modulation.lin(vec).chunk(3, -1)
        y, inner = _modulated(both, shift, scale), both.shape[-1]
        q, k, v = _heads(y, block.linear1, block.norm, self.heads)
        out, weights = attend(rotate(q, *turn), rotate(k, *turn), v, look)
        y = gelu(_part(y, block.linear1, 3 * inner, block.linear1.weight.shape[0]), approximate="tanh")
        out = linear(out, block.linear2.weight[:, :inner], block.linear2.bias)
        out = out + linear(y, block.linear2.weight[:, inner:])
        return both + gate * out, weights

    def compile(self) -> None:
        """Let the compiler fuse each kind of block, once for all blocks of the kind."""
        self._fast = tuple(torch.compile(part, dynamic=False) for part in (self.encode, self.double, self.single))

    def turn_of(self, corner: tuple[int, int], side: int) -> Turn:
        """The rotations of the words and of a square window of cells whose first is at (row, column) `corner`."""
        row, column = corner
        lines = torch.arange(side, device=self.cos.device)
        cells = ((row + lines)[:, None] * self.side + column + lines).flatten()
        chosen = torch.cat([torch.arange(self.tokens, device=cells.device), self.tokens + cells])
        return self.cos[chosen], self.sin[chosen]

    def forward(
        self, x: Tensor, t: Tensor, rows: Tensor, maps: list | None = None, corner: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """Velocity [b, 16, side, side] predicted for noisy latents at times `t` [b] in 0..1 (1 is noise). `corner` says
        where in the whole picture a smaller window lies.

        `maps` receives, for each block, the words' columns of the picture's rows: [b, cells, tokens], mean over heads.
        """
        net, tokens, turn, look = self.flux, self.tokens, self.turn_of(corner, x.shape[-1]), maps is not None
        fast = self._fast if torch.is_grad_enabled() else None
        encode, double, single = fast or (self.encode, self.double, self.single)
        img = net.img_in(x.flatten(2).transpose(1, 2))
        txt = net.txt_in(encode(rows).to(img.dtype))
        vec = silu(net.time_in.out_layer(silu(net.time_in.in_layer(time_features(t)))))[:, None]
        probabilities = []
        for block in net.double_blocks:
            img, txt, weights = double(block, img, txt, vec, turn, look)
            probabilities.append(weights)
        both = torch.cat([txt, img], 1)
        for block in net.single_blocks:
            both, weights = single(block, both, vec, turn, look)
            probabilities.append(weights)
        if look:
            maps += [weights[:, :, tokens:, :tokens].float().mean(1) for weights in probabilities]
        shift, scale = net.final_layer.adaLN_modulation[1](vec).chunk(2, -1)
        out = net.final_layer.linear(_modulated(both[:, tokens:], shift, scale))
        return out.transpose(1, 2).unflatten(-1, x.shape[-2:])
