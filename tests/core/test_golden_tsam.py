"""T-SAM against the published code: every tsam_* case of GOLDEN_DIR."""

import pytest
import torch
from golden import FOLDER, case_names, load, make_targets, run_loop, toy_maps
from prompt_fidelity.core.methods.t_sam import TSAM, TSAMSettings, cosine_terms, text_matrix

NAMES = case_names("tsam")
LOOPS = [name for name in NAMES if "_loop" in name]
SINGLE = [name for name in NAMES if "_loop" not in name]


def text_attention(case, dtype=torch.float32):
    """Mean over the encoder's layers, between the words at 1..n."""
    words = case.hyper["n_tokens"]
    return case.input("text_self_attention").to(dtype).mean(dim=0)[1 : words + 1, 1 : words + 1]


def targets_of(case):
    return make_targets(case.hyper["n_tokens"], text_attention=text_attention(case))


def loop_settings(case, stop):
    steps, hyper = case.hyper["num_inference_steps"], case.hyper
    last = steps - 1
    return TSAMSettings(
        step_size=hyper["scale_factor"],
        decay=hyper["scale_range"][0] - hyper["scale_range"][1],
        end=hyper["max_iter_to_alter"] / last,
        refine_at=tuple(i / last for i in hyper["iterative_refinement_steps"]),
        refine_stop=stop,
        smoothing=hyper["do_smoothing"],
    )


def reference_order(case, result, targets):
    """Our evaluations as the published loop makes them: once more at the start of a refinement, and past the window."""
    losses, at = [], []
    for step in range(len(result.latents)):
        ours = result.losses_at(step)
        if not ours:
            before = result.latents[step - 1]
            ours = [float(result.optimiser.method.loss(toy_maps(case, before), targets).per_image)]
        refined = result.updates_at(step) > 1
        losses += [ours[0], *ours] if refined else ours
        at += [step] * (len(ours) + refined)
    return losses, at


def test_there_are_cases():
    assert SINGLE and LOOPS, f"no tsam_* cases in {FOLDER}"


@pytest.mark.parametrize("name", SINGLE)
def test_loss(name):
    case = load(name)
    method = TSAM(TSAMSettings(smoothing=case.hyper["do_smoothing"]))
    targets = targets_of(case)
    maps = case.input("attention_map")[None].requires_grad_()

    losses = method.loss(maps, targets)
    text = text_matrix(targets.text_attention, 3.0)
    similarity = method.map_similarity(maps[..., list(targets.content)])
    lower = similarity[0].tril(-1)
    lower.fill_diagonal_(1.0)

    case.check("T", text)
    case.check("T_half", text_matrix(text_attention(case, torch.float16), 3.0).float())
    case.check("S", lower)
    case.check("row_terms", cosine_terms(text, similarity)[0])
    case.check("loss", losses.per_image[0])
    gradient = torch.autograd.grad(losses.per_image.sum(), maps)[0][0]
    words = case.hyper["n_tokens"]
    case.check("grad", gradient[..., : words + 2])
    assert not gradient[..., words + 2 :].any()
    case.check_all_compared()


@pytest.mark.parametrize("name", [name for name in LOOPS if "crash" not in name])
def test_loop(name):
    case = load(name)
    targets = targets_of(case)
    result = run_loop(case, TSAM(loop_settings(case, "published")), targets)

    losses, at = reference_order(case, result, targets)
    case.check("loss_evaluations", losses)
    case.check("loss_at_step", at)
    case.check("update_step_sizes", result.step_sizes())
    case.check("updates_per_step", [result.updates_at(step) for step in range(len(result.latents))])
    case.check("latents_after_step", result.latents)
    calls = case.outputs["unet_calls_per_step"]
    assert all(ours <= theirs for ours, theirs in zip(result.network_calls, calls, strict=True))
    assert sum(result.network_calls) < sum(calls)
    case.check_all_compared("unet_calls_per_step")


@pytest.mark.parametrize("name", [name for name in LOOPS if "crash" in name])
def test_loop_that_the_published_code_does_not_survive(name):
    """The same updates up to the published error (no threshold for this length), then ours goes on to the end."""
    case = load(name)
    targets = targets_of(case)
    result = run_loop(case, TSAM(loop_settings(case, "published")), targets)

    theirs = len(case.outputs["update_step_sizes"])
    losses, at = reference_order(case, result, targets)
    case.check("loss_evaluations", losses[: theirs + 1])
    case.check("loss_at_step", at[: theirs + 1])
    case.check("update_step_sizes", result.step_sizes()[:theirs])
    assert case.outputs["updates_per_step"].sum() == theirs < result.updates_at(0)
    assert result.latents.isfinite().all()
    assert [result.updates_at(step) for step in range(1, 10)] == [1] * 9
    assert losses[at.index(33)] < losses[0]
    case.check_all_compared("updates_per_step")


@pytest.mark.parametrize("name", LOOPS)
def test_default_preset_stops_when_the_loss_is_low_enough(name):
    case = load(name)
    targets = targets_of(case)
    method = TSAM(loop_settings(case, "reached"))
    result = run_loop(case, method, targets)
    threshold = case.hyper["loss_threshold_by_n"].get(str(case.hyper["n_tokens"]), method.threshold(targets))
    assert method.threshold(targets) == pytest.approx(threshold)
    for step in case.hyper["iterative_refinement_steps"]:
        evaluated = result.losses_at(step)
        assert all(loss >= threshold for loss in evaluated[:-1])
        assert evaluated[-1] < threshold or len(evaluated) == 31
        assert result.updates_at(step) == len(evaluated)
