"""Space-Time Attention in real sampling runs of the host."""

from dataclasses import replace
from math import ceil

import comfy.patcher_extension
import comfy.samplers
import pytest
import torch
from hostkit import FAMILIES, encoded, fingerprint, models, noise, patched, plain, sample
from prompt_fidelity.core.layout import Box, Layout, Placement, solve
from prompt_fidelity.core.methods import METHODS, SpaceTime
from prompt_fidelity.core.methods.space_time import SpaceTimeSettings
from prompt_fidelity.core.show.report import report
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models.random_transformers import TRANSFORMERS
from prompt_fidelity.host.networks.unet_layers import cross_attentions
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.sampling.samplers import SAMPLERS

every_family = pytest.mark.parametrize("family", FAMILIES)
every_preset = pytest.mark.parametrize("preset", SpaceTime.PRESETS)
WHOLE = Box(0, 0, 1, 1)


def placed(family="sd1", *boxes):
    targets, width = encoded(family)[1], 192 if family in TRANSFORMERS else 128  # as wide as the pictures drawn here
    if not boxes:
        return solve(targets, width, 128)
    return Layout(tuple(Placement(i, targets.objects[i].phrase, box) for i, box in enumerate(boxes)), width, 128)


def mixing(family="sd1", preset="paper", *, layout=None, model=None, targets=None, settings=None, **options):
    """(model with Space-Time Attention attached, record)."""
    method = SpaceTime(SpaceTimeSettings(**settings) if settings else SpaceTime.PRESETS[preset])
    with torch.inference_mode():
        model, targets = model or models(family)[0], targets or encoded(family)[1]
        return attach(model, method, targets, layout=layout or placed(family), **options)


# The paper's on every family, the others by turns: they differ in the arithmetic that follows the layers' outputs.
@pytest.mark.parametrize(
    ("preset", "family"),
    [
        *(("paper", family) for family in FAMILIES),
        *zip((name for name in SpaceTime.PRESETS if name != "paper"), reversed(FAMILIES), strict=True),
    ],
)
def test_changes_the_picture_and_leaves_no_trace(family, preset):
    model = models(family)[0]
    before = fingerprint(model)
    controlled, record = mixing(family, preset)
    drawn, steps = sample(controlled, family), 6
    mixed = ceil(steps * METHODS["space_time"].PRESETS[preset].end)
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, plain(family))
    assert [entry.index for entry in record.mixes] == list(range(mixed)) and all(
        entry.unconditional for entry in record.mixes
    )
    assert {entry.layers for entry in record.mixes} == {len(cross_attentions(model.model.diffusion_model))}
    assert fingerprint(model) == before and torch.equal(sample(model, family), plain(family))
    assert torch.equal(sample(controlled, family), drawn)
    assert f"Mixed in {mixed} of {steps} steps" in report(record)


@every_family
def test_an_object_that_has_everything_is_drawn_from_its_own_prompt_alone(family):
    """Weight 1 everywhere: the whole prompt is not attended to any more."""
    conditioning, targets = encoded(family)
    with torch.inference_mode():
        # The rest of the conditioning, such as SDXL's pooled output, is not attended to and stays the whole prompt's.
        alone = [[targets.encode(["a photo of a black car"])[0][0], conditioning[0][1]]]
    controlled, _ = mixing(family, layout=placed(family, WHOLE), settings={"weight": 1.0})
    torch.testing.assert_close(
        sample(controlled, family), sample(models(family)[0], family, positive=alone), rtol=1e-3, atol=2e-3
    )


def test_every_layer_gives_what_the_rule_says():
    """Each cross-attention's output, computed here from its own inputs, and only inside the regions."""
    model, layout = models("sd1")[0], placed("sd1", Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 0.5))
    layers = {site: layer for site, _, layer in cross_attentions(model.model.diffusion_model)}
    with torch.inference_mode():
        local = [text for text, _ in encoded("sd1")[1].encode(["a photo of a black car", "a photo of a white clock"])]
    seen, checked = {}, []

    def before(n, context, value, options):
        seen["in"], seen["out"] = n, None
        return n, context, value

    def first(out, options):
        seen["out"] = out
        return out

    def last(out, options):
        if out.shape[0] != 2 or options["cond_or_uncond"] != [1, 0]:
            return out
        h, w = options["activations_shape"][-2:]
        layer = layers[
            next(
                site
                for site in layers
                if (site.block, site.number, site.index) == (*options["block"], options["block_index"])
            )
        ]
        plain, expected = seen["out"], seen["out"].clone()
        x, y = (torch.arange(h * w) % w + 0.5) / w, (torch.arange(h * w) // w + 0.5) / h
        for region, context in zip((x < 0.5, (x >= 0.5) & (y < 0.5)), local):
            own = layer(seen["in"][1:], context=context)
            expected[1, region] = 0.4 * plain[1, region] + 0.6 * own[0, region]
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
        checked.append(options["block"])
        return out

    listening = models("sd1")[0].clone()
    listening.set_model_attn2_patch(before)
    listening.set_model_attn2_output_patch(first)
    with torch.inference_mode():
        controlled, _ = attach(listening, SpaceTime(SpaceTimeSettings(weight=0.6)), encoded("sd1")[1], layout=layout)

    def behind(executor, *args, **kwargs):
        patches = executor.class_obj.model_options["transformer_options"]["patches"]
        patches["attn2_output_patch"] = [*patches["attn2_output_patch"], last]
        return executor(*args, **kwargs)

    controlled.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, "behind", behind)
    sample(controlled, steps=1)
    assert len(checked) == len(layers)


