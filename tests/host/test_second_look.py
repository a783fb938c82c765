"""After the last step the model is asked what it sees, and nothing else is any different."""

import comfy.model_management
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import node_helpers
import pytest
import torch
from hostkit import encoded, fingerprint, latent_of, models, noise, patched, plain, sample
from prompt_fidelity.core.check.contrasts import contrasts
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models.random_transformers import available
from prompt_fidelity.host.sampling.coordinates import Coordinates
from prompt_fidelity.host.sampling.run import TOO_LITTLE_MEMORY
from prompt_fidelity.host.sampling.second_look import _levels, share_of

WRAPPERS = comfy.patcher_extension.WrappersMP
ALL = ("sd1", "sd2", "sdxl", *available())
STEPS = 4
PROMPTS = 5  # the prompt, and two contrasts of each of its objects
ENOUGH = 2 * PROMPTS / (2 * STEPS)  # the share of the run's time for two looks


def drawn(family="sd1", share=ENOUGH, strength=0.0, steps=STEPS, **how):
    model, record = patched(family, strength=strength, look_again=share)
    return sample(model, family, steps=steps, size=latent_of(family), **how), record


@pytest.mark.parametrize("family", ALL)
def test_every_family_says_what_it_sees_and_draws_what_it_would_have(family):
    picture, record = drawn(family)
    assert torch.equal(picture, plain(family, steps=STEPS, size=latent_of(family)))
    evidence = record.evidence
    assert evidence.looks == 2 and evidence.passes == 2 * PROMPTS
    assert evidence.gains.shape == (1, 2) and torch.isfinite(evidence.gains).all()
    assert evidence.gains.abs().max() > 0, "the prompts make no difference"
    assert drawn(family)[1].evidence.gains.equal(evidence.gains)


def seen_in(picture, share=50.0):
    """What the plain model says of a latent: it comes from the host with hardly any noise, so one step leaves it as it
    is.
    """
    looking, record = patched(strength=0.0, look_again=share)
    with torch.inference_mode():
        comfy.sample.sample_custom(
            looking, torch.zeros_like(picture), 1.0, comfy.samplers.sampler_object("euler"), torch.tensor([1e-3, 0.0]),
            encoded("sd1")[0], encoded("sd1", "")[0], picture, disable_pbar=True, seed=0,
        )  # fmt: skip
    return record.evidence


def test_a_picture_of_the_object_is_told_from_one_without():
    """The small models are random, so what they predict for a prompt is the picture that fits it."""
    _, targets = encoded("sd1")
    with_it, without = (
        sample(models("sd1")[0], positive=encoded("sd1", text)[0], steps=8, cfg=1.0)
        for text in (targets.prompt, contrasts(targets)[0].text)
    )
    assert seen_in(with_it).gains[0, 0] > seen_in(without).gains[0, 0]


@pytest.mark.parametrize("method", ["attention_regulation", "taca", "space_time", "attend_and_excite"])
def test_the_method_is_not_at_work_while_the_model_looks(method):
    """What is seen in a picture doesn't hang on how it was drawn, though the method acted to the last step."""
    settings = {"end": 1.0, "acts_on": PREDICTION}
    model, record = patched(method=method, look_again=ENOUGH, settings=settings)
    picture = sample(model, steps=STEPS)
    assert not torch.equal(picture, plain(steps=STEPS))
    alone = seen_in(picture, share=2 * PROMPTS)
    assert alone.looks == record.evidence.looks == 2
    torch.testing.assert_close(record.evidence.gains, alone.gains, rtol=0.02, atol=1e-4)
    assert record.maps.steps == STEPS


def test_every_picture_of_a_batch_is_looked_at():
    start = noise(3, 4, 16, 16, seed=3)
    _, record = drawn(start=start)
    assert record.evidence.gains.shape == (3, 2)
    alone = drawn(start=start[1:2])[1].evidence.gains
    assert record.evidence.gains[1].ne(record.evidence.gains[0]).any()
    assert torch.isfinite(alone).all()


@pytest.mark.parametrize(
    ("share", "cfg", "looks"),
    [(0.0, 5.0, None), (0.5, 5.0, None), (ENOUGH, 5.0, 2), (ENOUGH, 1.0, 1), (4.0, 5.0, 6), (0.25, 1.0, None)],
)
def test_it_takes_no_more_than_its_share(share, cfg, looks):
    """Without guidance a step is one pass, so there is time for half as many."""
    evidence = drawn(share=share, cfg=cfg)[1].evidence
    assert evidence is None if looks is None else evidence.looks == looks
    if evidence is not None:
        assert evidence.passes <= share * STEPS * (1 if cfg == 1.0 else 2)


@pytest.mark.parametrize(
    ("choice", "family", "looks"),
    [
        ("auto", "sd1", None), ("auto", "flux", 1), ("off", "flux", None), ("on", "sd1", 1), ("thorough", "sd1", 4),
    ],
)  # fmt: skip
def test_it_is_asked_where_the_maps_tell_little(choice, family, looks):
    evidence = drawn(family, choice, cfg=7.0, steps=5)[1].evidence
    assert evidence is None if looks is None else evidence.looks == looks


