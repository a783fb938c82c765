"""Latent losses that act in the prediction: one pass, a separate pass's gradient, what every sampler makes of it."""

import functools
from dataclasses import replace

import comfy.samplers
import pytest
import torch
from hostkit import FAMILIES, LATENT_METHODS, fingerprint, models, noise, patched, sample
from prompt_fidelity.core.control import prediction
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.host.models.demo_model import load_demo_model
from prompt_fidelity.host.sampling import guidance, run
from prompt_fidelity.host.sampling.coordinates import Coordinates
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.text import encode_with_targets

GUIDED = {"acts_on": PREDICTION, "refine_steps": 0}


class Calls:
    """Counts a model's network calls, and the rows in them."""

    def __init__(self, model):
        self.rows: list[int] = []
        self.model = model.clone()
        self.model.set_model_unet_function_wrapper(self._count)

    def _count(self, apply_model, arguments):
        self.rows.append(arguments["input"].shape[0])
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])


def both_ways(monkeypatch, family: str, method: str, widen=lambda x: x) -> tuple[torch.Tensor, torch.Tensor]:
    """What the first step's one pass moves the latent by, and what a separate pass's gradient at that latent says."""
    found = {}
    note = prediction.PredictionGuide.note

    def noted(self, moved, finite, x):
        found.setdefault("one pass", moved.clone())
        found.setdefault("x", x.detach().clone())
        note(self, moved, finite, x)

    class Probe:
        def __init__(self, chosen, targets, *rest, **options):
            self.method, self.targets, self.done = chosen, targets, False

        def wants(self, progress):
            return not self.done

        def step(self, x, progress, factor, evaluate, sigma):
            self.done = True
            assert torch.equal(x, found["x"].to(x.dtype))
            leaf = widen(x.clone()).requires_grad_()
            loss = self.method.loss(evaluate(leaf), self.targets).per_image.sum()
            size = self.method.schedule.size_at(progress)
            found["separate"] = -factor * torch.autograd.grad(size * loss, leaf)[0]
            return x

        def observe_after(self, maps):
            pass

    monkeypatch.setattr(guidance, "wide", widen)
    monkeypatch.setattr(prediction.PredictionGuide, "note", noted)
    model, record = patched(family, method, settings=GUIDED)
    sample(model, family, size=(2, 4, 24, 32), steps=4)
    monkeypatch.setattr(run, "LatentOptimiser", Probe)
    sample(patched(family, method)[0], family, size=(2, 4, 24, 32), steps=4)
    level, following = record.steps[0].sigma, record.steps[1].sigma
    lever = Coordinates(models(family)[0].get_model_object("model_sampling")).lever(level, 1 / 50)
    assert found["separate"].abs().max() > 0
    return found["one pass"], found["separate"] * lever * (1 - following / level)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", LATENT_METHODS)
def test_the_gradient_is_that_of_a_separate_pass(monkeypatch, family, method):
    one, separate = both_ways(monkeypatch, family, method)
    assert (one - separate).norm() < 1e-6 * separate.norm()


@pytest.mark.parametrize("method", LATENT_METHODS)
def test_the_gradient_is_that_of_a_separate_pass_to_the_last_digits(monkeypatch, method):
    model = models("sd1", torch.float64)[0]
    monkeypatch.setattr("hostkit.models", lambda family, dtype=None: (model, *models(family)[1:]))
    one, separate = both_ways(monkeypatch, "sd1", method, widen=torch.Tensor.double)
    assert one.dtype == torch.float64
    assert (one - separate).norm() < 1e-12 * separate.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_no_further_network_call_is_made(family):
    plain, guided = Calls(models(family)[0]), Calls(models(family)[0])
    sample(plain.model, family, steps=6)
    model, record = patched(family, "attend_and_excite", model=guided.model, settings=GUIDED)
    sample(model, family, steps=6)
    assert sum(guided.rows) == sum(plain.rows)
    assert record.updates == 3 and record.evaluations == 0
    # In the window prompt and negative prompt go apart, after it together.
    assert guided.rows == [1, 1] * 3 + [2] * 3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", LATENT_METHODS)
def test_strength_nought_changes_no_bit(family, method):
    start = noise(1, 4, 16, 24)
    plain = sample(models(family)[0], family, start=start)
    assert torch.equal(sample(patched(family, method, settings=GUIDED, strength=0.0)[0], family, start=start), plain)


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_the_loss_falls(cfg):
    start = noise(1, 4, 32, 32)
    settings = GUIDED | {"end": 1.0, "step_size": 40.0}
    losses = []
    for size in (1e-9, 40.0):
        model, record = patched("sd1", "attend_and_excite", settings=settings | {"step_size": size})
        sample(model, "sd1", start=start, steps=8, cfg=cfg)
        losses.append(float(record.steps[-1].totals[-1].mean()))
    assert losses[1] < losses[0]


def test_nothing_is_left_on_the_model():
    model = models("sd1")[0]
    before = fingerprint(model)
    sample(patched("sd1", "t_sam", settings=GUIDED)[0], "sd1")
    assert fingerprint(model) == before


@functools.cache
def demo():
    """(model, conditioning, targets, negative) of the demo model, whose maps say something."""
    with torch.inference_mode():
        model, clip, _ = load_demo_model()
        positive, targets = encode_with_targets(clip, "a red ball and a blue ring and a green bar")
        return model, positive, targets, encode_with_targets(clip, "")[0]


def final_loss(sampler: str, size: float) -> float:
    """The loss at the last guided call of a run."""
    model, positive, targets, negative = demo()
    method = METHODS["t_sam"]
    settings = replace(method.PRESETS["demo"], acts_on=PREDICTION, step_size=size, decay=0.0, end=0.6)
    with torch.inference_mode():
        guided, record = attach(model, method(settings), targets)
    sample(guided, positive=positive, negative=negative, start=noise(2, 4, 16, 16), steps=12, cfg=1.75, sampler=sampler)
    return float(record.steps[-1].totals[-1].mean())


@functools.cache
def fall(sampler: str) -> float:
    """By how much guidance lowers the loss at the end of the window."""
    return final_loss(sampler, 1e-9) - final_loss(sampler, 1.0)


@pytest.mark.parametrize("sampler", comfy.samplers.SAMPLER_NAMES)
def test_every_sampler_takes_the_guidance_in_full(sampler):
    """What a sampler makes of a changed prediction is what it makes of any model: none is an exception."""
    assert fall("euler") > 0
    assert fall(sampler) >= 0.5 * fall("euler")
