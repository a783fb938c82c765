"""Networks in half precision: the update is the float32 network's, near enough, however small the loss is."""

import pytest
import torch
from hostkit import FAMILIES, models, patched, sample
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.host.sampling import guidance, halves
from test_gradient import probe


def update(monkeypatch, family: str, dtype: torch.dtype, size: float = 1.0) -> torch.Tensor:
    """The gradient of a loss `size` times as large, as float64, over `size`."""
    found = []

    def use(x, evaluate):
        leaf = x.clone().requires_grad_()
        maps = evaluate(leaf)
        assert maps.dtype == leaf.dtype == torch.float32
        # Smooth: a maximum may lie at another pixel after rounding, and that is no fault of the gradient's.
        loss = (maps[..., 3].square() - maps[..., 7].square()).sum() * size
        found.append(torch.autograd.grad(loss, leaf)[0].double() / size)

    with monkeypatch.context() as patch:
        model = models(family, dtype)[0]
        patch.setattr("hostkit.models", lambda family, dtype=None: (model, *models(family)[1:]))
        probe(patch, family, use, size=(2, 4, 32, 24))
    return found[0]


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0))


# bfloat16 has float32's range, so that nothing there depends on the family.
@pytest.mark.parametrize(
    ("dtype", "family"), [*((torch.float16, family) for family in FAMILIES), (torch.bfloat16, "sd1")]
)
def test_the_update_points_where_float32s_does(monkeypatch, family, dtype):
    # bfloat16 has 8 bits, too few for the tiny random networks; at the published widths it does better (.998 for SD1).
    # Here it has to point where it points with a loss of size 1.
    exact = update(monkeypatch, family, torch.float32 if dtype == torch.float16 else dtype)
    for size in (1.0, 1e-6, 1e4):
        assert cosine(update(monkeypatch, family, dtype, size), exact) > 0.99


def test_without_scaling_a_small_loss_has_no_gradient(monkeypatch):
    exact = update(monkeypatch, "sd1", torch.float32)
    monkeypatch.setattr(halves.Scaling, "up", lambda self, maps: maps)
    lost = update(monkeypatch, "sd1", torch.float16, 1e-6)
    assert lost.abs().max() == 0 or cosine(lost, exact) < 0.9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_guidance_in_the_prediction_too(monkeypatch, dtype):
    seen = []
    monkeypatch.setattr(guidance.Scaling, "up", lambda self, maps: seen.append(self.needed) or maps)
    model = models("sd1", dtype)[0]
    settings = {"acts_on": PREDICTION, "refine_steps": 0}
    controlled, record = patched("sd1", model=model, settings=settings)
    assert torch.isfinite(sample(controlled)).all() and record.updates == 3
    assert seen == [dtype == torch.float16] * 3
