import logging
from dataclasses import dataclass, replace

import pytest
import torch
from prompt_fidelity.core.control.latent import LatentOptimiser
from prompt_fidelity.core.methods import METHODS, MethodError
from prompt_fidelity.core.methods.attend_and_excite import AttendAndExcite, AttendAndExciteSettings
from prompt_fidelity.core.methods.base import LatentLoss, LatentLossSettings
from prompt_fidelity.core.methods.losses import Losses
from prompt_fidelity.core.methods.t_sam import TSAM, TSAMSettings
from toy import ToyNetwork, latents, make_targets

LATENT = {name: method for name, method in METHODS.items() if issubclass(method, LatentLoss)}
BATCHES = [(name, preset) for name, method in LATENT.items() for preset in method.PRESETS]


@dataclass(frozen=True)
class MeanSettings(LatentLossSettings):
    step_size: float = 1.0
    decay: float = 0.0
    end: float = 1.0
    wanted: float = 0.0


class MeanLoss(LatentLoss):
    """½·Σ map² per image: with maps that are the latent itself the gradient is the latent, so everything is known."""

    name, title, paper = "mean", "Mean", "0000.00000"
    PRESETS = {"plain": MeanSettings()}

    def applies(self, targets):
        return True

    def check(self, targets):
        return []

    def loss(self, maps, targets):
        per_image = maps.flatten(1).square().sum(1) / 2
        return Losses(per_image, per_image[:, None], ("all",))

    def satisfied(self, losses, point_index, iteration, targets):
        return losses.per_image < self.settings.wanted


def identity(z):
    return z.permute(0, 2, 3, 1)


def optimiser(settings=MeanSettings(), **options):
    return LatentOptimiser(MeanLoss(settings), make_targets(), **options)


def constant(*values):
    """One image [1, 1, 1] per value: its loss is value²/2 and its gradient the value."""
    return torch.tensor(values)[:, None, None, None]


# --- one update -------------------------------------------------------------------------------------------------------


def test_an_update_is_step_size_times_factor_times_gradient():
    settings = MeanSettings(step_size=0.1, decay=0.5)
    x = latents(2)
    result = optimiser(settings, strength=0.5).step(x, 0.4, 1.6, identity)
    torch.testing.assert_close(result, x - 0.5 * 0.1 * 0.8**0.5 * 1.6 * x)
    assert not result.requires_grad


def test_the_given_latent_is_left_alone_and_the_result_is_deterministic():
    x = latents(2)
    before = x.clone()
    results = [LatentOptimiser(TSAM(), make_targets()).step(x, 0.0, 1.0, ToyNetwork()) for _ in range(2)]
    assert torch.equal(x, before)
    assert torch.equal(*results)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    LatentOptimiser(AttendAndExcite(), make_targets()).step(x, 0.0, 1.0, ToyNetwork())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("name", "preset"), BATCHES)
def test_an_image_gets_the_same_updates_alone_and_in_a_batch(name, preset):
    """Including refinement, which the images of the batch need for different numbers of updates."""
    settings = replace(METHODS[name].PRESETS[preset], refine_at=(0.0,), refine_steps=12, acts_on="latent")
    method = METHODS[name](settings)
    together, targets = LatentOptimiser(method, make_targets()), make_targets()
    x = latents(4)
    result = together.step(x, 0.0, 1.0, ToyNetwork())
    for i in range(4):
        alone = LatentOptimiser(method, targets)
        single = alone.step(x[i : i + 1], 0.0, 1.0, ToyNetwork())
        torch.testing.assert_close(single[0], result[i], rtol=0, atol=1e-5)
        assert alone.log[0].updates[0] == together.log[0].updates[i]


