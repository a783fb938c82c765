"""What an artist may rely on, in real sampling runs of the host."""

import functools
import itertools

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_custom_sampler
from covering import every_two
from hostkit import FAMILIES, LATENT_METHODS, ONE_A_STEP, encoded, fingerprint, models, noise, patched, plain, sample
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.host.text import encode_with_targets

every_family = pytest.mark.parametrize("family", FAMILIES)
every_method = pytest.mark.parametrize("method", METHODS)


@every_family
@pytest.mark.parametrize("method", LATENT_METHODS)
def test_moves_the_picture_lowers_the_loss_and_leaves_no_trace(family, method):
    model, own = models(family)[0], plain(family, steps=4)
    before = fingerprint(model)
    # Small steps, since a random network's loss is steep: what counts is that they lead downhill.
    controlled, record = patched(family, method, strength=0.05, settings=ONE_A_STEP)
    drawn = sample(controlled, family, steps=4)
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, own)
    assert float(record.steps[0].total_after) < float(record.steps[0].totals[0])
    assert fingerprint(model) == before
    assert torch.equal(sample(model, family, steps=4), own)


@pytest.mark.parametrize(
    ("method", "sampler", "family"), every_two(METHODS, ["euler", "heun", "dpmpp_2m_sde"], FAMILIES)
)
def test_strength_zero_is_bit_identical_and_still_records(family, method, sampler):
    controlled, record = patched(family, method, strength=0.0)
    assert torch.equal(sample(controlled, family, sampler=sampler), plain(family, sampler=sampler))
    assert record.maps.steps == 6 and record.updates == 0


@every_method
def test_a_seed_reproduces_its_picture(method):
    controlled, _ = patched(method=method)
    once = sample(controlled, steps=4)
    assert torch.equal(sample(controlled, steps=4), once)
    assert torch.equal(sample(patched(method=method)[0], steps=4), once)


# Losses whose gradient is smooth enough on a random network that rounding stays rounding.
SMOOTH = [name for name in LATENT_METHODS if not METHODS[name].takes_layout]


