"""Draws the first part of the run for several seeds through the host's own sampling, and looks at the maps of each.

Each seed begins exactly as a KSampler with these settings would begin it: the same noise, the same noise levels, the
same steps, whichever the sampler. So the picture that KSampler draws with the chosen seed is that which was looked at.
Several seeds go through the network together if the artist has the memory for it, and the sampler makes no noise of its
own: that would be another for each place in a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_management
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ..core.copies import CopiesToItself
from ..core.methods import METHODS
from ..core.prompt.targets import Targets
from ..core.search.seeds import Signs, signs_of
from .errors import HostError
from .progress import stop_if_interrupted
from .sampling.install import attach
from .sampling.samplers import SAMPLERS as FACTS

KEY = "prompt_fidelity_seeds"

# What KSampler offers.
SAMPLERS, SCHEDULERS = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS

# Samplers to which a picture is the same alone and in a batch.
_WITHOUT_NOISE = {
    "euler", "euler_cfg_pp", "ddim", "heun", "heunpp2", "exp_heun_2_x0", "dpm_2", "dpm_fast", "lms", "deis",
    "dpmpp_2m", "dpmpp_2m_cfg_pp", "ipndm", "ipndm_v", "res_multistep", "res_multistep_cfg_pp", "gradient_estimation",
    "gradient_estimation_cfg_pp", "uni_pc", "uni_pc_bh2",
}  # fmt: skip

# told(done, total, picture): steps so far, and a picture [H, W, 3] where one has just been drawn.
Told = Callable[[int, int, Tensor | None], None]


@dataclass(frozen=True)
class FirstPart:
    """How the pictures are drawn, as a KSampler has it, and how much of the run is looked at (0 to 1).

    `at_once`: how many seeds may go through the network together.
    """

    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float
    share: float
    at_once: int = 1

    @property
    def looked_at(self) -> int:
        """Steps of each seed that are drawn: at least one."""
        return min(max(round(self.share * self.steps), 1), self.steps)

    def groups(self, seeds: list[int]) -> list[list[int]]:
        """The seeds that are drawn together."""
        size = max(self.at_once, 1) if self.sampler in _WITHOUT_NOISE else 1
        return [seeds[i : i + size] for i in range(0, len(seeds), size)]


@dataclass(frozen=True)
class Early:
    """What a seed's run shows so far: its signs, and its early picture [H, W, 3] in 0..1."""

    seed: int
    signs: Signs
    picture: Tensor


def look_at_seeds(
    model,
    positive: list,
    negative: list,
    targets: Targets,
    latent: dict,
    seeds: list[int],
    part: FirstPart,
    decode: Callable[[Tensor], Tensor],
    told: Told = lambda done, total, picture: None,
) -> list[Early]:
    """The seeds in the order in which they came, each with its signs and its early picture.

    `latent` is the host's; of a batch the first is drawn. `decode` makes a picture [H, W, 3] of what the model
    predicts early, [1, C, h, w] in the scale of a LATENT. Raises HostError or MethodError, before any compute, for what
    cannot work; the artist's interruption passes through.
    """
    _check(targets, latent, part)
    total = len(seeds) * part.looked_at
    drawn: list[Early] = []
    for group in part.groups(seeds):
        done, last = len(drawn) * part.looked_at, _Last()

        def after(step: int, done=done, group=group) -> None:
            told(done + step * len(group), total, None)

        listening, _ = attach(model, next(iter(METHODS.values()))(), targets, strength=0.0, watch=last.take)
        predicted = _first_part(listening, positive, negative, latent, group, part, after)
        if last.maps is None:
            raise HostError(
                "The model showed no attention to the prompt's objects in the first steps. Another node may skip the "
                "network there: switch it off."
            )
        for i, seed in enumerate(group):
            drawn.append(Early(seed, signs_of(last.maps[i : i + 1], targets), decode(predicted[i : i + 1])))
            told(len(drawn) * part.looked_at, total, drawn[-1].picture)
    return drawn


class _Last:
    """The maps of the last step that was heard."""

    def __init__(self) -> None:
        self.maps: Tensor | None = None

    def take(self, maps: Tensor, progress: float) -> None:
        self.maps = maps


def _check(targets: Targets, latent: dict, part: FirstPart) -> None:
    if not any(target.positions for target in targets.objects):
        raise HostError(
            "The prompt has no objects to look for in the first steps, so no seed is better than another. Name them in "
            "the list of words of Extract Targets."
        )
    if part.sampler in FACTS and FACTS[part.sampler].support == "refused":
        raise HostError(
            f"The sampler {part.sampler} chooses its steps itself, so there is no first part of the run to look at. "
            "Choose another, for example euler or dpmpp_2m."
        )
    if latent["samples"].ndim != 4:
        raise HostError(
            "Seeds are picked for pictures, and this latent is of another kind (video or sound). Connect an Empty "
            "Latent Image."
        )


def _first_part(model, positive, negative, latent: dict, seeds: list[int], part: FirstPart, told) -> Tensor:
    """What the model predicts at the last step looked at, [seeds, C, h, w] in the scale of a LATENT."""
    ending = _Ending(part.looked_at, told)
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, KEY, ending)
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])[:1]
    noise = torch.cat([comfy.sample.prepare_noise(samples, seed) for seed in seeds])
    mask = latent.get("noise_mask")
    return comfy.sample.sample(
        model, noise, part.steps, part.cfg, part.sampler, part.scheduler, positive, negative,
        samples.repeat(len(seeds), 1, 1, 1), denoise=part.denoise, noise_mask=mask if mask is None else mask[:1],
        seed=seeds[0], disable_pbar=True,
    )  # fmt: skip


class _Enough(Exception):
    """The steps to be looked at have been taken."""

    def __init__(self, predicted: Tensor) -> None:
        self.predicted = predicted


class _Ending(CopiesToItself):
    """The host's SAMPLER_SAMPLE wrapper: the whole run's noise levels, but it ends after `steps` steps, with what the
    model predicts then. All that the host does after a run is done after this one too.
    """

    def __init__(self, steps: int, told: Callable[[int], None]) -> None:
        self.steps, self.told = steps, told

    def __call__(self, executor, guider, sigmas, extra_args, callback, *args, **kwargs):
        def after_step(step: int, predicted: Tensor, x: Tensor, total: int) -> None:
            stop_if_interrupted()
            self.told(min(step + 1, self.steps))
            if step + 1 >= self.steps:
                raise _Enough(predicted)

        try:
            return executor(guider, sigmas, extra_args, after_step, *args, **kwargs)
        except _Enough as enough:
            return enough.predicted


def decoder(vae, latent_format) -> Callable[[Tensor], Tensor]:
    """Pictures [H, W, 3] in 0..1 of latents [1, C, h, w]: by the VAE, or, where there is none, the host's rough colours
    of the latent.
    """
    if vae is not None:
        return lambda latent: vae.decode(latent)[0].float().cpu().clamp(0, 1)
    factors = getattr(latent_format, "latent_rgb_factors", None)
    if factors is None:
        raise HostError("The early pictures of this model cannot be shown without its VAE. Connect it to vae.")
    weights = torch.tensor(factors)  # [C, 3]
    bias = torch.tensor(getattr(latent_format, "latent_rgb_factors_bias", None) or [0.0, 0.0, 0.0])

    def rough(latent: Tensor) -> Tensor:
        colours = latent_format.process_in(latent)[0].float().cpu().movedim(0, -1) @ weights + bias
        return ((colours + 1.0) / 2.0).clamp(0, 1).repeat_interleave(8, 0).repeat_interleave(8, 1)

    return rough
