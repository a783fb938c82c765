"""The gradient that moves the latent: exact, early, and on weights that are left as they were."""

import pytest
import torch
from hostkit import FAMILIES, LATENT_METHODS, encoded, models, noise, patched, sample
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.host.networks.unet import Site
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

    def step(self, x, progress, factor, evaluate, sigma):
        self.done = True
        self.use(x, evaluate)
        return x

    def observe_after(self, maps):
        pass


def probe(monkeypatch, family: str, use, size=(1, 4, 32, 24), **options):
    monkeypatch.setattr(run_module, "LatentOptimiser", Probe(use))
    sample(patched(family, **options)[0], family, size=size, steps=2)


def gradient_of(method: str, family: str, x: torch.Tensor, evaluate) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    loss = METHODS[method]().loss(evaluate(leaf), encoded(family)[1]).per_image.sum()
    return torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", LATENT_METHODS)
def test_ending_the_pass_early_changes_no_bit_of_the_gradient(monkeypatch, family, method):
    gradients = []

    def use(x, evaluate):
        gradients.append(gradient_of(method, family, x, evaluate))

    probe(monkeypatch, family, use, method=method)
    monkeypatch.setattr(run_module, "last_site", lambda sites, level: Site("never", 0, 0))
    probe(monkeypatch, family, use, method=method)
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


def test_weights_are_lent_and_given_back():
    network = models("sd1")[0].model
    before = dict(network.named_parameters())
    assert all(weight.is_inference() for weight in before.values())
    with pytest.raises(ZeroDivisionError), differentiable(network):
        assert not any(weight.is_inference() or weight.requires_grad for weight in network.parameters())
        alias = network.diffusion_model.out[2].weight
        original = before["diffusion_model.out.2.weight"]
        assert not alias.is_inference() and alias.data_ptr() == original.data_ptr()
        raise ZeroDivisionError
    after = dict(network.named_parameters())
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)


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
