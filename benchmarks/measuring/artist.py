"""Draws pictures through the host as its KSampler does, one prompt with several seeds at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import comfy.sample
import comfy.samplers
import comfy.sd
import torch
from prompt_fidelity.core.layout import Layout
from prompt_fidelity.core.layout.from_attention import from_attention
from prompt_fidelity.core.layout.settings import AttentionSettings
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import OutputMix, ScoreEdit
from prompt_fidelity.host.layout.early_attention import early_maps
from prompt_fidelity.host.models import demo_model, demo_scenes
from prompt_fidelity.host.models.family import family_of
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.text import encode_with_targets
from torch import Tensor

from .placebo import RandomEdit, RandomMix, moves_of, with_placebo


@dataclass(frozen=True)
class Drawn:
    """Pictures [B, H, W, 3] in 0..1 of one prompt, and what they cost: seconds of work per picture."""

    pictures: Tensor
    seconds: float
    moves: dict[float, Tensor]
    updates: int = 0

    @property
    def moved(self) -> list[float]:
        """How far each picture's latent was moved altogether, in lengths of the latent."""
        return torch.stack(list(self.moves.values())).sum(0).tolist() if self.moves else [0.0] * len(self.pictures)


class Artist:
    """A model with its text encoder, VAE and sampling settings (steps, cfg, sampler, scheduler, width, height).

    `blocks`: which of the network's blocks methods look at and edit, as in Apply Attention Control.
    """

    blocks = "auto"

    def __init__(self, model, clip, vae, sampling: dict) -> None:
        self.model, self.clip, self.vae, self.sampling = model, clip, vae, sampling
        self.negative = encode_with_targets(clip, "")[0]
        # On a processor, the seconds of the processor's own work: others may be using the machine too.
        self.clock = time.process_time if comfy.model_management.cpu_mode() else time.perf_counter

    @classmethod
    def with_demo_model(cls, weights: Path | None = None) -> Artist:
        """Of the pack's own weights, or of others with the pack's sampling settings."""
        return cls(*demo_model.load_demo_model(weights or demo_model.WEIGHTS), dict(demo_model.demo_card()["sampling"]))

    @classmethod
    def with_demo_scenes(cls, weights: Path | None = None) -> Artist:
        """Of the pack's own weights, or of others, whose card lies beside them."""
        weights = weights or demo_scenes.WEIGHTS
        card = demo_scenes.scenes_card(weights.with_suffix(".json"))
        return cls(*demo_scenes.load_demo_scenes(weights), dict(card["sampling"]))

    @classmethod
    def with_checkpoint(cls, path: Path, size: int, steps: int, cfg: float) -> Artist:
        """Raises FileNotFoundError, or ValueError for a file without text encoder or VAE."""
        if not path.is_file():
            raise FileNotFoundError(
                f"The checkpoint {path} is not there. Give the path of a Stable Diffusion 1.x, 2.x or SDXL checkpoint."
            )
        model, clip, vae = comfy.sd.load_checkpoint_guess_config(str(path))[:3]
        if clip is None or vae is None:
            raise ValueError(
                f"{path} holds no text encoder or no VAE: give a full checkpoint, not the diffusion model alone."
            )
        return cls(
            model,
            clip,
            vae,
            {"steps": steps, "cfg": cfg, "sampler": "euler", "scheduler": "normal", "width": size, "height": size},
        )

    @property
    def family(self) -> str:
        """The model's, by whose name a preset was made for it."""
        return family_of(self.model)

    def encode(self, prompt: str):
        """(conditioning, targets)"""
        return encode_with_targets(self.clip, prompt)

    def noise(self, seeds: list[int]) -> Tensor:
        """The noise that KSampler draws for each of these seeds, [B, C, h, w]."""
        s = self.sampling
        channels = self.model.get_model_object("latent_format").latent_channels
        empty = torch.zeros(1, channels, s["height"] // 8, s["width"] // 8)
        return torch.cat([comfy.sample.prepare_noise(empty, seed) for seed in seeds])

    def plain(self, conditioning, seeds: list[int]) -> Drawn:
        return self.drawn_by(self.model, conditioning, seeds)

    def observed(self, targets, conditioning, seeds: list[int]) -> tuple[Drawn, Tensor]:
        """Plain pictures, and their objects' mean maps [B, T, h, w]."""
        model, record = attach(self.model, METHODS["attend_and_excite"](), targets, strength=0.0)
        return self.drawn_by(model, conditioning, seeds), record.maps.shown(targets)[1]

    def layout(self, method, targets, conditioning, seed: int) -> Layout | None:
        """Where the model itself begins to draw each object from this seed; None for a method that takes no layout."""
        if not method.takes_layout:
            return None
        width, height = self.sampling["width"], self.sampling["height"]
        maps = early_maps(self.model, conditioning, targets, width, height, AttentionSettings().steps, seed)
        return from_attention(maps, targets, width, height)

    def with_method(self, method, targets, conditioning, seeds: list[int]) -> Drawn:
        if method.takes_layout and len(seeds) > 1:  # every seed has a layout of its own
            return _together([self.with_method(method, targets, conditioning, [seed]) for seed in seeds])
        began = self.clock()
        layout = self.layout(method, targets, conditioning, seeds[0])
        spent = (self.clock() - began) / len(seeds)
        model, record = attach(self.model, method, targets, layout=layout, blocks=self.blocks)
        drawn = self.drawn_by(model, conditioning, seeds)
        return Drawn(drawn.pictures, spent + drawn.seconds, moves_of(record.steps), record.updates)

    def in_layout(self, method, targets, conditioning, seeds: list[int], layout: Layout) -> tuple[Drawn, Tensor]:
        """Pictures drawn with a method, all of them in the same layout, and their objects' mean maps [B, T, h, w]."""
        model, record = attach(self.model, method, targets, layout=layout, blocks=self.blocks)
        return self.drawn_by(model, conditioning, seeds), record.maps.shown(targets)[1]

    def with_placebo(self, method, moves: dict[float, Tensor], targets, conditioning, seeds: list[int]) -> Drawn:
        """The placebo of a method that has moved these seeds' latents by `moves`; see placebo.py."""
        if method.takes_layout and len(seeds) > 1:
            singly = [{sigma: moved[i : i + 1] for sigma, moved in moves.items()} for i in range(len(seeds))]
            return _together(
                [self.with_placebo(method, m, targets, conditioning, [seed]) for m, seed in zip(singly, seeds)]
            )
        layout = self.layout(method, targets, conditioning, seeds[0])
        model = with_placebo(self.model, moves, seeds)
        for part in method.parts:
            if isinstance(part.method, ScoreEdit):
                edit = RandomEdit(part.method, seeds)
                model, _ = attach(model, edit, targets, strength=part.weight, blocks=self.blocks)
            elif isinstance(part.method, OutputMix):
                mix = RandomMix(part.method, seeds)
                model, _ = attach(model, mix, targets, strength=part.weight, layout=layout, blocks=self.blocks)
        drawn = self.drawn_by(model, conditioning, seeds)
        return Drawn(drawn.pictures, drawn.seconds, moves)

    def drawn_by(self, model, conditioning, seeds: list[int], **other) -> Drawn:
        """Pictures that a model draws, patched or not; `other` are changes to the sampling settings."""
        s, noise = self.sampling | other, self.noise(seeds)
        began = self.clock()
        latent = comfy.sample.sample(
            model, noise, s["steps"], s["cfg"], s["sampler"], s["scheduler"], conditioning, self.negative,
            torch.zeros_like(noise), disable_pbar=True, seed=seeds[0],
        )  # fmt: skip
        seconds = (self.clock() - began) / len(seeds)
        return Drawn(self.vae.decode(latent).float().cpu().clamp(0, 1), seconds, {})


def _together(drawn: list[Drawn]) -> Drawn:
    """Pictures drawn singly, as one batch."""
    moves = {sigma: torch.cat([each.moves[sigma] for each in drawn]) for sigma in drawn[0].moves}
    seconds = sum(each.seconds for each in drawn) / len(drawn)
    return Drawn(torch.cat([each.pictures for each in drawn]), seconds, moves, sum(each.updates for each in drawn))
