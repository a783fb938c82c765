"""The host's U-Net: where its cross-attentions are and at which resolution they work."""

from collections import Counter
from dataclasses import dataclass

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, ResBlock, Upsample

from ...core.maps.resolution import chosen_layers
from ..errors import HostError


@dataclass(frozen=True)
class Site:
    """One cross-attention layer: its block ("input", "middle" or "output"), the block's number, and its place inside
    it.
    """

    block: str
    number: int
    index: int

    @classmethod
    def of(cls, options: dict) -> "Site":
        """The layer that the host's `extra_options` of a patch speak of."""
        return cls(*options["block"], options["block_index"])

    def __str__(self) -> str:
        return f"{self.block} {self.number}.{self.index}"


@dataclass(frozen=True)
class Block:
    """A part of the network that can be run a second time from what went in: its module, and the parts of it that can
    be if it cannot be as a whole. `site` is where its cross-attention is, if it has one.
    """

    module: torch.nn.Module
    site: Site | None = None
    parts: tuple[torch.nn.Module, ...] = ()


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


def blocks(diffusion_model: torch.nn.Module) -> list[Block]:
    """The residual and the transformer blocks, in the order of the forward pass."""
    found = []
    for name, number, stage, _ in stages(diffusion_model):
        for layer in stage:
            if isinstance(layer, ResBlock):
                found.append(Block(layer))
            elif isinstance(layer, SpatialTransformer):
                for index, part in enumerate(layer.transformer_blocks):
                    if isinstance(part, BasicTransformerBlock):
                        found.append(Block(part, Site(name, number, index), (part.attn1, part.ff)))
    return found


def split_heads(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """[rows, n, heads * d] -> [rows, heads, n, d]"""
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


def cross_attention_sites(diffusion_model: torch.nn.Module) -> dict[Site, int]:
    """Every cross-attention layer outside the middle block with its resolution level, in the order of the forward pass.

    Raises HostError for a network without such layers (Flux, SD3 and other transformers that mix text and picture in
    one attention): there is no map of the words to work on.
    """
    sites: dict[Site, int] = {}
    for block, number, stage, level in stages(diffusion_model):
        for layer in stage if block != "middle" else ():
            if isinstance(layer, SpatialTransformer):
                for index, part in enumerate(layer.transformer_blocks):
                    if isinstance(part, BasicTransformerBlock) and part.attn2 is not None:
                        sites[Site(block, number, index)] = level
    if not sites:
        raise HostError(
            f"The model ({type(diffusion_model).__name__}) has no cross-attention between words and picture, so there "
            f"is nothing to guide. "
            "Prompt Fidelity works with Stable Diffusion 1.x, 2.x, SDXL and models built like them; connect such a "
            "checkpoint."
        )
    return sites


def sites_at(sites: dict[Site, int], level: int) -> frozenset[Site]:
    """The layers at `level`."""
    return frozenset(site for site, at in sites.items() if at == level)


def edited_sites(sites: dict[Site, int], level: int, layers: str) -> frozenset[Site]:
    """The layers at `level` that an edit with `layers` (one of core.maps.resolution.LAYERS) takes from every block."""
    at_level = sites_at(sites, level)
    depths = Counter((site.block, site.number) for site in at_level)
    return frozenset(site for site in at_level if site.index in chosen_layers(layers, depths[site.block, site.number]))


def last_site(sites: dict[Site, int], level: int) -> Site:
    """The layer after which a pass can end when only maps of `level` are wanted."""
    return [site for site, at in sites.items() if at == level][-1]
