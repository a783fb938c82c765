"""After the last step, the model is asked whether it sees the objects in what it has drawn. See core.check."""

from __future__ import annotations

import copy
import functools
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_management
import comfy.samplers
import numpy as np
import torch

from ...core.check.contrasts import Contrast, contrasts, whole
from ...core.check.evidence import Evidence, gains, noise_levels
from ...core.prompt.targets import CROSS_ATTENTION, Targets
from ..errors import HostError
from ..networks.rows import carries
from ..progress import stop_if_interrupted
from .coordinates import PERCENTS, Coordinates
from .neighbours import caches_aside

# How much of a picture's time asking may take. In a network where words and picture share an attention the maps tell
# little of what is drawn; elsewhere they tell as much as a look that takes half of the time.
SHARES = {"off": 0.0, "on": 0.5, "thorough": 2.0}
CHOICES = ("auto", *SHARES)
# What ties an entry of the conditioning to a part of the run.
_WHEN = ("timestep_start", "timestep_end", "start_percent", "end_percent")


@dataclass(frozen=True)
class Questions:
    """The prompt and its contrasts, encoded, and the `share` of the run's time that asking may take."""

    contrasts: tuple[Contrast, ...]
    encoded: tuple[tuple[torch.Tensor, dict], ...]
    share: float

    def looks(self, passes: int) -> int:
        """How many noisy copies of a picture there is time for, after a run of so many passes."""
        return math.floor(self.share * passes / len(self.encoded))


def share_of(choice: str | float, joint: bool, model) -> float:
    """The share of a picture's time that a choice means, or a share itself, for a model whose network is `joint` or
    not.
    """
    if not isinstance(choice, str):
        return choice
    if choice not in CHOICES:
        raise HostError(f'look_again can be {", ".join(CHOICES)}; "{choice}" is none of these.')
    if choice == "auto":
        choice = "on" if joint and not _texts_are_slow(model) else "off"
    return SHARES[choice]


def _texts_are_slow(model) -> bool:
    """Whether texts are encoded on the processor though the model runs on a card: a few more texts of a large encoder
    may then take longer than the picture.
    """
    encoder = comfy.model_management.text_encoder_device()
    return encoder.type == "cpu" and model.load_device.type != "cpu"


def questions(targets: Targets, share: float) -> Questions | None:
    """None where there is nothing to ask, or no text encoder to ask it with."""
    asked = contrasts(targets)
    if share <= 0 or not asked or targets.encode is None:
        return None
    return Questions(asked, tuple(targets.encode([whole(targets), *(one.text for one in asked)])), share)


def followed_by(sampler, then: Callable) -> object:
    """A copy of a host KSAMPLER that calls `then(samples, extra_args)` when its solver is done."""
    copied, function = copy.copy(sampler), sampler.sampler_function

    @functools.wraps(function)
    def solved(model, x, sigmas, extra_args=None, **kwargs):
        samples = function(model, x, sigmas, extra_args=extra_args, **kwargs)
        then(samples, extra_args or {})
        return samples

    copied.sampler_function = solved
    return copied


def look_again(
    asked: Questions, guider, targets: Targets, coordinates: Coordinates, picture: torch.Tensor, model_options: dict,
    passes: int,
) -> Evidence | None:  # fmt: skip
    """What the model makes of its finished latent `picture`, in the solver's scale, after a run of so many
    `passes` of the network; None if there is no time for a look, or nothing whole to look at.
    """
    looks = asked.looks(passes)
    own = [cond for cond in guider.conds.get("positive", []) if carries(cond, targets)]
    if looks < 1 or not _still(picture) or not own or any("area" in cond or "mask" in cond for cond in own):
        return None
    began = time.perf_counter()
    sampling = guider.model_patcher.get_model_object("model_sampling")
    prompts = [_conditioned(guider, own, text, more, picture) for text, more in asked.encoded]
    errors = []
    for number, level in enumerate(_levels(coordinates, sampling, noise_levels(looks))):
        sigma = torch.tensor(level, device=picture.device)
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(number)).to(picture)
        noisy = sampling.noise_scaling(sigma, noise, picture)
        errors.append([_error(guider, conds, noisy, sigma, picture, model_options) for conds in prompts])
    found = gains(
        torch.stack([torch.stack(row) for row in errors]), [one.target for one in asked.contrasts], len(targets.objects)
    )
    return Evidence(found, looks, looks * len(prompts), time.perf_counter() - began)


def _still(picture: torch.Tensor) -> bool:
    """[B, C, h, w], or [B, C, 1, h, w] where the network could draw a video."""
    return picture.ndim == 4 or (picture.ndim == 5 and picture.shape[2] == 1)


def _error(guider, conds: list[dict], noisy, sigma, picture, model_options: dict) -> torch.Tensor:
    """‖D − x‖² of each picture, [B]. One prompt at a time: what other nodes change in positive rows then counts."""
    stop_if_interrupted()
    levels = sigma.expand(len(noisy))
    with caches_aside(model_options):
        (denoised,) = comfy.samplers.calc_cond_batch(guider.inner_model, [conds], noisy, levels, model_options)
    return (denoised - picture).float().square().flatten(1).sum(dim=1).cpu()


def _conditioned(guider, own: list[dict], text: torch.Tensor, more: dict, picture: torch.Tensor) -> list[dict]:
    """The positive conditioning, as the host has prepared it, with another text; what is in force for a part of the run
    only is so for all of it. Under a uuid of its own it is not known as the targets', so that no method acts in it.
    """
    plain = [{name: value for name, value in cond.items() if name not in _WHEN} for cond in own]
    raw = [{**cond, **more, CROSS_ATTENTION: text, "uuid": uuid.uuid4()} for cond in plain]
    encoded = comfy.samplers.encode_model_conds(
        guider.inner_model.extra_conds, raw, picture, picture.device, "positive", latent_image=picture,
        denoise_mask=None, seed=None,
    )  # fmt: skip
    for cond, prepared in zip(encoded, own, strict=True):
        # What an inpainting network is given beside the latent was made of the picture that the run began with.
        given = {name: prepared["model_conds"][name] for name in ("c_concat",) if name in prepared["model_conds"]}
        cond["model_conds"] = {**cond["model_conds"], **given}
    return encoded


def _levels(coordinates: Coordinates, sampling, ratios: list[float]) -> list[float]:
    """The noise levels at which there is `ratios` times as much noise as picture: σ itself for most models, and for a
    flow, which mixes them, that at which σ/(1 − σ) is the ratio. Within what the model knows.
    """
    levels = [coordinates.sigma_at(percent) for percent in PERCENTS[::-1]]
    every, none = torch.tensor(levels), torch.zeros(len(levels))
    noise, signal = (sampling.noise_scaling(every, a, b) for a, b in ((none + 1.0, none), (none, none + 1.0)))
    return np.interp(ratios, (noise / signal.clamp_min(1e-9)).numpy(), levels).tolist()
