"""Latent losses on every family of transformers: the gradient is right, and the same bits whatever is kept for it."""

import pytest
import torch
from hostkit import encoded, fingerprint, latent_of, models, noise, patched, sample
from prompt_fidelity.core.maps.joint import over_the_text
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.host.models.random_transformers import available
from prompt_fidelity.host.sampling import run as run_module
from test_gradient import Probe
from test_recompute import same

every_family = pytest.mark.parametrize("family", available())
STEPS, END = {"latent": 3, PREDICTION: 6}, {"latent": 1.0, PREDICTION: 0.5}  # three steps with a loss


# Networks that round to float32 inside: their differences need a wide step.
ROUNDED = {"krea2": 4e-3}


def central(function, wide: float | None = None) -> float:
    """The derivative of a function at 0 by central differences; of the fourth order where the step is `wide`."""
    if wide is None:
        return (function(1e-4) - function(-1e-4)) / 2e-4
    near, far = (function(step) - function(-step) for step in (wide, 2 * wide))
    return (8 * near - far) / (12 * wide)


class Enough(Exception):
    """Ends a run that has shown what it was to show."""


@every_family
def test_the_gradient_agrees_with_central_differences(monkeypatch, family):
    made, size = models(family, torch.float64), latent_of(family)
    relative = []
    method, targets = METHODS["t_sam"](), encoded(family)[1]

    def loss(maps):
        return method.loss(over_the_text(maps), targets).per_image.sum()

    def use(x, evaluate):
        x = x.double()
        leaf = x.clone().requires_grad_()
        gradient = torch.autograd.grad(loss(evaluate(leaf)), leaf)[0]
        direction = noise(*x.shape).double()
        difference = central(lambda step: float(loss(evaluate(x + step * direction).detach())), ROUNDED.get(family))
        analytic = float((gradient * direction).sum())
        relative.append(abs(difference - analytic) / abs(analytic))
        raise Enough  # the host's kernels for rotary positions take no float64

    monkeypatch.setattr(run_module, "LatentOptimiser", Probe(use))
    controlled, _ = patched(family, "t_sam", model=made[0], recompute="off")
    with pytest.raises(Enough):
        sample(controlled, family, size=size, steps=2)
    assert len(relative) == 1 and relative[0] < (1e-3 if family in ROUNDED else 1e-4)


# In the prediction, as transformers are guided by default, every family's blocks are run from the first to the last. A
# loss in the latent runs some of the same blocks in the same way, so a few families tell.
FEW = [family for family in ("flux", "sd3", "cosmos_predict2", "kandinsky5", "hidream") if family in available()]


@pytest.mark.parametrize(
    ("family", "way"), [*((family, PREDICTION) for family in available()), *((family, "latent") for family in FEW)]
)
def test_losses_act_and_blocks_that_are_run_again_give_the_same_bits(family, way):
    model, size = models(family)[0], latent_of(family, batch=1 + (family == "flux"))
    before, plain = fingerprint(model), sample(model, family, size=size, steps=STEPS[way])
    drawn = []
    for recompute in ("on", "off"):
        settings = {"acts_on": way, "refine_steps": 0, "end": END[way]}
        controlled, record = patched(family, settings=settings, strength=0.05, recompute=recompute, blocks="all")
        drawn.append((sample(controlled, family, size=size, steps=STEPS[way]), record))
    assert same(*drawn) and not torch.equal(drawn[0][0], plain) and not record.warnings
    assert fingerprint(model) == before
    assert not any("forward" in vars(module) for module in model.model.diffusion_model.modules())
    assert all((step.moved > 0).all() for step in record.steps)


@pytest.mark.parametrize("family", ["flux", "cosmos_predict2"])
def test_the_latent_moves_where_the_loss_is_lower(family):
    size = latent_of(family)
    losses = []
    for strength in (0.0, 1.0):
        settings = {"acts_on": PREDICTION, "refine_steps": 0, "end": 1.0}
        controlled, record = patched(family, settings=settings, strength=max(strength, 1e-9))
        sample(controlled, family, size=size, steps=6, cfg=1.0)
        losses.append(float(record.steps[-1].totals[0].mean()))
    assert losses[1] < losses[0]