def test_images_of_a_batch_are_refined_until_each_is_done():
    settings = MeanSettings(step_size=0.5, refine_at=(0.0,), refine_steps=10, wanted=0.5)
    x = constant(0.5, 3.0, 1.9)  # losses .125, 4.5, 1.8; every update halves the value
    opt = optimiser(settings)
    result = opt.step(x, 0.0, 1.0, identity)
    # image 1 needs none, 2 needs two updates (3 → 1.5 → .75, loss .28), 3 needs one (.95, loss .45); then one each
    assert opt.log[0].updates.tolist() == [1, 3, 2]
    torch.testing.assert_close(result, constant(0.25, 0.375, 0.475))
    assert opt.log[0].evaluations == 3
    assert [[round(v, 3) for v in total.tolist()] for total in opt.log[0].totals] == [
        [0.125, 4.5, 1.805],
        [0.125, 1.125, 0.451],
        [0.125, 0.281, 0.451],
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_outside_and_float32_inside(dtype):
    seen = []

    def evaluate(z):
        seen.append(z.dtype)
        return ToyNetwork()(z)

    x = latents(2).to(dtype)
    result = LatentOptimiser(TSAM(), make_targets()).step(x, 0.0, 1.0, evaluate)
    assert result.dtype == dtype
    assert set(seen) == {torch.float64 if dtype == torch.float64 else torch.float32}
    reference = LatentOptimiser(TSAM(), make_targets()).step(x.float(), 0.0, 1.0, ToyNetwork())
    # the only half-precision rounding is that of the result
    torch.testing.assert_close(result.float(), reference.to(dtype).float(), rtol=1e-6, atol=1e-6)
    assert not torch.equal(result, x)


def test_half_precision_maps_are_widened():
    def evaluate(z):
        return ToyNetwork()(z).half()

    result = LatentOptimiser(AttendAndExcite(), make_targets()).step(latents(), 0.0, 1.0, evaluate)
    assert result.dtype == torch.float32
    assert result.isfinite().all()


@pytest.mark.parametrize(("h", "w"), [(16, 16), (24, 10), (7, 5), (1, 9), (1, 1)])
@pytest.mark.parametrize("name", LATENT)
def test_any_size(name, h, w):
    x = latents(2, h, w)
    result = LatentOptimiser(METHODS[name](), make_targets()).step(x, 0.0, 1.0, ToyNetwork(h, w))
    assert result.shape == x.shape
    assert result.isfinite().all()


def test_works_inside_inference_mode():
    """The host runs everything in inference mode, so the latent and the text attention are inference tensors."""
    expected = LatentOptimiser(TSAM(), make_targets()).step(latents(), 0.0, 1.0, ToyNetwork())
    with torch.inference_mode():
        x, targets = latents() * 1.0, make_targets()
        assert x.is_inference()
        network = ToyNetwork()
        network.projection, network.offsets = (t.clone() for t in (network.projection, network.offsets))
        with torch.inference_mode(False):
            plain = ToyNetwork()
        result = LatentOptimiser(TSAM(), targets).step(x, 0.0, 1.0, plain)
    assert torch.equal(result, expected)


def test_updates_lower_the_loss():
    for method in (TSAM(), AttendAndExcite()):
        opt, z = LatentOptimiser(method, make_targets()), latents(2)
        for i in range(10):
            if opt.wants(i / 10):
                z = opt.step(z, i / 10, 1.0, ToyNetwork())
        assert (opt.log[-1].totals[-1] < opt.log[0].totals[0]).all()


# --- when -------------------------------------------------------------------------------------------------------------


def test_strength_zero_wants_nothing_and_changes_nothing():
    opt = LatentOptimiser(TSAM(), replace(make_targets(), text_attention=None), strength=0.0)
    assert not any(opt.wants(p / 20) for p in range(21))
    x, network = latents(), ToyNetwork()
    assert torch.equal(opt.step(x, 0.0, 1.0, network), x)
    assert network.calls == 0
    assert opt.log == opt.warnings == []


def test_the_apply_window_narrows_the_methods():
    opt = LatentOptimiser(AttendAndExcite(), make_targets(), start=0.1, end=0.3)
    assert [opt.wants(p) for p in (0.0, 0.1, 0.29, 0.3, 0.4)] == [False, True, True, False, False]


def test_nothing_to_optimise_is_a_warning_and_no_update():
    for method in (AttendAndExcite(), TSAM()):
        opt = LatentOptimiser(method, make_targets((), words="cat"))
        assert not opt.wants(0.0)
        assert len(opt.warnings) == 1
    with pytest.raises(MethodError):
        LatentOptimiser(TSAM(), replace(make_targets(), text_attention=None))


def test_refinement_fires_once_per_point():
    settings = MeanSettings(step_size=0.01, refine_at=(0.0, 0.2, 0.4), refine_steps=4, end=0.5)
    opt = optimiser(settings)
    x = latents()
    for i in range(25):
        if opt.wants(i / 25):
            x = opt.step(x, i / 25, 1.0, identity)
    assert [(entry.refinement, int(entry.updates)) for entry in opt.log if entry.refined] == [(0, 5), (1, 5), (2, 5)]
    assert [round(entry.progress * 25) for entry in opt.log if entry.refinement is not None] == [0, 5, 10]
    assert [entry.evaluations for entry in opt.log] == [int(entry.updates) for entry in opt.log]
    assert [entry.index for entry in opt.log] == list(range(13))


def test_a_late_start_refines_only_for_the_latest_point():
    opt = optimiser(MeanSettings(step_size=0.01, refine_at=(0.0, 0.2, 0.4), refine_steps=4))
    x = latents()
    for progress in (0.3, 0.35, 0.5):
        x = opt.step(x, progress, 1.0, identity)
    assert [entry.refinement for entry in opt.log] == [1, None, 2]


def test_satisfied_from_the_start_means_one_ordinary_update():
    opt = optimiser(MeanSettings(step_size=0.01, refine_at=(0.0,), refine_steps=4, wanted=1e9))
    opt.step(latents(), 0.0, 1.0, identity)
    assert (opt.log[0].evaluations, opt.log[0].updates.tolist(), opt.log[0].refined) == (1, [1], False)


def test_tests_late_stops_one_update_later():
    """As published: the loss that is looked at is from before the last update."""
    counts = {}
    for stop in ("reached", "published"):
        settings = MeanSettings(step_size=0.5, refine_at=(0.0,), refine_steps=10, wanted=0.5, refine_stop=stop)
        opt = optimiser(settings)
        opt.step(constant(3.0), 0.0, 1.0, identity)
        counts[stop] = int(opt.log[0].updates)
    assert counts == {"reached": 3, "published": 4}


@pytest.mark.parametrize(("loss", "updates"), [("low", 31), ("high", 21)])
def test_published_t_sam_rule_is_upside_down(loss, updates):
    """A loss below its threshold gets all 30 updates; one above it only 20."""
    settings = TSAMSettings(refine_at=(0.0,), refine_stop="published", step_size=1e-4)
    method = TSAM(settings)
    method.threshold = lambda targets: 1e9 if loss == "low" else -1.0
    opt = LatentOptimiser(method, make_targets())
    opt.step(latents(), 0.0, 1.0, ToyNetwork())
    assert int(opt.log[0].updates) == updates


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_non_finite_loss_skips_that_image_only(caplog):
    x = latents(3)

    def evaluate(z):
        return identity(z) + constant(0.0, torch.nan, 0.0)

    opt = optimiser(MeanSettings(step_size=0.1, refine_at=(0.0,), refine_steps=2))
    with caplog.at_level(logging.WARNING, logger="prompt_fidelity"):
        result = opt.step(x, 0.0, 1.0, evaluate)
    assert torch.equal(result[1], x[1])
    torch.testing.assert_close(result[[0, 2]], 0.9**3 * x[[0, 2]])
    assert opt.log[0].updates.tolist() == [3, 0, 3]
    assert len(opt.log[0].skipped) == 1 and "image 2" in opt.log[0].skipped[0]
    assert "image 2" in caplog.text


def test_a_non_finite_gradient_is_caught_though_the_loss_is_finite():
    def evaluate(z):
        return 1.0 + (identity(z) * constant(1.0, 0.0)).abs().sqrt()  # image 2: the value is 1, the slope ∞ · 0

    x = latents(2)
    opt = optimiser()
    result = opt.step(x, 0.0, 1.0, evaluate)
    assert opt.log[0].totals[0].isfinite().all()
    assert torch.equal(result[1], x[1]) and not torch.equal(result[0], x[0])
    assert len(opt.log[0].skipped) == 1 and "image 2" in opt.log[0].skipped[0]


def test_no_map_is_reported_and_nothing_moves():
    opt = optimiser(MeanSettings(refine_at=(0.0,), refine_steps=2, step_size=0.1))
    x = latents()
    assert torch.equal(opt.step(x, 0.0, 1.0, lambda z: None), x)
    assert "no attention map arrived" in opt.log[0].skipped[0]
    # the refinement that could not happen is made up for
    opt.step(x, 0.1, 1.0, identity)
    assert [entry.refinement for entry in opt.log] == [0, 0]
    assert opt.log[1].refined


def test_maps_without_gradient_are_an_error_of_the_caller():
    with pytest.raises(RuntimeError, match="detached"):
        optimiser().step(latents(), 0.0, 1.0, lambda z: identity(z).detach())


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("where", ["evaluate", "on_progress"])
def test_an_interruption_passes_and_leaves_the_optimizer_as_it_was(where):
    calls = 0

    def interrupt(*_):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Interrupted

    settings = MeanSettings(step_size=0.01, refine_at=(0.0,), refine_steps=6)
    opt = optimiser(settings, on_progress=interrupt if where == "on_progress" else None)

    def evaluate(z):
        if where == "evaluate":
            interrupt()
        return identity(z)

    x = latents()
    before = x.clone()
    grad_mode = torch.is_grad_enabled()
    with pytest.raises(Interrupted):
        opt.step(x, 0.0, 1.0, evaluate)
    assert torch.equal(x, before)
    assert opt.log == []
    assert torch.is_grad_enabled() is grad_mode
    fresh = optimiser(settings).step(x, 0.0, 1.0, identity)
    assert torch.equal(opt.step(x, 0.0, 1.0, evaluate), fresh)
    assert opt.log[0].refinement == 0


# --- the log ----------------------------------------------------------------------------------------------------------


def test_progress_is_told_after_every_update():
    told = []
    opt = optimiser(
        MeanSettings(step_size=0.5, refine_at=(0.0,), refine_steps=3),
        on_progress=lambda entry: told.append((int(entry.updates), float(entry.totals[0]), float(entry.totals[-1]))),
    )
    opt.step(constant(2.0), 0.0, 1.0, identity)
    assert told == [(1, 2.0, 2.0), (2, 2.0, 0.5), (3, 2.0, 0.125), (4, 2.0, 0.03125)]


def test_the_log_says_what_was_done():
    log = []
    opt = optimiser(MeanSettings(step_size=0.5, refine_at=(0.0,), refine_steps=1), log=log)
    opt.step(constant(2.0, 0.0), 0.0, 1.0, identity, sigma=14.6)
    (entry,) = log
    assert (entry.progress, entry.sigma, entry.step_size, entry.names) == (0.0, 14.6, 0.5, ("all",))
    # a loss of zero is left alone
    assert entry.updates.tolist() == [2, 0]
    assert entry.first.tolist() == [[2.0], [0.0]]
    assert entry.last.tolist() == [[0.5], [0.0]]
    assert entry.moved.tolist() == [0.75, 0.0]
    assert [t.tolist() for t in entry.outcome] == [[[0.5], [0.0]], [0.5, 0.0]]
    opt.observe_after(identity(constant(0.5, 0.0)))
    assert [t.tolist() for t in entry.outcome] == [[[0.125], [0.0]], [0.125, 0.0]]
    assert all(
        t.device.type == "cpu" and not t.requires_grad for t in (entry.first, entry.last, entry.after, entry.moved)
    )


def test_network_calls_are_one_per_update():
    network = ToyNetwork()
    settings = AttendAndExciteSettings(thresholds=(1.0,), refine_at=(0.0,), refine_steps=20)
    opt = LatentOptimiser(AttendAndExcite(settings), make_targets())
    opt.step(latents(), 0.0, 1.0, network)
    assert network.calls == int(opt.log[0].updates) == 21
