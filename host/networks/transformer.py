"""What the transformers of all families have in common: stacks of blocks on one grid of the picture's patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import torch
from torch import Tensor

from ..errors import HostError
from .announcing import Announced
from .base import Block, Network, Site
from .chosen import chosen_sites
from .local import LocalPrompt

_LEVELS = 4  # maps can be had at the grid's own size, and at halves of it
_TEXT = 512  # tokens of a usual text encoder, for estimates
_ENDS = 12  # what is kept of a block that a pass ends in, in tensors of its width: what stands before its attention


@dataclass(frozen=True)
class Family:
    """What is to be known of a family whose network fits a kind.

    `stacks` are the names of its blocks and the attributes that hold them, in the order of the forward pass; `patch`
    and `width` the attributes that say how many latent cells a token has, one way, and how wide it is. `usual`: the
    blocks that are looked at unless the artist chooses others, (name, from, to) as shares of the stack's depth; all if
    there are none. `kept` is what a block keeps for backward, in tensors of its width, for estimates. `announces`:
    whether the host's options name the block at work (block_type, block_index). `words` is the attribute of a block
    that holds its attention to the words, if that is to be announced in the block's place. `before` names stacks of
    blocks that the picture goes through before it meets the words. `hands_on`: whether the
    network hands the host's options on to its blocks. `least`: how many cells a picture must have at least, one way.
    `beside`: what else of a prompt its blocks attend to, of a second encoder, by the network's names for it.

    The rest is about one row of tokens that all attend to each other. `order` says what stands in it, from the first to
    the last: "references" are whatever else the network is shown, there or not. `registers` are tokens of the network's
    own before the text, `multiple` the attribute that says of how many tokens text and picture are filled up to a
    multiple. `further`: whether more of the conditioning's tensors than the first are appended to the text. `front`:
    how many tokens the host fills a text up to, in front of it, before the network gets it.
    """

    title: str
    stacks: tuple[tuple[str, str], ...]
    patch: str = "patch_size"
    width: str = "hidden_size"
    usual: tuple[tuple[str, float, float], ...] = ()
    before: tuple[str, ...] = ()
    kept: int = 14
    announces: bool = False
    words: str = ""
    hands_on: bool = True
    least: int = 1
    beside: tuple[str, ...] = ()
    order: tuple[str, ...] = ("text", "picture")
    registers: int = 0
    multiple: str = ""
    further: bool = False
    front: int = 0


class Transformer(Network):
    """A network of one resolution, of a `family`."""

    def __init__(self, family: Family, model: torch.nn.Module):
        self.family = family
        self._extra_conds = model.extra_conds
        patch = getattr(model.diffusion_model, family.patch) if family.patch else 1
        self.patch = int(patch if isinstance(patch, int) else patch[-1])
        super().__init__(model)

    @property
    def title(self) -> str:
        return self.family.title

    @property
    def modules(self) -> dict[Site, torch.nn.Module]:
        """Every block by its site, in the order of the forward pass."""
        return {
            Site(name, number): block
            for name, attribute in self.family.stacks
            for number, block in enumerate(getattr(self.module, attribute, ()))
        }

    @property
    def attentions(self) -> dict[Site, torch.nn.Module]:
        """What announces each site: the attention itself, or the block that it is in."""
        words = self.family.words
        return {site: getattr(block, words) if words else block for site, block in self.modules.items()}

    def announced(self, around: Callable | None = None) -> Announced:
        """The `attentions`, to be made to name themselves."""
        return Announced(self.attentions, around, keeps=None if self.family.hands_on else self.module)

    def find_sites(self) -> dict[Site, int]:
        return dict.fromkeys(self.modules, self.patch)

    @property
    def levels(self) -> list[int]:
        return [self.patch * 2**i for i in range(_LEVELS)]

    def at_level(self, level: int) -> list[Site]:
        return list(self.sites)  # maps of the grid's own size are put together to coarser ones

    def recorded(self, level: int, blocks: str = "auto") -> frozenset[Site]:
        return frozenset(chosen_sites(self.at_level(level), blocks, self.title, self._usual()))

    def _usual(self) -> list[Site] | None:
        if not self.family.usual:
            return None
        found = []
        for name, first, last in self.family.usual:
            depth = sum(site.block == name for site in self.sites)
            found += [Site(name, number) for number in range(int(first * depth), math.ceil(last * depth))]
        return [site for site in self.sites if site in found]

    def edited(self, sites: frozenset[Site], layers: str) -> frozenset[Site]:
        return sites  # a block has one attention to the words

    def blocks(self) -> list[Block]:
        before = [Block(module) for attribute in self.family.before for module in getattr(self.module, attribute, ())]
        return before + [Block(module, site) for site, module in self.modules.items()]

    def local_prompts(self, encoded: Sequence[tuple[Tensor, dict]]) -> list[LocalPrompt]:
        """Encoded prompts (the host's conditioning: text and a dict of what else there is) as the network gets them.

        Raises HostError for an encoder that leaves something out.
        """
        return [LocalPrompt(self.handed_in(text), self._beside(text, more)) for text, more in encoded]

    def handed_in(self, text: Tensor) -> Tensor:
        """An encoded text [1, tokens, C] as the host hands it in."""
        return text

    def _beside(self, text: Tensor, more: dict) -> dict[str, Tensor]:
        if not self.family.beside:
            return {}
        given = self._extra_conds(**more, cross_attn=text, device=text.device)
        missing = [name for name in self.family.beside if name not in given]
        if missing:
            raise HostError(
                f"An object's own prompt is not all that {self.title} reads of one ({', '.join(missing)} is missing): "
                f"the CLIP that Extract Targets got is not {self.title}'s. Connect that one."
            )
        return {name: given[name].cond for name in self.family.beside}

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Tokens down and across of a latent; what does not fill a patch is filled up."""
        return math.ceil(height / self.patch), math.ceil(width / self.patch)

    def kept_bytes(self, shape, itemsize, run_again, sites) -> int:
        h, w = self.grid(*shape[-2:])
        tokens = h * w + (_TEXT if self.joint else 0)
        a_tensor = tokens * int(attrgetter(self.family.width)(self.module)) * itemsize
        order = list(self.sites)
        blocks = len(order) if sites is None else order.index(self.last(sites)) + 1
        blocks += len(self.blocks()) - len(order)
        if run_again:
            kept = blocks if sites is None else blocks - 1 + _ENDS
        else:
            kept = blocks * self.family.kept + len(sites or ())
        return int(shape[0] * a_tensor * kept)
