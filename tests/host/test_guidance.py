"""Latent losses that act in the prediction: one pass, a separate pass's gradient, what every sampler makes of it."""

import itertools
from dataclasses import replace

import comfy.samplers
import pytest
import torch
from hostkit import FAMILIES, LATENT_METHODS, MOVES, encoded, fingerprint, models, noise, patched, sample
from prompt_fidelity.core.control import prediction
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.core.methods.combined import CombinedMethods
from prompt_fidelity.host.sampling import guidance, run
from prompt_fidelity.host.sampling.coordinates import Coordinates
from prompt_fidelity.host.sampling.install import attach

GUIDED = {"acts_on": PREDICTION, "refine_steps": 0}
# Every loss, and every family by turns: how a loss is taken does not depend on the network, nor the other way round.
every_loss = pytest.mark.parametrize(
    ("method", "family"), list(zip(LATENT_METHODS, itertools.cycle(FAMILIES), strict=False))
)


class Enough(Exception):
    """Ends a run that has shown what it was to show."""


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
            self.method, self.targets = chosen, targets

        def wants(self, progress):
            return True

        def step(self, x, progress, factor, evaluate, sigma, showing):
            assert torch.equal(x, found["x"].to(x.dtype))
            leaf = widen(x.clone()).requires_grad_()
            loss = self.method.loss(evaluate(leaf), self.targets).per_image.sum()
            size = self.method.schedule.size_at(progress)
            found["separate"] = -factor * torch.autograd.grad(size * loss, leaf)[0]
            raise Enough

    monkeypatch.setattr(guidance, "wide", widen)
    monkeypatch.setattr(prediction.PredictionGuide, "note", noted)
    model, record = patched(family, method, settings=GUIDED | {"end": 0.5})  # two steps at least
    sample(model, family, size=(2, 4, 24, 32), steps=4)
    monkeypatch.setattr(run, "LatentOptimiser", Probe)
    with pytest.raises(Enough):
        sample(patched(family, method, settings=MOVES)[0], family, size=(2, 4, 24, 32), steps=4)
    level, following = record.steps[0].sigma, record.steps[1].sigma
    lever = Coordinates(models(family)[0].get_model_object("model_sampling")).lever(level, 1 / 50)
    assert found["separate"].abs().max() > 0
    return found["one pass"], found["separate"] * lever * (1 - following / level)


@every_loss
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


@every_loss
def test_strength_nought_changes_no_bit(family, method):
    start = noise(1, 4, 16, 24)
    own = sample(models(family)[0], family, start=start)
    assert torch.equal(sample(patched(family, method, settings=GUIDED, strength=0.0)[0], family, start=start), own)


def test_nothing_is_left_on_the_model():
    model = models("sd1")[0]
    before = fingerprint(model)
    sample(patched("sd1", "t_sam", settings=GUIDED)[0], "sd1")
    assert fingerprint(model) == before


def corrections(monkeypatch, steps: int) -> torch.Tensor:
    """What the first step's prediction is moved by, in a run of `steps` steps."""
    seen = []
    note = prediction.PredictionGuide.note
    monkeypatch.setattr(
        prediction.PredictionGuide,
        "note",
        lambda self, moved, finite, x: (seen.append(moved.clone()), note(self, moved, finite, x)),
    )
    model, record = patched("sd1", "attend_and_excite", settings=GUIDED)
    sample(model, "sd1", start=noise(1, 4, 16, 16), steps=steps)
    return seen[0] / (1 - record.steps[1].sigma / record.steps[0].sigma)


def test_the_correction_does_not_depend_on_the_number_of_steps(monkeypatch):
    """It is a field of the latent and the noise level: few steps get the same push as many."""
    torch.testing.assert_close(corrections(monkeypatch, 5), corrections(monkeypatch, 40), rtol=1e-4, atol=1e-6)


