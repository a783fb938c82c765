"""The table of samplers says what each of the host's solvers really does with a moved latent."""

import comfy.patcher_extension
import comfy.samplers
import pytest
import torch
from hostkit import ONE_A_STEP, encoded, models, noise, patched, plain, sample
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.sampling.samplers import SAMPLERS, UNKNOWN, facts_of
from prompt_fidelity.host.sampling.solvers import name_of
from prompt_fidelity.host.sampling.steps import StepClock, with_solver_model

ALL = comfy.samplers.SAMPLER_NAMES


def solve(name: str, sigmas: torch.Tensor, start: torch.Tensor, at_step):
    """The solver's result for a model that always answers zero; `at_step(index, x)` is called where the clock sees a
    step begin.
    """
    zero = models("sd1")[0].clone()
    zero.set_model_sampler_calc_cond_batch_function(lambda args: [torch.zeros_like(args["input"])] * 2)
    sampler = comfy.samplers.sampler_object(name)
    clock = StepClock(sampler, sigmas)
    levels = []

    def before_call(model, x, sigma, kwargs):
        index = clock.begins(float(sigma[0]))
        if index is not None:
            levels.append(float(sigma[0]))
            at_step(index, x)
        return model(x, sigma, **kwargs)

    with torch.inference_mode():
        guider = comfy.samplers.CFGGuider(zero)
        guider.set_conds(encoded("sd1")[0], encoded("sd1", "")[0])
        guider.set_cfg(2.0)
        result = guider.sample(
            start, torch.zeros_like(start), with_solver_model(sampler, before_call), sigmas, seed=5, disable_pbar=True
        )
    return result, levels


def schedule() -> torch.Tensor:
    # Without the final zero, at which every solver forgets its latent.
    return comfy.samplers.calculate_sigmas(models("sd1")[0].get_model_object("model_sampling"), "normal", 9)[:-1]


def share(difference: torch.Tensor, push: torch.Tensor) -> float:
    return float((difference * push).sum() / (push * push).sum())


def test_every_sampler_of_the_host_has_its_line():
    assert set(ALL) == set(SAMPLERS)
    assert all(
        name_of(comfy.samplers.sampler_object(name)) in (name, "euler" if name == "ddim" else name) for name in ALL
    )


@pytest.mark.parametrize("name", [name for name in ALL if SAMPLERS[name].support == "exact"])
def test_exact_samplers_take_a_move_as_if_they_had_started_there(name):
    start, push, sigmas, at = noise(1, 4, 8, 8), noise(1, 4, 8, 8, seed=1), schedule(), 3
    base, levels = solve(name, sigmas, start, lambda index, x: None)
    assert levels == pytest.approx([float(s) for s in sigmas[:-1]], rel=1e-3)
    moved, _ = solve(name, sigmas, start, lambda index, x: x.add_(push) if index == at else None)

    states = []
    remember = lambda index, x: states.append(x.clone()) if index == 0 else None  # noqa: E731
    first, _ = solve(name, sigmas[at:], start, remember)
    second, _ = solve(name, sigmas[at:], start + push, remember)
    fresh = share(second - first, states[1] - states[0])
    assert share(moved - base, push) == pytest.approx(fresh, rel=1e-2)


@pytest.mark.parametrize("name", [name for name in ALL if SAMPLERS[name].carry == "output"])
def test_samplers_that_carry_only_the_output_would_lose_or_turn_a_move_in_place(name):
    start, push, sigmas = noise(1, 4, 8, 8), noise(1, 4, 8, 8, seed=1), schedule()
    base, _ = solve(name, sigmas, start, lambda index, x: None)
    moved, _ = solve(name, sigmas, start, lambda index, x: x.add_(push) if index == 3 else None)
    assert share(moved - base, push) < 1e-4


@pytest.mark.parametrize("name", [name for name in ALL if SAMPLERS[name].support != "refused"])
def test_method_acts_with_every_sampler_not_refused(name):
    model, record = patched(settings=ONE_A_STEP)
    own = plain(sampler=name, steps=8)
    drawn = sample(model, sampler=name, steps=8)
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, own)
    expected = 1 if name == "dpm_fast" else 4  # steps that begin in the first half of the noise schedule
    assert len(record.steps) >= expected and record.updates == len(record.steps)
    assert record.maps.steps == (3 if name == "dpm_fast" else 8)
    named = any(name_of(comfy.samplers.sampler_object(name)) in warning for warning in record.warnings)
    assert named == (SAMPLERS[name].support == "approximate")
    assert torch.equal(sample(models("sd1")[0], sampler=name, steps=8), own)


# By turns: what a solver does with a latent does not depend on the network.
@pytest.mark.parametrize(
    ("name", "family"),
    [("euler", "sd2"), ("heun", "sdxl"), ("dpmpp_2m_sde", "sd2"), ("uni_pc", "sdxl"), ("lcm", "sd2"), ("ddim", "sdxl")],
)
def test_every_kind_of_sampler_with_the_other_families(name, family):
    model, record = patched(family, settings=ONE_A_STEP)
    drawn = sample(model, family, sampler=name, steps=6)
    assert torch.isfinite(drawn).all() and not torch.equal(
        drawn, sample(models(family)[0], family, sampler=name, steps=6)
    )
    assert record.updates == 3 and record.maps.steps == 6


@pytest.mark.parametrize("name", [name for name in ALL if SAMPLERS[name].support == "refused"])
def test_refused_samplers_say_so_before_sampling(name):
    model, _ = patched()
    with pytest.raises(HostError, match=f"{name}.*euler"):
        sample(model, sampler=name)


def test_a_sampler_from_another_pack_is_followed_by_its_noise_levels():
    def sample_own_euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for now, after in zip(sigmas[:-1], sigmas[1:]):
            denoised = model(x, now * x.new_ones(x.shape[0]), **extra_args)
            x = x + (x - denoised) / now * (after - now)
        return x

    sampler = comfy.samplers.KSAMPLER(sample_own_euler)
    assert facts_of(sampler) is UNKNOWN
    model, record = patched(settings=ONE_A_STEP)
    with torch.inference_mode():
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(encoded("sd1")[0], encoded("sd1", "")[0])
        guider.set_cfg(5.0)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 8)
        start = noise(1, 4, 16, 16, seed=3)
        drawn = guider.sample(start, torch.zeros_like(start), sampler, sigmas, seed=3, disable_pbar=True)
    assert len(record.steps) == 4 and any("own_euler" in warning for warning in record.warnings)
    torch.testing.assert_close(drawn, sample(model, sampler="euler", steps=8), rtol=1e-4, atol=1e-3)
