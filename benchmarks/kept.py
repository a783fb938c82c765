"""Bytes that a gradient pass keeps for the backward pass, counted on networks of the published widths.

The networks lie on PyTorch's meta device, where tensors have sizes and nothing in them: every storage that autograd
keeps when the pass ends is counted once.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import comfy.ops
import comfy.supported_models
import torch
from comfy.ldm.modules.attention import attention_pytorch
from prompt_fidelity.core.maps.view import Place
from prompt_fidelity.host.networks import families
from prompt_fidelity.host.networks.calls import Call
from prompt_fidelity.host.networks.rows import Part
from prompt_fidelity.host.networks.tap import PassEnded, Tap
from prompt_fidelity.host.sampling.grad import differentiable
from widths import PUBLISHED

UNET = {"image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "use_spatial_transformer": True,
        "use_temporal_attention": False, "legacy": False}  # fmt: skip
FOUR_LEVELS = {
    **UNET, "channel_mult": [1, 2, 4, 4], "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "adm_in_channels": None,
}  # fmt: skip


class SD15(comfy.supported_models.SD15):
    unet_config = {**FOUR_LEVELS, "context_dim": 768, "use_linear_in_transformer": False}


class SD21(comfy.supported_models.SD20):
    unet_config = {**FOUR_LEVELS, "context_dim": 1024, "use_linear_in_transformer": True}


class SDXL(comfy.supported_models.SDXL):
    unet_config = {
        **UNET, "channel_mult": [1, 2, 4], "num_res_blocks": [2, 2, 2], "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_middle": 10, "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "context_dim": 2048, "use_linear_in_transformer": True, "adm_in_channels": 2816, "num_classes": "sequential",
    }  # fmt: skip


FAMILIES = {"sd15": SD15, "sd21": SD21, "sdxl": SDXL}
PROMPT = range(1, 25)  # the tokens of a usual prompt among those of its encoder


def model_of(family: str, dtype: torch.dtype, device: str = "meta") -> torch.nn.Module:
    """The host's model of a family at its published width, with weights that are not there."""
    if family in PUBLISHED:
        return PUBLISHED[family].model(dtype, device)
    config = FAMILIES[family](FAMILIES[family].unet_config)
    config.set_inference_dtype(dtype, None)
    with torch.inference_mode():
        return config.get_model({}, "", device=device)


def network_of(family: str, dtype: torch.dtype, device: str = "meta") -> torch.nn.Module:
    """The U-Net alone."""
    return model_of(family, dtype, device).diffusion_model


class OnePicture:
    """In the place of the host layer's Rows: every row is the prompt's, of so many tokens, and shows the whole of one
    picture.
    """

    def __init__(self, latent: tuple[int, int], tokens: int = 77):
        self.place = Place.whole(1, *latent)
        self._call = Call((1, *latent), context=tokens)

    def call(self, options: dict) -> Call:
        return self._call

    def makes_map(self, size: tuple[int, int], pixels: int) -> bool:
        return True

    def again(self):
        return nullcontext

    def parts_of(self, attention) -> list[Part]:
        return [Part(slice(0, attention.rows), 0, self.place, self._call.context)]


def kept(family: str, latent: tuple[int, int], dtype: torch.dtype, run_again: bool, resolution: str = "auto") -> int:
    """Bytes that are kept when a pass for the gradient of one picture's latent ends."""
    model = model_of(family, dtype)
    known, network = families.network_of(model), model.diffusion_model
    sites, size = known.looked_at(resolution, *latent)
    x, named = _inputs(family, network, latent, dtype)
    tokens = named["context"].shape[1]
    tap = Tap(known, OnePicture(latent, tokens), sites, tokens, size, PROMPT if known.joint else None)
    model_options: dict = {"transformer_options": {"optimized_attention_override": pytorchs} if known.joint else {}}
    tap.install(model_options)
    options = model_options["transformer_options"]
    options |= {"uuids": [0], "cond_or_uncond": [0]}
    with fused_attention(), differentiable(network, run_again=known if run_again else None, taps=[tap]) as keeps:
        x = x.requires_grad_()
        with tap.listening(gradient=True) as recording:
            try:
                network(x, torch.ones(1, device=x.device), **named, transformer_options=options)
            except PassEnded:
                pass
        maps = recording.result()
        assert maps.requires_grad
        weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
        return sum(size for storage, size in keeps.storages.items() if storage not in weights)


def _inputs(family: str, network: torch.nn.Module, latent: tuple[int, int], dtype: torch.dtype):
    device = next(network.parameters()).device
    if family in PUBLISHED:
        return PUBLISHED[family].inputs(latent, dtype, device)
    named = {"context": torch.zeros(1, 77, _context(network), dtype=dtype, device=device)}
    if network.num_classes:
        named["y"] = torch.zeros(1, network.label_emb[0][0].in_features, dtype=dtype, device=device)
    return torch.zeros(1, 4, *latent, dtype=dtype, device=device), named


def with_blocks_run_again(model: torch.nn.Module):
    """A gradient pass in which every block is run again."""
    return differentiable(model.diffusion_model, run_again=families.network_of(model))


def _context(network: torch.nn.Module) -> int:
    return next(part for name, part in network.named_modules() if name.endswith("attn2.to_k")).in_features


def pytorchs(func, *arguments, **named):
    """What a card attends with."""
    return attention_pytorch(*arguments, **named)


class _Fused(torch.autograd.Function):
    """What a fused attention keeps (flash, memory-efficient): its inputs, its output, and a number for each query."""

    @staticmethod
    def forward(ctx, q, k, v):
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out, torch.empty(q.shape[:-1], device=q.device))
        return out


@contextmanager
def fused_attention():
    """PyTorch has no fused attention on the meta device, and would count the probabilities that it never writes out."""
    before = comfy.ops.scaled_dot_product_attention
    comfy.ops.scaled_dot_product_attention = lambda q, k, v, *args, **kwargs: _Fused.apply(q, k, v)
    try:
        yield
    finally:
        comfy.ops.scaled_dot_product_attention = before
