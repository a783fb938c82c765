"""Solvers that draw the model through torch.func's transforms (Extra-Samplers' TTM): every method goes along."""

import other_samplers as others
import pytest
import torch
from comfy.samplers import KSAMPLER, sampler_object
from hostkit import ONE_A_STEP, models, patched
from prompt_fidelity.core.methods import METHODS

WIDE = ONE_A_STEP | {"start": 0.0, "end": 1.0}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["sd1"])
def test_a_solver_that_takes_a_derivative_of_the_model(method, family):
    controlled, record = patched(family, method, settings=WIDE)
    drawn = others.draw(controlled, KSAMPLER(others.taylor), steps=4)
    assert torch.isfinite(drawn).all()
    assert not torch.equal(drawn, others.draw(models(family)[0], KSAMPLER(others.taylor), steps=4))
    assert record.maps.steps == 4
    once = METHODS[method].kind == "rearrangement"
    assert len(record.steps or record.edits or record.mixes or record.arranged) == (1 if once else 4)


def test_a_call_inside_vmap_is_edited_as_any_other():
    drawn = []
    for sampler in (KSAMPLER(others.inside_vmap), sampler_object("euler")):
        controlled, record = patched(method="attention_regulation", settings=WIDE)
        drawn.append(others.draw(controlled, sampler, steps=4))
        assert len(record.edited()) == record.maps.steps == 4
        assert type(record.edits[0].before) is torch.Tensor and float(record.edits[0].before.sum()) > 0
    torch.testing.assert_close(*drawn, rtol=1e-3, atol=1e-3)
