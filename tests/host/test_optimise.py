"""Space-Time Attention's weights optimised through the host's sampling."""

import functools
from dataclasses import replace

import comfy.model_management
import comfy.samplers
import node_helpers
import pytest
import torch
from hostkit import encoded, fingerprint, models, noise, sample
from prompt_fidelity.core.layout import Box, Layout, Placement, solve
from prompt_fidelity.core.methods import METHODS, SpaceTime
from prompt_fidelity.core.methods.space_time import SpaceTimeSettings
from prompt_fidelity.core.search import learned_weights, replay
from prompt_fidelity.host import optimise
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models import demo_clip
from prompt_fidelity.host.optimise import Sampling, optimise_space_time
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.scoring import ClipScorer
from prompt_fidelity.nodes.optimise import FidelityOptimiseSpaceTime, FidelitySpaceTimeWeights
from streaming import stream_weights
from test_other_packs import small_controlnet

STEPS = 4
RULES = {"convex": SpaceTimeSettings(), "published": SpaceTimeSettings(rule="published", weight=1.0)}


@functools.cache
def scorer():
    with torch.inference_mode():
        return ClipScorer(*demo_clip.load_demo_clip())


def search(
    family="sd1",
    settings=None,
    *,
    model=None,
    epochs=2,
    rate=0.2,
    cfg=3.0,
    layout=None,
    targets=None,
    method=None,
    size=(1, 4, 16, 16),
    steps=STEPS,
    positive=None,
    **options,
):
    """(method, learning) of a search on a small random network."""
    with torch.inference_mode():
        conditioning, own = encoded(family)
        positive = positive or conditioning
        negative, _ = encoded(family, "")
        targets = targets or own
        model = model or models(family)[0]
        layout = layout or solve(own, size[3] * 8, size[2] * 8)
        return optimise_space_time(
            model, positive, negative, targets, layout, method or SpaceTime(settings), models(family)[2], scorer(),
            torch.zeros(size), Sampling(3, steps, cfg, options.pop("scheduler", "normal")),
            epochs=epochs, rate=rate, **options,
        )  # fmt: skip


# By turns: a rule is arithmetic on the layers' outputs, whatever network they are of.
@pytest.mark.parametrize(("rule", "family"), [("convex", "sd1"), ("published", "sdxl")])
def test_the_gradient_is_that_of_backpropagation_through_the_whole_sampling(monkeypatch, rule, family):
    seen = []
    one_step_at_a_time = replay.gradient

    def compared(step, latents, weights, objective, first):
        loss, slope = one_step_at_a_time(step, latents, weights, objective, first)
        whole, x = weights.detach().clone().requires_grad_(), latents[0]
        for t in range(len(latents) - 1):
            x = step(t, x, whole)
        (expected,) = torch.autograd.grad(objective(x), whole)
        seen.append((slope, expected))
        return loss, slope

    monkeypatch.setattr(optimise.replay, "gradient", compared)
    search(family, RULES[rule], epochs=1)
    ((slope, expected),) = seen
    assert slope.shape == (2, STEPS) and float(slope.abs().min()) > 0
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_the_gradient_is_that_of_differences(monkeypatch):
    """Weights tried from outside: the loss goes up and down as the slope says."""
    slopes, losses = [], []

    def probe(weights, evaluate, **options):
        first, slope = evaluate(weights, True)
        way = torch.tensor([[1.0, -0.5, 0.7, 0.2], [-0.6, 0.3, 0.9, -1.0]])
        for sign in (1, -1):
            losses.append(evaluate(weights + sign * 0.004 * way, False)[0].loss)
        slopes.append(float((slope * way).sum()))
        return learned_weights.Learning([first])

    monkeypatch.setattr(optimise.learned_weights, "optimise", probe)
    search("sd2", RULES["published"], cfg=1.5)
    assert (losses[0] - losses[1]) / 0.008 == pytest.approx(slopes[0], rel=0.03)


