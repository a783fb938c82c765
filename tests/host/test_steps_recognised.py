"""A method acts once in every step, whatever the sampler does between its model and ours; and if it can't, the report
says so.
"""

import comfy.samplers
import other_samplers as others
import pytest
import torch
from comfy.samplers import KSAMPLER, sampler_object
from hostkit import ONE_A_STEP, models, patched
from prompt_fidelity.core.show.report import report
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.sampling.samplers import SAMPLERS, UNKNOWN, facts_of
from prompt_fidelity.host.sampling.solvers import name_of
from prompt_fidelity.host.sampling.steps import StepClock, with_solver_model

STEPS = 8
WIDE = ONE_A_STEP | {"start": 0.0, "end": 1.0}  # acts in every step


def begun(sampler, steps=STEPS, scheduler="normal", mask=None):
    """What the clock makes of a sampler: (step, noise level, calls since the last step began) where each begins."""
    model = models("sd1")[0].clone()
    model.set_model_sampler_calc_cond_batch_function(lambda args: [torch.zeros_like(args["input"])] * 2)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
    clock, found, calls = StepClock(sampler, sigmas), [], [0]

    def before_call(model, x, sigma, kwargs):
        step = clock.begins(float(sigma[0]), x)
        calls[0] += 1
        if step is not None:
            found.append((step, float(sigma[0]), calls[0], x.shape[-1]))
        return model(x, sigma, **kwargs)

    others.draw(model, with_solver_model(sampler, before_call, clock), steps, scheduler, mask=mask)
    return found, [float(s) for s in sigmas[:-1]], calls[0]


every_wrapper = pytest.mark.parametrize("around", [others.lying_around, others.partial_around])


@every_wrapper
@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2", "dpmpp_2m", "dpmpp_sde", "uni_pc"])
@pytest.mark.parametrize("options", [{}, {"factor": 0.6}, {"factor": 1.3, "start": 0}])
def test_a_wrapped_solver_is_followed_at_its_own_noise_levels(around, name, options):
    sampler = around(sampler_object(name), **options)
    found, sigmas, _ = begun(sampler)
    assert [step for step, *_ in found] == list(range(STEPS))
    assert [level for _, level, *_ in found] == pytest.approx(sigmas, rel=1e-3)
    assert facts_of(sampler) is SAMPLERS[name] and name in name_of(sampler)


@every_wrapper
def test_a_lie_to_the_network_holds_in_gradient_passes_too(around):
    """What the method sees is what the network does: the lie is inside, and as many updates come as without it."""
    drawn = {}
    for factor in (1.0, 0.9):
        controlled, record = patched(settings=WIDE)
        drawn[factor] = others.draw(controlled, around(sampler_object("euler"), factor=factor, start=0), 4)
        assert len(record.steps) == 4 and record.recognised == 4 and not record.warnings
        assert [entry.sigma for entry in record.steps] == pytest.approx(begun(sampler_object("euler"), 4)[1], rel=1e-3)
    controlled, _ = patched(settings=WIDE)
    torch.testing.assert_close(drawn[1.0], others.draw(controlled, sampler_object("euler"), 4))
    assert not torch.equal(drawn[1.0], drawn[0.9])


def test_wrappers_around_wrappers_and_samplers_by_turns():
    twice = others.lying_around(others.lying_around(sampler_object("heun")), factor=1.1)
    found, sigmas, _ = begun(twice)
    assert [level for _, level, *_ in found] == pytest.approx(sigmas, rel=1e-3)
    by_turns = KSAMPLER(
        others.one_step_at_a_time, {"first": sampler_object("euler"), "second": sampler_object("dpm_2")}
    )
    found, sigmas, calls = begun(by_turns)
    assert [(step, pytest.approx(level, rel=1e-3)) for step, level, *_ in found] == list(enumerate(sigmas))
    assert calls == STEPS + STEPS // 2 - 1


def test_a_sampler_in_a_closure_is_found_and_its_steps_counted():
    for name in ("euler", "heun", "dpm_2"):
        found, sigmas, _ = begun(others.closure_around(sampler_object(name)))
        assert [step for step, *_ in found] == list(range(STEPS))
        assert [level for _, level, *_ in found] == pytest.approx([0.95 * sigma for sigma in sigmas], rel=1e-3)


