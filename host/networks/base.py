"""What the pack has to know of a network: where words meet the picture in it, and how to get there.

A kind of network is one file beside this one; which network is of which kind stands in `families`. Nothing else in the
pack knows a family by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ...core.control.outputs import OutputMixer
from ...core.copies import CopiesToItself
from ...core.maps.resolution import choose_level, map_size
from ..errors import HostError
from .attention import Attention
from .chosen import chosen_sites

if TYPE_CHECKING:
    from .calls import Call
    from .rows import Rows


@dataclass(frozen=True)
class Site:
    """One attention between words and picture: the kind of block that it is in, the block's number, and its place
    inside the block where that has several.
    """

    block: str
    number: int
    index: int | None = None

    def __str__(self) -> str:
        return f"{self.block} {self.number}" + ("" if self.index is None else f".{self.index}")


@dataclass(frozen=True)
class Block:
    """A part of the network that can be run a second time from what went in: its module, and the parts of it that can
    be if it cannot be as a whole. `site` is where its attention to the words is, if it has one.
    """

    module: torch.nn.Module
    site: Site | None = None
    parts: tuple[torch.nn.Module, ...] = ()


# Told of another pack's replacement of a whole attention: (patch, q, k, v, extra options, attention) -> output.
Replaced = Callable[[Callable, Tensor, Tensor, Tensor, dict, Attention], Tensor]


class Finder(CopiesToItself, ABC):
    """Tells, in one run, which of the network's attentions is the one at which site. Made by `Network.finder`."""

    @abstractmethod
    def install(self, model_options: dict, listens: Callable[[Tensor, dict], bool], replaced: Replaced) -> None:
        """Into the run's own copy of the options. `listens(tensor, options)` says whether a pass is of interest."""

    @abstractmethod
    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, heads: int, named: dict, call_of: Callable[[dict], Call | None]
    ) -> Attention | None:
        """What the host's attention function was just called for, with the keyword arguments `named`; None for an
        attention that is not one between words and picture.
        """

    def remove(self) -> None:
        """Takes off what was put onto the network itself, if anything was."""


class Mixes(CopiesToItself, ABC):
    """One Apply node's mixing of attention outputs in one run."""

    mixer: OutputMixer

    @abstractmethod
    def install(self, model_options: dict) -> None:
        """Into the run's own copy of the options."""

    def remove(self) -> None:
        """Takes off what was put onto the network itself, if anything was."""


class Network(ABC):
    """A network that draws pictures from words.

    `model` is the host's BaseModel around it. `sites` are its attentions to the words that methods may work in, in the
    order of the forward pass, each with its level: the latent's cells, one way, to a pixel of its maps.
    """

    joint: ClassVar[bool]  # whether words and picture share one softmax, so that a map's tokens do not sum to 1

    def __init__(self, model: torch.nn.Module):
        self.module = model.diffusion_model
        self.channels = int(model.latent_format.latent_channels)
        self.pixels = int(getattr(model.latent_format, "spacial_downscale_ratio", 8))  # of the picture, to a cell
        self.frames = (
            int(getattr(model.latent_format, "latent_dimensions", 2)) > 2
        )  # whether latents have a dimension for them
        self.sites = self.find_sites()

    @property
    @abstractmethod
    def title(self) -> str:
        """What the network is called in a sentence."""

    @abstractmethod
    def find_sites(self) -> dict[Site, int]: ...

    @property
    def levels(self) -> list[int]:
        """Those that maps can be had at."""
        return list(self.sites.values())

    def looked_at(
        self, resolution: str, height: int, width: int, blocks: str = "auto"
    ) -> tuple[frozenset[Site], tuple[int, int]]:
        """The attentions that are to be recorded for a latent of height × width, and the size (h, w) of their maps.

        `resolution` is one of core.maps.resolution.RESOLUTIONS, `blocks` as in `recorded`. Raises what that raises, and
        MethodError for a resolution that the network hasn't got.
        """
        level = choose_level(resolution, height, width, self.levels, self.pixels)
        return self.recorded(level, blocks), map_size(height, width, level)

    def recorded(self, level: int, blocks: str = "auto") -> frozenset[Site]:
        """The attentions that maps of `level` are made of. `blocks` is the artist's choice: "auto", "all", or blocks
        by name and number ("double 10-18").

        Raises HostError for a choice that the network hasn't got.
        """
        return frozenset(chosen_sites(self.at_level(level), blocks, self.title))

    def check_blocks(self, blocks: str) -> None:
        """Raises HostError for a choice of blocks that the network hasn't got, whatever the level."""
        chosen_sites(list(self.sites), blocks, self.title)

    def at_level(self, level: int) -> list[Site]:
        """Those that can make maps of `level`."""
        return [site for site, at in self.sites.items() if at == level]

    @abstractmethod
    def edited(self, sites: frozenset[Site], layers: str) -> frozenset[Site]:
        """Those of `sites` that an edit with `layers` (one of core.maps.resolution.LAYERS) takes from every block."""

    def last(self, sites: frozenset[Site]) -> Site:
        """The attention after which a pass can end when only maps of `sites` are wanted."""
        return [site for site in self.sites if site in sites][-1]

    @abstractmethod
    def blocks(self) -> list[Block]:
        """What a gradient pass can run again, in the order of the forward pass."""

    @abstractmethod
    def finder(self) -> Finder: ...

    @abstractmethod
    def mixes(
        self, mixer: OutputMixer, rows: Rows, local: Sequence[tuple[Tensor, dict]], learning: bool = False
    ) -> Mixes:
        """`local` holds the encoded prompt of each placed object: its text [1, tokens, C], and what else the host's
        conditioning of it says. `learning`: the mixture's own weights are being optimised, so that gradient passes are
        mixed too.
        """

    @abstractmethod
    def kept_bytes(self, shape: tuple[int, ...], itemsize: int, run_again: bool, sites: frozenset[Site] | None) -> int:
        """An estimate of what a gradient pass of latents of `shape` [rows, C, ..., h, w] keeps up to the last of
        `sites`, or (None) to the network's end.
        """

    def empty_latent(self, height: int, width: int) -> Tensor:
        """Zeros for a picture of height × width pixels."""
        frame = (1,) if self.frames else ()
        return torch.zeros(1, self.channels, *frame, max(height // self.pixels, 1), max(width // self.pixels, 1))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises HostError for latents of `shape` that it cannot be worked with at."""
        if len(shape) == 5 and shape[2] != 1:
            raise HostError(
                f"The latent has {shape[2]} frames: with {self.title}, Prompt Fidelity draws pictures, not videos. Use "
                "a latent of one frame (length 1)."
            )