def together_and_singly(model, family: str, cfg: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Three images drawn as a batch, and the same drawn singly."""
    starts, how = noise(3, 4, 16, 24), {"cfg": cfg, "steps": 3}
    batch = sample(model, family, start=starts, **how)
    return batch, torch.cat([sample(model, family, start=starts[i : i + 1], **how) for i in range(3)])


@functools.cache
def together_and_singly_without_a_method(family: str, cfg: float) -> tuple[torch.Tensor, torch.Tensor]:
    return together_and_singly(models(family)[0], family, cfg)


@pytest.mark.parametrize(("method", "family", "cfg"), every_two(SMOOTH, FAMILIES, [1.0, 5.0]))
def test_images_of_a_batch_equal_the_same_images_drawn_singly(family, method, cfg):
    # Large steps on a random network amplify rounding; the images would differ by their whole size if they knew of each
    # other.
    controlled, _ = patched(family, method, strength=0.1)
    drawn = {
        "plain": together_and_singly_without_a_method(family, cfg),
        "ours": together_and_singly(controlled, family, cfg),
    }
    differences = {
        name: float((batch - singles).abs().max() / singles.std()) for name, (batch, singles) in drawn.items()
    }
    assert differences["ours"] <= max(20 * differences["plain"], 1e-3)


# Each method once, and each family: the smooth ones above are all on every family, and what keeps images apart there is
# the same.
@pytest.mark.parametrize(
    ("method", "family"), list(zip(sorted(set(METHODS) - set(SMOOTH)), itertools.cycle(FAMILIES), strict=False))
)
def test_images_of_a_batch_equal_single_ones_when_rounding_cannot_tell_them_apart(family, method):
    """Attention Regulation's descent takes the best of its iterations, BoxDiff the strongest pixels: in float32
    rounding alone can choose another one.
    """
    starts = noise(3, 4, 16, 24)
    with torch.inference_mode():
        model = models(family, torch.float64)[0]
    controlled, record = patched(family, method, model=model, settings={"refine_steps": 1})
    batch = sample(controlled, family, start=starts, steps=3)
    singles = torch.cat([sample(controlled, family, start=starts[i : i + 1], steps=3) for i in range(3)])
    assert (batch - singles).abs().max() <= 1e-4 * singles.std()  # the latents between the steps stay float32
    assert not torch.equal(batch, sample(model, family, start=starts, steps=3))


@every_family
@pytest.mark.parametrize("size", [(1, 4, 27, 32), (1, 4, 16, 40), (2, 4, 13, 9)])
def test_any_aspect_ratio_and_odd_sizes(family, size):
    controlled, record = patched(family, "t_sam", settings=ONE_A_STEP)
    assert torch.isfinite(sample(controlled, family, size=size, steps=3)).all()
    assert record.updates > 0
    _, _, h, w = record.maps.mean.shape
    assert h / w == pytest.approx(size[2] / size[3], rel=0.15)


@every_family
@pytest.mark.parametrize(("resolution", "expected"), [("1/2", (3, 12)), ("1/4", (2, 6))])
def test_maps_of_a_flat_picture_are_of_the_size_asked_for(family, resolution, expected):
    controlled, record = patched(family, settings=ONE_A_STEP | {"resolution": resolution})
    sample(controlled, family, size=(1, 4, 5, 24), steps=3)
    assert record.updates > 0 and record.maps.mean.shape[-2:] == expected


@every_family
def test_cfg_one_runs_without_a_negative(family):
    controlled, record = patched(family, settings=ONE_A_STEP)
    assert not torch.equal(sample(controlled, family, cfg=1.0), plain(family, cfg=1.0))
    assert record.maps.steps == 6


def test_start_and_end_percent_choose_the_steps():
    _, everything = run_recorded(steps=20)
    _, late = run_recorded(steps=20, start=0.2)
    _, early = run_recorded(steps=20, end=0.2)
    assert [e.progress for e in everything.steps] == sorted(e.progress for e in early.steps + late.steps)
    assert max(e.progress for e in early.steps) < 0.2 <= min(e.progress for e in late.steps)
    assert 0.45 < max(e.progress for e in everything.steps) < 0.5


def run_recorded(*, steps=6, denoise=None, **options):
    controlled, record = patched(method="attend_and_excite", settings=ONE_A_STEP, **options)
    more = {} if denoise is None else {"denoise": denoise, "latent": noise(1, 4, 16, 16, seed=9)}
    return sample(controlled, steps=steps, **more), record


def test_image_to_image_is_guided_in_the_part_of_the_window_that_it_samples():
    _, record = run_recorded(steps=10, denoise=0.7)
    assert record.steps and min(e.progress for e in record.steps) >= 0.29
    _, nothing = run_recorded(steps=10, denoise=0.3)
    assert not nothing.steps


@every_family
def test_inpainting_moves_only_what_is_drawn_anew(family):
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:] = 1.0
    latent = noise(1, 4, 16, 16, seed=4)
    controlled, record = patched(family, settings=ONE_A_STEP)
    own = sample(models(family)[0], family, latent=latent, noise_mask=mask)
    drawn = sample(controlled, family, latent=latent, noise_mask=mask)
    torch.testing.assert_close(drawn[..., :8], own[..., :8])
    assert (drawn[..., 8:] - own[..., 8:]).abs().max() > 1e-3 * own.std()
    assert record.updates > 0


def test_a_move_reaches_the_solver_through_a_mask_as_without_one():
    everywhere = torch.ones(1, 1, 16, 16)
    controlled, _ = patched(settings=ONE_A_STEP)
    torch.testing.assert_close(sample(controlled, noise_mask=everywhere), sample(controlled), rtol=1e-4, atol=1e-3)


@every_family
def test_two_prompts_in_the_queue_do_not_know_of_each_other(family):
    other_conditioning, other_targets = encoded(family, "a red ball next to a blue vase")
    first, _ = patched(family, "t_sam")
    second, _ = patched(family, targets=other_targets, settings=ONE_A_STEP)
    alone = sample(first, family, steps=4)
    sample(second, family, positive=other_conditioning, steps=4)
    assert torch.equal(sample(first, family, steps=4), alone)


def test_a_prompt_and_its_negative_of_unequal_length():
    long = ", ".join(["a black car and a white clock in front of an old brick house"] * 6)
    conditioning, targets = encoded("sd1", long)
    assert targets.length == 154
    for method in METHODS:
        controlled, record = patched(method=method, targets=targets)
        assert torch.isfinite(sample(controlled, positive=conditioning, steps=4)).all()
        assert record.acted and record.maps.steps == 4


def test_weighted_words_keep_their_place():
    conditioning, targets = encoded("sd1", "a (black car:1.3) and a (white:0.8) clock")
    assert [target.positions for target in targets.objects] == [
        target.positions for target in encoded("sd1")[1].objects
    ]
    controlled, record = patched(targets=targets)
    sample(controlled, positive=conditioning)
    assert record.updates > 0


class Stop(Exception):
    pass


@pytest.mark.parametrize(("after", "family"), [(1, "sd1"), (4, "sd1"), (9, "sd1"), (1, "sdxl"), (4, "sd2")])
def test_an_exception_in_the_network_leaves_the_model_clean(family, after):
    """The first call is an update's, the fourth another update's or a step's, the ninth a late step's. Where it is
    does not depend on the family, so the others have one each.
    """
    model = models(family)[0]
    before = fingerprint(model)
    controlled, record = patched(family, settings=ONE_A_STEP)
    unbroken = sample(controlled, family)
    calls = 0

    def fail(module, args):
        nonlocal calls
        calls += 1
        if calls == after:
            raise Stop

    handle = model.model.diffusion_model.register_forward_pre_hook(fail)
    with pytest.raises(Stop):
        sample(controlled, family)
    handle.remove()
    assert record.interrupted
    assert fingerprint(model) == before
    assert torch.equal(sample(model, family), plain(family))
    assert torch.equal(sample(controlled, family), unbroken)


def test_interruption_stops_within_one_network_call_and_the_next_run_is_clean():
    model = models("sd1")[0]
    controlled, record = patched(settings={"refine_steps": 4})
    unbroken, calls = sample(controlled), 0

    def interrupt(module, args):
        nonlocal calls
        calls += 1
        if calls == 3:
            comfy.model_management.interrupt_current_processing()

    handle = model.model.diffusion_model.register_forward_pre_hook(interrupt)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(controlled)
    handle.remove()
    assert calls == 3 and record.interrupted
    assert torch.equal(sample(controlled), unbroken)


def advanced(model, guider_of, family="sd1", steps=6):
    """SamplerCustomAdvanced, the host's node, with a guider made by one of the host's nodes."""
    with torch.inference_mode():
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", steps)
        out = nodes_custom_sampler.SamplerCustomAdvanced.execute(
            nodes_custom_sampler.Noise_RandomNoise(3),
            guider_of(model),
            comfy.samplers.sampler_object("euler"),
            sigmas,
            {"samples": torch.zeros(1, 4, 16, 16)},
        )
        return out[0]["samples"]


GUIDERS = {
    "basic": lambda model: nodes_custom_sampler.BasicGuider.execute(model, encoded("sd1")[0])[0],
    "cfg": lambda model: nodes_custom_sampler.CFGGuider.execute(model, encoded("sd1")[0], encoded("sd1", "")[0], 5.0)[
        0
    ],
    "dual cfg": lambda model: nodes_custom_sampler.DualCFGGuider.execute(
        model, encoded("sd1")[0], encoded("sd1", "a photo")[0], encoded("sd1", "")[0], 5.0, 2.0, "regular"
    )[0],
}


@pytest.mark.parametrize("guider", GUIDERS)
def test_sampler_custom_advanced_with_each_guider(guider):
    controlled, record = patched(method="t_sam")
    assert not torch.equal(advanced(controlled, GUIDERS[guider]), advanced(models("sd1")[0], GUIDERS[guider]))
    assert record.updates > 0 and record.maps.steps == 6


def test_only_the_controlled_prompt_is_looked_at():
    """The maps are the positive's, also where the host runs the negative in the same call."""
    maps = []
    for cfg in (1.0, 5.0):  # without the negative, and with it
        controlled, record = patched(strength=0.0)
        sample(controlled, cfg=cfg, steps=1)
        maps.append(record.maps.mean)
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-6)


@every_family
def test_a_longer_negative_repeats_the_prompt_and_the_maps_are_folded_back(family):
    """The host repeats the shorter conditioning's tokens to the longer one's length; each word's share is spread over
    the copies.
    """
    long = encoded(family, ", ".join(["blurry, ugly, low quality, cropped, watermark, deformed"] * 10))[0]
    assert long[0][0].shape[1] == 154
    maps = []
    for negative in (encoded(family, "")[0], long):
        controlled, record = patched(family, strength=0.0)
        sample(controlled, family, negative=negative, steps=1)
        maps.append(record.maps.mean)
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-6)


def test_targets_without_objects_pass_the_picture_through_with_a_warning():
    with torch.inference_mode():
        conditioning, targets = encode_with_targets(models("sd1")[1], "beautiful, very nice")
    assert not targets.objects
    controlled, record = patched(targets=targets)
    own = sample(models("sd1")[0], positive=conditioning)
    assert torch.equal(sample(controlled, positive=conditioning), own)
    assert any("no object" in warning for warning in record.warnings)