def test_every_image_of_a_batch_is_its_own(monkeypatch):
    model = models("sd1", torch.float64)[0]
    monkeypatch.setattr("hostkit.models", lambda family, dtype=None: (model, *models(family)[1:]))
    monkeypatch.setattr(guidance, "wide", torch.Tensor.double)
    start = noise(3, 4, 16, 16)
    settings = GUIDED | {"step_size": 5.0}
    together = sample(patched("sd1", "syngen", settings=settings)[0], "sd1", start=start)
    alone = [sample(patched("sd1", "syngen", settings=settings)[0], "sd1", start=one[None]) for one in start]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_two_apply_nodes_give_what_the_two_methods_together_give():
    settings = {name: replace(METHODS[name]().settings, **GUIDED, step_size=2.0) for name in ("t_sam", "syngen")}
    first, second = (METHODS[name](chosen) for name, chosen in settings.items())
    targets, start = encoded("sd1")[1], noise(1, 4, 24, 16)
    with torch.inference_mode():
        once, record_once = attach(models("sd1")[0], first, targets)
        twice, record_twice = attach(once, second, targets)
        together, _ = attach(models("sd1")[0], CombinedMethods([(first, 1.0), (second, 1.0)]), targets)
    in_series = sample(twice, "sd1", start=start)
    assert record_once.updates > 0 and record_twice.updates > 0
    torch.testing.assert_close(in_series, sample(together, "sd1", start=start), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("other", ["attention_regulation", "space_time", "t_sam"])
@pytest.mark.parametrize("guided_first", [True, False])
def test_it_goes_together_with_every_other_way_of_acting(other, guided_first):
    """An edit, a mix and a moved latent on the same model act, and are logged, as they are alone."""
    start, model = noise(1, 4, 24, 24), models("sd1")[0]
    alone, record_alone = patched("sd1", other)
    sample(alone, "sd1", start=start)
    records = {}
    order = ["attend_and_excite", other] if guided_first else [other, "attend_and_excite"]
    for name in order:
        settings = GUIDED | {"step_size": 1e-9} if name == "attend_and_excite" else {}
        model, records[name] = patched("sd1", name, model=model, settings=settings)
    sample(model, "sd1", start=start)
    guided, acted = records["attend_and_excite"], records[other]
    assert guided.updates == 3 and not any(entry.skipped for entry in guided.steps)
    assert guided.maps.mean is not None and acted.maps.mean is not None
    for name in ("steps", "edits", "mixes"):
        assert len(getattr(acted, name)) == len(getattr(record_alone, name))
    if other == "attention_regulation":
        for mine, theirs in zip(acted.edits, record_alone.edits, strict=True):
            # Rounding sends a descent over another iteration.
            torch.testing.assert_close(mine.after, theirs.after, rtol=0.05, atol=1e-3)


def test_inpainting_leaves_the_rest_of_the_picture():
    mask = torch.zeros(1, 1, 24, 24)
    mask[..., 8:20, 4:16] = 1.0
    latent = noise(1, 4, 24, 24, seed=9)
    plain = sample(models("sd1")[0], "sd1", start=noise(1, 4, 24, 24), latent=latent, noise_mask=mask)
    model, record = patched("sd1", "attend_and_excite", settings=GUIDED)
    drawn = sample(model, "sd1", start=noise(1, 4, 24, 24), latent=latent, noise_mask=mask)
    assert record.updates == 3
    outside = (mask == 0).expand_as(drawn)
    torch.testing.assert_close(drawn[outside], latent[outside], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(drawn[~outside], plain[~outside], atol=1e-3)


def test_a_prompt_in_an_area_beside_another():
    """Two prompts in one list, one of them for a part of the picture: the picture is drawn, the loss is taken."""
    positive = encoded("sd1")[0]
    area = [[encoded("sd1", "a dog")[0][0][0], {**encoded("sd1", "a dog")[0][0][1], "area": (8, 12, 0, 4)}]]
    model, record = patched("sd1", "attend_and_excite", settings=GUIDED)
    assert sample(model, "sd1", positive=positive + area, size=(1, 4, 24, 24)).isfinite().all()
    assert record.updates == 3 and not any(entry.skipped for entry in record.steps)


def test_a_pack_that_asks_again_sees_the_same_model():
    """Perturbed guidance takes the difference of two predictions: the correction must not be in one of them alone."""
    differences = []

    def ask_again(arguments):
        again = comfy.samplers.calc_cond_batch(
            arguments["model"], [arguments["cond"]], arguments["input"], arguments["sigma"], arguments["model_options"]
        )[0]
        differences.append(float((arguments["cond_denoised"] - again).abs().max()))
        return arguments["denoised"]

    model = models("sd1")[0].clone()
    model.set_model_sampler_post_cfg_function(ask_again)
    guided, record = patched("sd1", "attend_and_excite", model=model, settings=GUIDED)
    sample(guided, "sd1", start=noise(1, 4, 24, 24))
    moved = float(record.steps[0].moved.max())
    assert record.updates == 3 and moved > 1e-3
    assert max(differences) < 1e-3


def test_an_error_in_the_loss_leaves_the_model_and_the_next_run_clean(monkeypatch):
    model, start = models("sd1")[0], noise(1, 4, 16, 16)
    before, plain = fingerprint(model), sample(model, "sd1", start=start)
    guided, _ = patched("sd1", "attend_and_excite", settings=GUIDED)
    with monkeypatch.context() as patch:
        patch.setattr(METHODS["attend_and_excite"], "loss", lambda self, maps, targets: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sample(guided, "sd1", start=start)
    assert fingerprint(model) == before and torch.is_grad_enabled()
    assert torch.equal(sample(model, "sd1", start=start), plain)


def test_a_gradient_that_is_no_number_leaves_that_image_alone(monkeypatch):
    method = METHODS["attend_and_excite"]
    loss = method.loss
    monkeypatch.setattr(
        method,
        "loss",
        lambda self, maps, targets: replace(
            loss(self, maps, targets),
            per_image=loss(self, maps, targets).per_image * torch.tensor([1.0, float("nan")]),
        ),
    )
    model, record = patched("sd1", "attend_and_excite", settings=GUIDED)
    start = noise(2, 4, 16, 16)
    drawn = sample(model, "sd1", start=start)
    assert drawn.isfinite().all()
    assert [entry.updates.tolist() for entry in record.steps] == [[1, 0]] * 3
    assert all("image 2" in entry.skipped[0] for entry in record.steps)
