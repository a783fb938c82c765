"""Progress and the latent-coordinate factor, on the host's own model samplings."""

import comfy.model_sampling
import pytest
import torch
from hostkit import models, noise
from prompt_fidelity.host.sampling.coordinates import Coordinates


class Flow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    pass


def sampling(family: str):
    return models(family)[0].get_model_object("model_sampling")


@pytest.mark.parametrize(
    "make",
    [lambda: sampling("sd1"), lambda: sampling("sd2"), lambda: sampling("sdxl"), Flow],
    ids=["eps", "v", "sdxl", "flow"],
)
def test_progress_inverts_the_hosts_percent(make):
    coordinates = Coordinates(make())
    for percent in (0.01, 0.2, 0.5, 0.77, 0.99):
        assert coordinates.progress(float(coordinates.model_sampling.percent_to_sigma(percent))) == pytest.approx(
            percent, abs=2e-3
        )
    assert coordinates.progress(1e9) == 0.0 and coordinates.progress(0.0) == 1.0


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("sigma", [0.03, 1.0, 14.6])
def test_a_step_in_the_papers_latent_is_the_same_step_in_the_samplers(family, sigma):
    """z - a dL/dz, with z = x / sqrt(1 + sigma^2), for L = |z|^2 / 2, whose gradient is z itself."""
    x = noise(1, 4, 4, 4).double().requires_grad_()
    z = x / (1 + sigma**2) ** 0.5
    gradient = torch.autograd.grad((z**2).sum() / 2, x)[0]
    moved = (x - Coordinates(sampling(family)).factor(sigma) * 0.3 * gradient) / (1 + sigma**2) ** 0.5
    torch.testing.assert_close(moved, z - 0.3 * z, rtol=1e-5, atol=1e-8)


def test_a_flow_model_samples_the_papers_latent_itself():
    assert Coordinates(Flow()).factor(0.7) == 1.0


def test_the_host_is_asked_once_for_an_object_that_stays_what_it_is():
    asked = []

    class Counting(Flow):
        def percent_to_sigma(self, percent):
            asked.append(percent)
            return super().percent_to_sigma(percent)

    model_sampling = Counting()
    first, calls = Coordinates(model_sampling).progress(0.6), len(asked)
    assert Coordinates(model_sampling).progress(0.6) == first and len(asked) - calls < 10
    model_sampling.set_parameters(shift=3.0)  # as a node might, in place
    changed = Coordinates(model_sampling).progress(0.6)
    assert changed == pytest.approx(1 - 0.6 / (3 - 2 * 0.6), abs=2e-3) and changed != first
