"""What artists do with a model, on a few transformers of each kind: references, masks, two prompts, LoRA, two nodes."""

import node_helpers
import pytest
import torch
from hostkit import encoded, fingerprint, latent_of, models, noise, patched, sample
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.host.models.random_transformers import available
from prompt_fidelity.host.networks.families import network_of
from test_networks import TEXT, looked_at, words
from test_space_time import mixing

FEW = [family for family in ("flux", "qwen_image", "z_image", "anima", "wan") if family in available()]
few_families = pytest.mark.parametrize("family", FEW)
MOVES = {"acts_on": PREDICTION, "refine_steps": 0, "end": 1.0}


class Listens:
    """Writes out the attention of the picture's rows, from `start` on, to the text, where there are `tokens` of all."""

    def __init__(self, start: int, tokens: int):
        self.start, self.tokens, self.maps = start, tokens, []

    def __call__(self, func, q, k, v, heads, mask=None, **named):
        if named.get("skip_reshape") and q.shape[2] == k.shape[2] == self.tokens:
            keys = k.repeat_interleave(q.shape[1] // k.shape[1], 1).double().transpose(-1, -2)
            scores = q[:, :, self.start : self.start + 96].double() @ keys * q.shape[-1] ** -0.5
            self.maps.append(scores.softmax(-1)[..., :TEXT].mean(1))
        return func(q, k, v, heads, mask=mask, **named)


@pytest.mark.parametrize("family", ["flux", "qwen_image", "omnigen2"])
def test_with_reference_pictures_the_maps_are_of_the_drawn_picture(family):
    """Of 8 × 8 tokens, behind the drawn one's in Flux (Kontext) and Qwen-Image (Edit), before them in OmniGen2."""
    reference = noise(*latent_of(family, 16, 16), seed=8)
    with torch.inference_mode():
        positive = node_helpers.conditioning_set_values(encoded(family)[0], {"reference_latents": [reference]})
    size, run = latent_of(family), {"steps": 2, "cfg": 1.0, "positive": positive}
    listens, model = Listens(TEXT + 64 * (family == "omnigen2"), TEXT + 96 + 64), models(family)[0].clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = listens
    plain = sample(model, family, size=size, **run)
    controlled, record = patched(family, strength=0.0)
    assert torch.equal(sample(controlled, family, size=size, **run), plain) and not record.warnings
    depth = len(network_of(models(family)[0].model).sites)
    assert len(listens.maps) == 2 * depth
    mean = torch.stack([each for i, each in enumerate(listens.maps) if i % depth in looked_at(family)]).mean(0).float()
    expected = words(mean, encoded(family)[1]).unflatten(-1, (8, 12))
    torch.testing.assert_close(record.maps.shown(encoded(family)[1])[1], expected, rtol=1e-4, atol=1e-5)
    controlled, record = patched(family, settings=MOVES, strength=0.05)
    moved = sample(controlled, family, size=size, **{**run, "steps": 6})
    assert torch.isfinite(moved).all() and (record.steps[0].moved > 0).all()


def test_distilled_guidance():
    """Flux is told how much guidance it was taught to draw with (FluxGuidance), and draws with cfg 1."""
    size, run = latent_of("flux"), {"steps": 6, "cfg": 1.0}
    drawn, maps = [], []
    for guidance in (1.0, 8.0):
        with torch.inference_mode():
            positive = node_helpers.conditioning_set_values(encoded("flux")[0], {"guidance": guidance})
        plain = sample(models("flux")[0], "flux", size=size, positive=positive, **run)
        controlled, record = patched("flux", strength=0.0)
        assert torch.equal(sample(controlled, "flux", size=size, positive=positive, **run), plain)
        controlled, moved = patched("flux", settings=MOVES, strength=0.05)
        assert not torch.equal(sample(controlled, "flux", size=size, positive=positive, **run), plain)
        assert (moved.steps[0].moved > 0).all() and not record.warnings and not moved.warnings
        drawn.append(plain)
        maps.append(record.maps.mean)
    assert not torch.equal(*drawn) and not torch.equal(*maps)


@few_families
def test_what_a_mask_keeps_is_kept(family):
    size, kept = latent_of(family), noise(*latent_of(family), seed=4)
    mask = torch.zeros(1, 1, *size[-2:])
    mask[..., size[-1] // 2 :] = 1.0
    run = {"size": size, "latent": kept, "noise_mask": mask, "steps": 4}
    plain = sample(models(family)[0], family, **run)
    controlled, record = patched(family, settings=MOVES, strength=0.05)
    drawn = sample(controlled, family, **run)
    assert torch.equal(drawn[..., : size[-1] // 2], plain[..., : size[-1] // 2]) and not torch.equal(drawn, plain)
    assert not record.warnings


@few_families
def test_a_second_prompt_is_left_alone(family):
    """Two conditionings side by side: maps are of the controlled prompt's rows."""
    size, (positive, targets) = latent_of(family), encoded(family)
    other = encoded(family, "a wooden house")[0]
    controlled, record = patched(family, strength=0.0)
    drawn = sample(controlled, family, size=size, steps=2, cfg=1.0, positive=[*positive, *other])
    assert torch.equal(
        drawn, sample(models(family)[0], family, size=size, steps=2, cfg=1.0, positive=[*positive, *other])
    )
    controlled, alone = patched(family, strength=0.0)
    sample(controlled, family, size=size, steps=1, cfg=1.0)
    controlled, beside = patched(family, strength=0.0)
    sample(controlled, family, size=size, steps=1, cfg=1.0, positive=[*positive, *other])
    for record in (alone, beside):
        assert record.maps.steps == 1 and not record.warnings
    torch.testing.assert_close(beside.maps.shown(targets)[1], alone.maps.shown(targets)[1], rtol=1e-3, atol=1e-6)


@few_families
def test_a_lora_is_in_force(family):
    size, model = latent_of(family), models(family)[0].clone()
    name = next(n for n, w in model.model.named_parameters() if w.ndim == 2 and "block" in n or "layers.0" in n)
    weight = dict(model.model.named_parameters())[name]
    before = fingerprint(models(family)[0])
    model.add_patches({name: ("diff", (0.5 * noise(*weight.shape, seed=2),))}, 1.0)
    plain = sample(models(family)[0], family, size=size, steps=2)
    tuned = sample(model, family, size=size, steps=2)
    controlled, record = patched(family, model=model, strength=0.0)
    assert torch.equal(sample(controlled, family, size=size, steps=2), tuned) and not torch.equal(tuned, plain)
    assert not record.warnings
    assert torch.equal(sample(models(family)[0], family, size=size, steps=2), plain)
    assert fingerprint(models(family)[0])[-2:] == before[-2:]


@pytest.mark.parametrize("family", ["flux", "qwen_image"])
def test_two_nodes_that_mix(family):
    """Each brings rows of its own; a node of hardly any weight changes hardly anything of the other's picture."""
    size = latent_of(family)
    first, _ = mixing(family, settings={"weight": 0.6})
    alone = sample(first, family, size=size, steps=2)
    both, record = mixing(family, model=first, settings={"weight": 1e-6})
    drawn = sample(both, family, size=size, steps=2)
    assert len(record.mixes) == 2 and not record.warnings
    torch.testing.assert_close(drawn, alone, rtol=1e-3, atol=1e-3 * float(alone.std()))
    both, record = mixing(family, model=first, settings={"weight": 0.6})
    drawn = sample(both, family, size=size, steps=2)
    assert torch.isfinite(drawn).all() and (drawn - alone).abs().max() > 1e-3 * alone.std()
