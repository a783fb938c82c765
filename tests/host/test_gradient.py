"""The gradient that moves the latent: exact, early, and on weights that are left as they were."""

import concurrent.futures
import itertools
import operator

import comfy.model_management
import pytest
import torch
from hostkit import FAMILIES, LATENT_METHODS, MOVES, encoded, models, noise, patched, sample
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.host.models.random_models import load_random_model
from prompt_fidelity.host.networks.base import Site
from prompt_fidelity.host.networks.tap import Tap
from prompt_fidelity.host.sampling import run as run_module
from prompt_fidelity.host.sampling.grad import differentiable


class Probe:
    """Takes the optimiser's place and hands the first step's latent and network to a test."""

    def __init__(self, use):
        self.use = use
        self.done = False

    def __call__(self, *args, **kwargs):
        return self

    def wants(self, progress):
        return not self.done

    def step(self, x, progress, factor, evaluate, sigma, showing):
        self.done = True
        self.use(x, evaluate)
        return x

    def observe_after(self, maps, view):
        pass


def probe(monkeypatch, family: str, use, size=(1, 4, 32, 24), **options):
    monkeypatch.setattr(run_module, "LatentOptimiser", Probe(use))
    sample(patched(family, **options)[0], family, size=size, steps=2)


def gradient_of(method: str, family: str, x: torch.Tensor, evaluate) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    loss = METHODS[method]().loss(evaluate(leaf), encoded(family)[1]).per_image.sum()
    return torch.autograd.grad(loss, leaf)[0]


# Where the pass ends depends on the network and on the layers that a loss looks at, not on the loss: one loss on every
# family, and the others by turns.
@pytest.mark.parametrize(
    ("method", "family"),
    [
        *((LATENT_METHODS[0], family) for family in FAMILIES),
        *zip(LATENT_METHODS[1:], itertools.cycle(FAMILIES), strict=False),
    ],
)
def test_ending_the_pass_early_changes_no_bit_of_the_gradient(monkeypatch, family, method):
    gradients = []

    def use(x, evaluate):
        gradients.append(gradient_of(method, family, x, evaluate))

    probe(monkeypatch, family, use, method=method, settings=MOVES)
    never = property(lambda tap: Site("never", 0, 0), lambda tap, site: None)
    monkeypatch.setattr(Tap, "end_after", never, raising=False)
    probe(monkeypatch, family, use, method=method, settings=MOVES)
    assert gradients[0].abs().max() > 0
    assert torch.equal(*gradients)


def test_gradient_agrees_with_central_differences(monkeypatch):
    model = models("sd1", torch.float64)[0]
    monkeypatch.setattr("hostkit.models", lambda family, dtype=None: (model, *models(family)[1:]))
    relative = []

    def use(x, evaluate):
        x = x.double()
        gradient = gradient_of("t_sam", "sd1", x, evaluate)
        loss = lambda at: float(METHODS["t_sam"]().loss(evaluate(at).detach(), encoded("sd1")[1]).per_image)  # noqa: E731
        for seed in range(4):
            direction = noise(*x.shape, seed=seed).double()
            numeric = (loss(x + 1e-4 * direction) - loss(x - 1e-4 * direction)) / 2e-4
            analytic = float((gradient * direction).sum())
            relative.append(abs(numeric - analytic) / abs(analytic))

    probe(monkeypatch, "sd1", use, method="t_sam")
    assert len(relative) == 4 and max(relative) < 1e-4


def test_weights_stay_what_they_are():
    with torch.inference_mode():
        network = load_random_model("sd1")[0].model
    before, weight = dict(network.named_parameters()), network.diffusion_model.out[2].weight
    assert all(weight.is_inference() for weight in before.values())
    with pytest.raises(ZeroDivisionError), differentiable(network):
        x = torch.ones_like(weight).requires_grad_()
        assert torch.equal(torch.autograd.grad((x * weight).sum(), x)[0], weight), "and it can be differentiated by"
        raise ZeroDivisionError
    after = dict(network.named_parameters())
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)


def test_a_pass_in_a_pass_takes_nothing_from_it(monkeypatch):
    """Several Apply nodes: what the inner puts back is what the outer put there."""
    comfy.model_management.unload_all_models()
    network = models("sd1")[0].model
    layer = network.diffusion_model.input_blocks[1][0].in_layers[2]
    with monkeypatch.context() as patch:
        patch.setattr(layer, "comfy_cast_weights", True)
        with differentiable(network) as outer:
            x = torch.ones(1, layer.in_channels, 8, 8, requires_grad=True)
            with differentiable(network):
                inner = layer(x)
            again = layer(x)
            assert not outer.storages, "no weight is kept"
        assert torch.equal(*(torch.autograd.grad(out.sum(), x)[0] for out in (inner, again)))
    assert "forward_comfy_cast_weights" not in vars(layer)


def test_another_threads_picture_is_drawn_as_ever():
    network = models("sd1")[0].model
    layer = network.diffusion_model.input_blocks[1][0].in_layers[2]
    with torch.inference_mode():
        x = torch.ones(1, layer.in_channels, 8, 8)
        alone = layer(x)

    def draw():
        with torch.inference_mode():
            return layer(x)

    with differentiable(network), concurrent.futures.ThreadPoolExecutor() as threads:
        beside = threads.submit(draw).result()
    assert beside.is_inference() and torch.equal(beside, alone)


def test_a_write_into_what_is_kept_leaves_the_gradient_what_it_is():
    for write in (
        lambda y: y.mul_(3),
        lambda y: y.__setitem__(slice(1), 5.0),
        lambda y: torch.clamp(y, max=1, out=y),
        lambda y: y.view(3, 1)[1:].sub_(1),
        lambda y: operator.iadd(y, 1),
        lambda y: torch.nn.functional.relu(y, inplace=True),
        lambda y: torch._foreach_add_([y], 1.0),
    ):
        with differentiable():
            x = torch.ones(3, requires_grad=True)
            y = x * 2
            z = (y * y).sum()
            write(y)
            assert torch.equal(torch.autograd.grad(z, x)[0], torch.full((3,), 8.0))


def test_a_write_that_goes_by_unseen_is_an_error_and_no_wrong_gradient():
    with differentiable(), pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x = torch.ones(3, requires_grad=True)
        y = x * 2
        z = (y * y).sum()
        with torch._C.DisableTorchFunction():
            y.mul_(3)
        torch.autograd.grad(z, x)


def test_the_pass_runs_only_the_controlled_row(monkeypatch):
    rows = []

    def use(x, evaluate):
        handle = models("sd1")[0].model.diffusion_model.register_forward_pre_hook(
            lambda module, args: rows.append(args[0].shape[0])
        )
        evaluate(x.clone().requires_grad_())
        handle.remove()

    probe(monkeypatch, "sd1", use)
    assert rows == [1]