@pytest.mark.parametrize(
    ("model", "encoder", "share"), [("cuda", "cpu", 0.0), ("cuda", "cuda", 0.5), ("cpu", "cpu", 0.5)]
)
def test_a_text_encoder_left_on_the_processor_is_not_asked_for_more_unless_the_artist_says_so(
    monkeypatch, model, encoder, share
):
    monkeypatch.setattr(comfy.model_management, "text_encoder_device", lambda: torch.device(encoder))
    patcher = models("flux")[0].clone()
    patcher.load_device = torch.device(model)
    assert share_of("auto", True, patcher) == share
    assert share_of("on", True, patcher) == 0.5


def test_a_choice_that_is_none_is_refused_before_anything_is_drawn():
    with pytest.raises(HostError, match="auto, off, on, thorough"):
        patched(look_again="often")


def test_the_passes_are_those_that_are_counted(monkeypatch):
    calls = []
    model, record = patched(strength=0.0, look_again=ENOUGH)
    real = comfy.samplers.calc_cond_batch

    def counted(inner, conds, *args, **kwargs):
        calls.append(len(conds))
        return real(inner, conds, *args, **kwargs)

    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", counted)
    sample(model, steps=STEPS)
    assert calls.count(1) == record.evidence.passes and calls.count(2) == STEPS


def test_the_piece_that_ends_with_the_picture_is_looked_at():
    model, record = patched(strength=0.0, look_again=ENOUGH)
    half = sample(model, steps=STEPS, last_step=2, force_full_denoise=False)
    assert record.evidence is None
    sample(model, steps=STEPS, start=torch.zeros_like(half), latent=half, start_step=2, disable_noise=True)
    assert record.pieces == 2 and record.evidence.looks == 2


def test_regions_are_judged_by_their_maps():
    """A prompt for a part of the picture says nothing of the whole."""
    conditioning = node_helpers.conditioning_set_values(
        encoded("sd1")[0], {"area": (8, 16, 0, 0), "strength": 1.0, "set_area_to_bounds": False}
    )
    assert drawn(positive=conditioning)[1].evidence is None


def test_what_else_the_conditioning_says_counts_too():
    """Flux's guidance, a part of the run, and weights leave the text to be changed alone."""
    conditioning, _ = encoded("flux")
    plainly = drawn("flux")[1].evidence.gains
    guided = node_helpers.conditioning_set_values(conditioning, {"guidance": 9.0})
    assert not drawn("flux", positive=guided)[1].evidence.gains.equal(plainly)
    early = node_helpers.conditioning_set_values(conditioning, {"start_percent": 0.0, "end_percent": 0.9})
    assert torch.isfinite(drawn("flux", positive=early)[1].evidence.gains).all()


@pytest.mark.parametrize("kind", [WRAPPERS.APPLY_MODEL, WRAPPERS.CALC_COND_BATCH, WRAPPERS.DIFFUSION_MODEL])
def test_a_cache_neither_answers_in_the_networks_place_nor_learns(kind):
    calls = []

    def cache(executor, *args, **kwargs):
        calls.append(kind)
        return executor(*args, **kwargs)

    model = models("sd1")[0].clone()
    model.add_wrapper_with_key(kind, "step_cache", cache)
    looking, record = patched(model=model, strength=0.0, look_again=ENOUGH)
    sample(looking, steps=STEPS)
    assert record.evidence.looks == 2 and len(calls) == STEPS


def test_without_a_text_encoder_the_maps_have_to_do():
    from dataclasses import replace

    targets = replace(encoded("sd1")[1], encode=None)
    model, record = patched(targets=targets, strength=0.0, look_again=ENOUGH)
    sample(model, steps=STEPS)
    assert record.evidence is None and record.finished


def test_the_artist_may_stop_it(monkeypatch):
    model, record = patched(strength=0.0, look_again=ENOUGH)
    before, calls = fingerprint(models("sd1")[0]), []
    real = comfy.samplers.calc_cond_batch

    def stopped(inner, conds, *args, **kwargs):
        if len(conds) == 1:
            calls.append(1)
            if len(calls) == 3:
                comfy.model_management.interrupt_current_processing()
        return real(inner, conds, *args, **kwargs)

    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", stopped)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(model, steps=STEPS)
    assert len(calls) == 3 and record.evidence is None and record.interrupted
    assert fingerprint(models("sd1")[0]) == before
    monkeypatch.undo()
    assert torch.equal(sample(model, steps=STEPS), plain(steps=STEPS)) and record.evidence.looks == 2


def test_a_lack_of_memory_does_not_cost_the_picture(monkeypatch):
    model, record = patched(strength=0.0, look_again=ENOUGH)
    real = comfy.samplers.calc_cond_batch

    def short(inner, conds, *args, **kwargs):
        if len(conds) == 1:
            raise torch.OutOfMemoryError("no room")
        return real(inner, conds, *args, **kwargs)

    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", short)
    assert torch.equal(sample(model, steps=STEPS), plain(steps=STEPS))
    assert record.evidence is None and record.warnings == [TOO_LITTLE_MEMORY]


@pytest.mark.parametrize("family", ["sd1", "sd2", "flux", "sd3"])
def test_noise_is_reckoned_against_the_picture(family):
    """σ is the ratio for most models; a flow mixes noise and picture, so σ/(1 − σ) is."""
    sampling = models(family)[0].get_model_object("model_sampling")
    ratios = [3.0, 7.0, 12.0]
    expected = [ratio / (1 + ratio) if family in ("flux", "sd3") else ratio for ratio in ratios]
    assert _levels(Coordinates(sampling), sampling, ratios) == pytest.approx(expected, rel=0.01)
