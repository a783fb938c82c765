"""Maps whose size changes in a run."""

import comfy.samplers
import neighbours
import pytest
import torch
from beside import (
    acting,
    every_family,
    in_force,
)
from hostkit import encoded, models, noise
from prompt_fidelity.host.layout.early_attention import early_maps


@pytest.mark.parametrize("method", ["attention_regulation", "space_time"])
def test_a_latent_that_grows_in_the_run(method):
    def grown(model):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(encoded("sd1")[0], encoded("sd1", "")[0])
        guider.set_cfg(5.0)
        sampler = comfy.samplers.KSAMPLER(neighbours.enlarging(2))
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 4)
        with torch.inference_mode():
            start = noise(1, 4, 16, 16)
            return guider.sample(start, torch.zeros_like(start), sampler, sigmas, disable_pbar=True, seed=0)

    controlled, record = acting(method, model=models("sd1")[0], settings={"end": 1.0})
    drawn = grown(controlled)
    assert drawn.shape[-2:] == (32, 32) and torch.isfinite(drawn).all() and in_force(record)
    recording, record = acting(method, model=models("sd1")[0], strength=0.0)
    assert torch.equal(grown(recording), grown(models("sd1")[0])) and record.maps.steps == 4


@every_family
def test_the_attention_predictor_beside_deep_shrink(family):
    with torch.inference_mode():
        shrunk = neighbours.deep_shrink(models(family)[0], end=0.1)
        positive, targets = encoded(family)
        maps = early_maps(shrunk, positive, targets, 384, 384, steps=5)
    assert maps.shape[0] == 2 and torch.isfinite(maps).all()
