"""The host's U-Net: where its cross-attentions are and at which resolution they work."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock

from ...core.maps.resolution import chosen_layers
from .attention import CrossAttention, split_heads
from .base import Block, Finder, Network, Site
from .unet_layers import cross_attentions, site_of, stages
from .unet_mixes import LayerMixes

# What a block keeps for backward, in tensors of its width at its resolution, and what goes into it, which is all that
# is kept of a block that is run again. benchmarks/cost.py --parts kept counts the bytes that this estimates.
_KEPT_OF_TRANSFORMER, _KEPT_OF_RESIDUAL = 19, 2.5
_MAPS = 3  # times a recorded layer's probabilities, which are float32, are kept
_HEAD_WIDTH = 64  # the narrowest usual heads but SD1's; how many probabilities a pixel has follows from it


class UNet(Network):
    """Stable Diffusion 1.x, 2.x, SDXL and their kin."""

    joint = False
    title = "Stable Diffusion's U-Net"

    def find_sites(self) -> dict[Site, int]:
        """Every cross-attention layer outside the middle block."""
        return {site: level for site, level, _ in cross_attentions(self.module) if site.block != "middle"}

    def edited(self, sites: frozenset[Site], layers: str) -> frozenset[Site]:
        depths = Counter((site.block, site.number) for site in self.sites)
        return frozenset(site for site in sites if site.index in chosen_layers(layers, depths[site.block, site.number]))

    def blocks(self) -> list[Block]:
        """The residual and the transformer blocks."""
        found = []
        for name, number, stage, _ in stages(self.module):
            for layer in stage:
                if isinstance(layer, ResBlock):
                    found.append(Block(layer))
                elif isinstance(layer, SpatialTransformer):
                    for index, part in enumerate(layer.transformer_blocks):
                        if isinstance(part, BasicTransformerBlock):
                            found.append(Block(part, Site(name, number, index), (part.attn1, part.ff)))
        return found

    def finder(self) -> UNetFinder:
        return UNetFinder()

    def mixes(self, mixer, rows, local, learning: bool = False) -> LayerMixes:
        layers = {site: layer for site, _, layer in cross_attentions(self.module)}
        return LayerMixes(mixer, rows, [text for text, _ in local], layers, learning)

    def kept_bytes(self, shape, itemsize, run_again, sites) -> int:
        rows, (h, w) = shape[0], shape[-2:]
        end = None if sites is None else self.last(sites)
        level = None if end is None else self.sites[end]
        kept = 0.0
        for name, number, stage, at in stages(self.module):
            pixels = math.ceil(h / at) * math.ceil(w / at)
            for layer in stage:
                if isinstance(layer, ResBlock):
                    width = layer.channels + layer.out_channels
                    kept += pixels * (layer.channels if run_again else _KEPT_OF_RESIDUAL * width) * itemsize
                elif isinstance(layer, SpatialTransformer):
                    blocks = [part for part in layer.transformer_blocks if isinstance(part, BasicTransformerBlock)]
                    width = layer.in_channels
                    kept += pixels * width * itemsize * (2 + len(blocks) * (1 if run_again else _KEPT_OF_TRANSFORMER))
                    if at == level and not run_again:
                        kept += pixels * len(blocks) * width / _HEAD_WIDTH * 77 * 4 * _MAPS
            if end is not None and (name, number) == (end.block, end.number):
                break
        return int(rows * kept)


class UNetFinder(Finder):
    """The host calls a patch right before each cross-attention: what is called next with as many keys is that one."""

    def __init__(self) -> None:
        self._announced: tuple[dict, int] | None = None
        self._listens: Callable = _deaf

    def install(self, model_options: dict, listens: Callable, replaced: Callable) -> None:
        self._listens = listens
        options = model_options.setdefault("transformer_options", {})
        patches = options.setdefault("patches", {})
        patches["attn2_patch"] = [*patches.get("attn2_patch", []), self._announce]
        replacements = options.setdefault("patches_replace", {})
        replacements["attn2"] = {
            slot: self._seen(patch, replaced) for slot, patch in replacements.get("attn2", {}).items()
        }

    def remove(self) -> None:
        self._listens = _deaf  # who listens holds this: in a circle a run would outlive its end

    def _announce(self, n, context, value, extra_options: dict):
        """The host's attn2 patch, called right before a cross-attention projects its inputs: changes nothing."""
        if self._listens(n, extra_options):
            self._announced = (extra_options, context.shape[1])
        return n, context, value

    def _seen(self, patch: Callable, replaced: Callable) -> Callable:
        """Another pack's replacement of a cross-attention, seen from outside."""

        def around(q, k, v, extra_options: dict):
            if not self._listens(q, extra_options):
                return patch(q, k, v, extra_options)
            self._announced = None
            heads = extra_options["n_heads"]
            return replaced(patch, q, k, v, extra_options, self._attention(q, k, v, heads, extra_options, None, {}))

        return around

    def attention(self, q, k, v, heads, named, call_of) -> CrossAttention | None:
        if named.get("skip_reshape"):
            return None
        announced, self._announced = self._announced, None
        if announced is None or announced[1] != k.shape[1]:  # it is another attention
            return None
        return self._attention(q, k, v, heads, announced[0], named.get("mask"), named)

    @staticmethod
    def _attention(q, k, v, heads, options, mask, named) -> CrossAttention:
        q, k, v = (split_heads(tensor, heads) for tensor in (q, k, v))
        size = tuple(options["activations_shape"][-2:])
        return CrossAttention(site_of(options), size, options, q, k, v, mask, named.get("scale"))


def _deaf(tensor, options) -> bool:
    return False