@every_preset
def test_strength_zero_is_bit_identical(preset):
    controlled, record = mixing(preset=preset, strength=0.0)
    assert torch.equal(sample(controlled), plain())
    assert record.maps.steps == 6 and not record.mixes


def test_outside_the_window_nothing_is_mixed():
    controlled, record = mixing(end=0.3)
    sample(controlled, steps=10)
    assert record.mixes and max(entry.progress for entry in record.mixes) < 0.3
    controlled, record = mixing(settings={"end": 0.0})
    assert torch.equal(sample(controlled), sample(models("sd1")[0])) and not record.mixes


@pytest.mark.parametrize("preset, cfg", [("paper", 1.0), ("paper", 5.0), ("repo", 1.0), ("repo", 5.0)])
def test_images_of_a_batch_equal_the_same_images_drawn_singly(preset, cfg):
    starts = noise(3, 4, 16, 24)
    controlled, record = mixing(preset=preset)
    batch = sample(controlled, start=starts, cfg=cfg, steps=4)
    assert all(entry.unconditional == (cfg > 1 or preset == "paper") for entry in record.mixes)
    singles = torch.cat([sample(controlled, start=starts[i : i + 1], cfg=cfg, steps=4) for i in range(3)])
    torch.testing.assert_close(batch, singles, rtol=1e-3, atol=1e-3 * float(singles.std()))


@pytest.mark.parametrize("sampler", comfy.samplers.KSampler.SAMPLERS)
def test_every_sampler(sampler):
    """No sampler is refused: nothing but the network's own answer changes."""
    controlled, record = mixing(settings={"weight": 0.5})
    drawn = sample(controlled, steps=4, sampler=sampler)
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, plain(steps=4, sampler=sampler))
    assert not record.warnings
    if SAMPLERS.get(sampler) and sampler not in ("dpm_adaptive", "dpm_fast"):
        assert len(record.mixes) == 4


@every_family
@pytest.mark.parametrize("size", [(1, 4, 27, 32), (2, 4, 13, 9)])
def test_any_aspect_ratio_and_odd_sizes(family, size):
    controlled, record = mixing(family)
    assert torch.isfinite(sample(controlled, family, size=size)).all() and record.mixes


@pytest.mark.parametrize(
    "text",
    ["a (black:1.4) car and a (white clock:0.7)", "a black car and a white clock, " + "in a very quiet street, " * 20],
)
def test_weighted_and_long_prompts(text):
    conditioning, targets = encoded("sd1", text)
    with torch.inference_mode():
        layout = solve(targets, 128, 128)
    controlled, record = mixing(layout=layout, targets=targets)
    assert not torch.equal(sample(controlled, positive=conditioning), sample(models("sd1")[0], positive=conditioning))
    assert len(record.mixes) == 6


def test_the_local_prompts_are_projected_once_per_layer_and_run():
    model = models("sd1")[0]
    layers = {site: layer for site, _, layer in cross_attentions(model.model.diffusion_model)}
    calls = []
    handles = [
        layer.to_k.register_forward_pre_hook(lambda module, args: calls.append(args[0].shape))
        for layer in layers.values()
    ]
    try:
        controlled, _ = mixing()
        calls.clear()
        sample(controlled, steps=5)
    finally:
        for handle in handles:
            handle.remove()
    # In every step the host projects the prompt's and the negative prompt's rows once per layer.
    assert len(calls) == len(layers) * (5 + 2)


@pytest.mark.parametrize("first", ["mix", "loss"])
def test_goes_together_with_a_latent_loss(first):
    if first == "mix":
        both, mixed = mixing()
        both, moved = patched("sd1", "attend_and_excite", model=both, settings={"refine_steps": 0})
    else:
        both, moved = patched("sd1", "attend_and_excite", settings={"refine_steps": 0})
        both, mixed = mixing(model=both)
    drawn = sample(both)
    assert torch.isfinite(drawn).all() and len(mixed.mixes) == 6 and moved.updates > 0
    # The loss sees the model's own attention: mixing does not change the first step's.
    alone = patched("sd1", "attend_and_excite", settings={"refine_steps": 0})
    sample(alone[0])
    torch.testing.assert_close(moved.steps[0].totals[0], alone[1].steps[0].totals[0])


def test_what_is_missing_is_said():
    targets = encoded("sd1")[1]
    model = models("sd1")[0]
    with pytest.raises(HostError, match="Connect the targets output of Extract Targets"):
        attach(model, SpaceTime(), replace(targets, encode=None))
    other = encoded("sd1", "a dog")[1]
    with pytest.raises(ValueError, match='"dog", which these targets do not hold'):
        attach(model, SpaceTime(), targets, layout=solve(other, 64, 64))
    with torch.inference_mode():
        patched_, record = attach(model, SpaceTime(), targets, layout=Layout((), 64, 64))
    assert "a place for none of the objects" in record.warnings[0]
    assert torch.equal(sample(patched_), sample(model))


def test_without_a_layout_the_solver_places_every_object():
    with torch.inference_mode():
        controlled, record = attach(models("sd1")[0], SpaceTime(), encoded("sd1")[1])
    expected, _ = mixing(layout=solve(encoded("sd1")[1], 192, 128))
    assert torch.equal(sample(controlled, size=(1, 4, 16, 24)), sample(expected, size=(1, 4, 16, 24)))
    assert "Connect Predict Layout" in record.warnings[0]


def test_other_methods_take_a_layout_and_leave_it():
    controlled, _ = patched(method="t_sam", layout=placed())
    assert torch.equal(sample(controlled), sample(patched(method="t_sam")[0]))
