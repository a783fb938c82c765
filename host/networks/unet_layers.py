"""The parts of the host's U-Net, in the order of its forward pass."""

from __future__ import annotations

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, Upsample

from .base import Site


def site_of(options: dict) -> Site:
    """The layer that the host's `extra_options` of a patch speak of."""
    return Site(*options["block"], options["block_index"])


def stages(diffusion_model: torch.nn.Module) -> list[tuple[str, int, torch.nn.Module, int]]:
    """Every stage of the network in the order of the forward pass: (block, number) as in `Site`, its module, and the
    resolution level that its layers work at.
    """
    found, level = [], 1
    middle = getattr(diffusion_model, "middle_block", None)
    parts = [("input", list(getattr(diffusion_model, "input_blocks", ())))]
    parts += [("middle", [middle] if middle is not None else [])]
    parts += [("output", list(getattr(diffusion_model, "output_blocks", ())))]
    for name, modules in parts:
        for number, stage in enumerate(modules):
            found.append((name, number, stage, level))
            # A stage's own layers come before its change of resolution.
            for layer in stage:
                if isinstance(layer, Downsample):
                    level *= 2
                elif isinstance(layer, Upsample):
                    level //= 2
    return found


def cross_attentions(diffusion_model: torch.nn.Module) -> list[tuple[Site, int, torch.nn.Module]]:
    """Every cross-attention of the U-Net in the order of the forward pass: its place, level and module."""
    return [
        (Site(block, number, index), level, part.attn2)
        for block, number, stage, level in stages(diffusion_model)
        for layer in stage
        if isinstance(layer, SpatialTransformer)
        for index, part in enumerate(layer.transformer_blocks)
        if isinstance(part, BasicTransformerBlock) and part.attn2 is not None
    ]
