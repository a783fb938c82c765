"""What every sampler makes of a prediction that a loss has corrected: as much as euler does."""

import functools
from dataclasses import replace

import comfy.samplers
import pytest
import torch
from hostkit import noise, sample
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.host.models.demo_model import load_demo_model
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.text import encode_with_targets


@functools.cache
def demo():
    """(model, conditioning, targets, negative) of the demo model, whose maps say something."""
    with torch.inference_mode():
        model, clip, _ = load_demo_model()
        positive, targets = encode_with_targets(clip, "a red ball and a blue ring and a green bar")
        return model, positive, targets, encode_with_targets(clip, "")[0]


def drawn(sampler: str, size: float, cfg: float = 1.75) -> tuple[torch.Tensor, float]:
    """The final latent, and the loss at the last guided call."""
    model, positive, targets, negative = demo()
    method = METHODS["t_sam"]
    settings = replace(method.PRESETS["demo"], acts_on=PREDICTION, step_size=size, decay=0.0, end=0.6)
    with torch.inference_mode():
        guided, record = attach(model, method(settings), targets)
    start = noise(2, 4, 16, 16, seed=3)
    latent = sample(
        guided, positive=positive, negative=negative, start=start, steps=10, cfg=cfg, sampler=sampler, seed=3
    )
    return latent, float(record.steps[-1].totals[-1].mean())


@functools.cache
def effect(sampler: str) -> tuple[float, float]:
    """How far guidance moves the finished latent, and by how much it lowers the loss at the end of the window."""
    (plain, before), (guided, after) = drawn(sampler, 1e-9), drawn(sampler, 1.0)
    return float((guided - plain).norm()), before - after


def test_the_loss_falls_without_a_negative_prompt_too():
    assert drawn("euler", 1.0, cfg=1.0)[1] < drawn("euler", 1e-9, cfg=1.0)[1]


# Their own noise decides more of the end than the guidance does, so that one picture's loss tells nothing.
STOCHASTIC = ("ancestral", "sde", "ddpm", "lcm", "seeds", "sa_solver")


@pytest.mark.parametrize("sampler", comfy.samplers.SAMPLER_NAMES)
def test_every_sampler_takes_the_guidance_in_full(sampler):
    """What a sampler makes of a changed prediction is what it makes of any model: none is an exception."""
    moved, fell = effect(sampler)
    assert effect("euler")[1] > 0
    assert moved >= 0.5 * effect("euler")[0]
    if not any(word in sampler for word in STOCHASTIC):
        assert fell >= 0.45 * effect("euler")[1]  # dpmpp_2m_cfg_pp .48, all others more than half