@pytest.mark.parametrize(("rule", "family"), [("convex", "sd2"), ("published", "sd1")])
def test_it_lowers_the_loss_and_leaves_no_trace(rule, family):
    model = models(family)[0]
    before, plain = fingerprint(model), sample(model, family)
    best, learning = search(family, RULES[rule], epochs=2, rate=0.04)
    assert learning.best.loss < learning.epochs[0].loss and len(learning.epochs) == 3
    assert 0.02 < float(learning.change.mean()) and best.table.shape == (2, STEPS)
    assert best.settings == RULES[rule] and best.names == ("black car", "white clock")
    assert fingerprint(model) == before and torch.equal(sample(model, family), plain)
    assert all(parameter.is_inference() for parameter in scorer().vision.model.parameters())


@pytest.mark.parametrize("scheduler", ["normal", "karras"])
def test_a_sampler_draws_the_very_picture_that_was_optimised(monkeypatch, scheduler):
    drawn = []
    run = replay.run
    monkeypatch.setattr(optimise.replay, "run", lambda *args: drawn.append(run(*args)) or drawn[-1])
    best, learning = search(settings=RULES["published"], scheduler=scheduler, epochs=1)
    with torch.inference_mode():
        controlled, _ = attach(models("sd1")[0], best, encoded("sd1")[1], layout=solve(encoded("sd1")[1], 128, 128))
    start = noise(1, 4, 16, 16, seed=3)
    again = sample(controlled, start=start, steps=STEPS, cfg=3.0, scheduler=scheduler)
    expected = drawn[learning.epochs.index(learning.best)][-1]
    expected = models("sd1")[0].model.process_latent_out(expected)
    torch.testing.assert_close(again.clone(), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_what_is_kept_for_backward_does_not_grow_with_the_steps(monkeypatch):
    kept = {}
    one_step_at_a_time = replay.gradient
    for steps in (2, 5):
        sizes = [0, 0]  # now, at most

        class Held:
            def __init__(self, tensor, sizes=sizes):
                self.tensor, self.sizes, self.bytes = tensor, sizes, tensor.numel() * tensor.element_size()
                sizes[0] += self.bytes
                sizes[1] = max(sizes)

            def __del__(self):
                self.sizes[0] -= self.bytes

        def counted(*args, held=Held):
            with torch.autograd.graph.saved_tensors_hooks(held, lambda one: one.tensor):
                return one_step_at_a_time(*args)

        monkeypatch.setattr(optimise.replay, "gradient", counted)
        search(epochs=1, steps=steps)
        kept[steps] = sizes[1]
    assert kept[2] == kept[5] > 1e6


def test_only_the_steps_of_the_methods_window_have_weights():
    for window in ((0.0, 0.5), (0.5, 1.0)):
        best, learning = search(settings=SpaceTimeSettings(start=window[0], end=window[1]), epochs=1)
        moved = (learning.epochs[1].weights - learning.epochs[0].weights).abs()
        assert moved.shape == (2, 2) and float(moved.min()) > 0
    with pytest.raises(HostError, match="holds none of the steps"):
        search(settings=SpaceTimeSettings(start=0.4, end=0.5))


def test_discs_and_other_pictures_than_square():
    best, learning = search(settings=SpaceTime.PRESETS["repo"], size=(1, 4, 12, 20), epochs=1)
    assert torch.isfinite(best.table).all() and set(learning.best.parts) == {"whole prompt", "black car", "white clock"}


def test_a_controlnet_and_an_area_take_part():
    """The ControlNet's guidance is in force but held fixed; a prompt limited to an area has a mask in the way."""
    conditioning = encoded("sd1")[0]
    with torch.inference_mode():
        added = {"control": small_controlnet(), "control_apply_to_uncond": True}
        controlled = node_helpers.conditioning_set_values(conditioning, added)
        area = node_helpers.conditioning_set_values(conditioning, {"area": (12, 16, 4, 0), "strength": 0.8})
    plain, without = search(epochs=1, steps=2)
    for positive in (controlled, area + encoded("sd1", "a photo")[0]):
        _, learning = search(epochs=1, steps=2, positive=positive)
        assert learning.epochs[0].loss != without.epochs[0].loss and not learning.notes
        assert float((learning.epochs[1].weights - learning.epochs[0].weights).abs().min()) > 0


def test_a_batch_is_optimised_for_its_first_picture():
    one, _ = search(epochs=1)
    two, _ = search(epochs=1, size=(2, 4, 16, 16))
    torch.testing.assert_close(one.table, two.table)


def test_cancelling_ends_it_and_nothing_stays_behind():
    model = models("sd1")[0]
    before = fingerprint(model)

    def cancel(done, total, picture):
        if done == 6:  # in the way back of the first epoch
            comfy.model_management.interrupt_current_processing()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        search(told=cancel)
    assert fingerprint(model) == before
    assert all(parameter.is_inference() for parameter in model.model.parameters())
    assert all(parameter.is_inference() for parameter in scorer().vision.model.parameters())
    assert not any(module._forward_pre_hooks for module in scorer().vision.model.modules())


def test_what_cannot_work_is_said_before_anything_is_computed():
    targets = encoded("sd1")[1]
    with pytest.raises(HostError, match="Only Space-Time Attention has weights"):
        search(method=METHODS["t_sam"]())
    with pytest.raises(HostError, match="no objects to look for"):
        search(targets=replace(targets, objects=()))
    with pytest.raises(HostError, match="a place for none of the objects"):
        search(layout=Layout((), 128, 128))
    with pytest.raises(ValueError, match='"dog", which these targets do not hold'):
        search(layout=solve(encoded("sd1", "a dog")[1], 128, 128))
    with torch.inference_mode():
        controlled, _ = attach(models("sd1")[0], SpaceTime(), targets)
    with pytest.raises(HostError, match="already went through Apply Attention Control"):
        search(model=controlled)
    with pytest.raises(HostError, match="does not come from the Extract Targets node"):
        other = encoded("sd1", "a dog")[1]
        search(targets=other, layout=solve(other, 128, 128))


def test_weights_that_are_streamed_are_learned_from_as_well(monkeypatch):
    """The model, the VAE and CLIP Vision need not lie on the card: the gradient has the bits that it has if they do."""
    whole, _ = search(epochs=1)
    with monkeypatch.context() as patch:
        buffers = stream_weights(patch)
        streamed, _ = search(epochs=1)
        comfy.model_management.unload_all_models()
    assert buffers.fetches > 1000 and torch.equal(*map(torch.as_tensor, (streamed.table, whole.table)))


def test_weights_of_other_objects_are_refused_when_they_are_applied():
    method = SpaceTime(table=[[0.1], [0.2]], names=("cat", "dog"))
    targets = encoded("sd1")[1]
    with pytest.raises(ValueError, match="optimised for cat, dog, but the layout places black car, white clock"):
        attach(models("sd1")[0], method, targets, layout=solve(targets, 128, 128))


def test_the_node_gives_a_method_a_plot_and_weights_that_the_other_node_reads():
    model, clip, vae = models("sd1")
    (positive, targets), (negative, _) = encoded("sd1"), encoded("sd1", "")
    half = Box(0.0, 0.0, 0.5, 1.0)
    layout = Layout((Placement(1, "white clock", half),), 128, 128)
    with torch.inference_mode():
        method, plot, text = FidelityOptimiseSpaceTime.execute(
            model, positive, negative, targets, layout, vae, scorer().clip, scorer().vision,
            {"samples": torch.zeros(1, 4, 16, 16)}, 3, 2, 3.0, "normal", 1, 0.1, SpaceTime(SpaceTime.PRESETS["demo"]),
        ).args  # fmt: skip
        (again,) = FidelitySpaceTimeWeights.execute(text).args
    assert (
        method.names == again.names == ("white clock",)
        and method.settings == again.settings == SpaceTime.PRESETS["demo"]
    )
    torch.testing.assert_close(again.table, method.table, atol=1e-4, rtol=0)
    assert plot.shape == (1, 540, 960, 3)