CHURNED = {
    "by 41 %": {},
    "half size in two steps": {"small": (2, 3)},
    "half size from the start": {"small": (0, 1, 5)},
    "less and less": {"factors": tuple(1.4 - 0.05 * i for i in range(STEPS))},
    "from the second step": {"factors": (1.0, *[1.4] * (STEPS - 1))},
    "without a report": {"told": False},
    "without a report, by 10 %": {"told": False, "factors": (1.1,)},
}


@pytest.mark.parametrize("options", CHURNED.values(), ids=CHURNED)
@pytest.mark.parametrize(("steps", "scheduler"), [(8, "normal"), (20, "normal"), (12, "karras"), (4, "simple")])
def test_a_solver_that_adds_noise_before_its_calls_is_followed(options, steps, scheduler):
    found, sigmas, _ = begun(KSAMPLER(others.churned, options), steps, scheduler)
    wanted = list(range(steps))
    if "factors" in options and len(options["factors"]) > 1:
        wanted = [step for step in wanted if step != 1 or step in [step for step, *_ in found]]  # one may be learned on
    assert [step for step, *_ in found] == wanted
    assert {size for *_, size in found} == {16}
    assert all(sigmas[step] * 0.99 <= level for step, level, *_ in found)


@pytest.mark.parametrize("ita", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("c2", [0.3, 0.5, 0.8])
@pytest.mark.parametrize(("steps", "scheduler"), [(8, "normal"), (20, "normal"), (12, "karras")])
def test_a_solver_that_reports_when_a_step_is_done_is_followed(ita, c2, steps, scheduler):
    found, _, calls = begun(KSAMPLER(others.refined, {"ita": ita, "c2": c2}), steps, scheduler)
    assert [step for step, *_ in found] == list(range(steps)) and calls == 2 * steps - 1
    assert [call for _, _, call, _ in found] == list(range(1, 2 * steps, 2))


@pytest.mark.parametrize("share", [0.3, 0.5, 2 / 3, 0.9])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("steps", [6, 20])
def test_calls_inside_a_step_begin_none(share, told, steps):
    found, _, _ = begun(KSAMPLER(others.two_calls, {"share": share, "told": told}), steps)
    assert [(step, call) for step, _, call, _ in found] == [(i, 2 * i + 1) for i in range(steps)]


@pytest.mark.parametrize("name", ["euler", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "dpmpp_sde", "dpmpp_2m"])
def test_the_hosts_own_solvers_could_be_followed_as_strangers(name):
    """Their steps are known by counting; followed by levels and reports, all but the second are found where they are
    (and the last of one that makes fewer calls there).
    """
    counted, _, _ = begun(sampler_object(name))

    def stranger(*args, **kwargs):
        return sampler_object(name).sampler_function(*args, **kwargs)

    followed, _, _ = begun(KSAMPLER(stranger))
    assert facts_of(KSAMPLER(stranger)) is UNKNOWN
    late = [(step, call) for step, _, call, _ in followed if step >= 2]
    assert late == [(step, call) for step, _, call, _ in counted if step >= 2][: len(late)] and len(late) >= STEPS - 3


@pytest.mark.parametrize("method", ["attend_and_excite", "attention_regulation", "space_time"])
@pytest.mark.parametrize(
    "sampler",
    [KSAMPLER(others.churned), KSAMPLER(others.refined), others.lying_around(sampler_object("euler"))],
    ids=["churned", "refined", "lying"],
)
def test_methods_act_in_all_steps_of_such_samplers(method, sampler):
    controlled, record = patched(method=method, settings=WIDE)
    drawn = others.draw(controlled, sampler, 4)
    acted = record.steps or record.edits or record.mixes
    assert len(acted) == record.recognised == record.maps.steps == 4
    assert torch.isfinite(drawn).all() and "could be told apart" not in report(record)


def test_what_a_solver_sets_on_its_model_reaches_the_model():
    """Euler Dy sets a smaller picture and mask for its call at half size; with a mask the host reads them."""
    mask = torch.ones(1, 4, 16, 16)
    mask[..., :8] = 0
    sampler = KSAMPLER(others.churned, {"small": (2, 3)})
    found, _, _ = begun(sampler, mask=mask)
    assert len(found) == STEPS
    torch.manual_seed(0)
    plain = others.draw(models("sd1")[0], sampler, mask=mask)
    torch.manual_seed(0)
    controlled, _ = patched(strength=0.0)
    with pytest.MonkeyPatch.context() as patch:  # maps of two sizes are another test's
        patch.setattr("prompt_fidelity.core.maps.recorder.TargetMaps.add", lambda *a: None)
        assert torch.equal(others.draw(controlled, sampler, mask=mask), plain)


# --- and if they can't be


@pytest.mark.parametrize("method", ["attend_and_excite", "attention_regulation", "space_time"])
def test_a_report_says_that_no_step_could_be_told_apart(method):
    controlled, record = patched(method=method)
    drawn = others.draw(controlled, KSAMPLER(others.own_clock))
    assert torch.equal(drawn, others.draw(models("sd1")[0], KSAMPLER(others.own_clock)))
    text = report(record)
    assert "None of the 8 steps of the sampler own_clock could be told apart" in text and "euler" in text
    assert "window (" not in text and "Widen start and end" not in text


def test_a_report_says_how_many_steps_were_told_apart():
    def sample_odd(model, x, sigmas, extra_args=None, **more):
        for i in range(len(sigmas) - 1):
            level = sigmas[i] * (1.0 if i < 3 else 3.0)
            denoised = model(x, level * x.new_ones(x.shape[0]), **extra_args)
            x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
        return x

    controlled, record = patched(settings=WIDE)
    others.draw(controlled, KSAMPLER(sample_odd))
    assert record.recognised == 3 and len(record.steps) == 3
    assert "Of the 8 steps of the sampler odd only 3 could be told apart" in report(record)


# --- which solver it is


@pytest.mark.parametrize("sampler", [others.in_a_lambda("dpm_adaptive"), others.by_name_in_a_lambda()])
def test_an_adaptive_solver_in_a_lambda_is_refused(sampler):
    controlled, _ = patched()
    with pytest.raises(HostError, match="dpm_adaptive.*euler"):
        others.draw(controlled, sampler)


@pytest.mark.parametrize("around", [others.lying_around, others.partial_around, others.closure_around])
def test_an_adaptive_solver_inside_another_sampler_is_refused(around):
    controlled, _ = patched()
    with pytest.raises(HostError, match="dpm_adaptive.*euler"):
        others.draw(controlled, around(sampler_object("dpm_adaptive")))


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_sde", "uni_pc", "lcm"])
def test_a_lambda_around_one_of_the_hosts_solvers_is_that_solver(name):
    sampler = others.in_a_lambda(name)
    assert facts_of(sampler) is SAMPLERS[name] and name in name_of(sampler) and "lambda" not in name_of(sampler)
    drawn = []
    for each in (sampler, sampler_object(name)):
        controlled, _ = patched(settings=WIDE)
        drawn.append(others.draw(controlled, each, 3))
    assert torch.equal(*drawn)


def test_another_packs_function_under_a_name_of_the_hosts_is_not_taken_for_it(monkeypatch):
    sampler = KSAMPLER(others.sample_euler)
    assert facts_of(sampler) is UNKNOWN and name_of(sampler) == "euler of other_samplers"
    found, _, _ = begun(sampler)
    assert [(step, call) for step, _, call, _ in found] == [(i, 2 * i + 1) for i in range(STEPS)]
    # Put in the host's own place, it is the sampler that KSampler's list calls euler.
    monkeypatch.setattr("comfy.k_diffusion.sampling.sample_euler", others.sample_euler)
    assert facts_of(sampler_object("euler")) is UNKNOWN
    controlled, record = patched(settings=WIDE)
    others.draw(controlled, sampler_object("euler"))
    assert len(record.steps) == STEPS and any("euler of other_samplers" in warning for warning in record.warnings)


def test_a_wrapper_dressed_as_the_hosts_function_is_not_taken_for_it():
    """functools.wraps copies name, module and all."""
    import functools

    host = sampler_object("heun").sampler_function

    @functools.wraps(host)
    def dressed(model, x, sigmas, **kwargs):
        return others.two_calls(model, x, sigmas, **{k: kwargs[k] for k in ("extra_args", "callback")})

    assert dressed.__module__ == host.__module__
    assert facts_of(KSAMPLER(dressed)) is UNKNOWN
