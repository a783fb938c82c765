"""CLIP's similarities through the host's own classes, with TinyCLIP, the pack's small CLIP."""

import functools
import sys
from dataclasses import replace
from pathlib import Path

import comfy.clip_vision
import numpy as np
import pytest
import torch
from hostkit import encoded, models
from prompt_fidelity.core.search.pixels import clip_pixels
from prompt_fidelity.core.search.similarity import cosines, object_prompt
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models import demo_clip, demo_model
from prompt_fidelity.host.sampling.grad import differentiable
from prompt_fidelity.host.scoring import ClipScorer
from prompt_fidelity.host.text import encode_with_targets
from prompt_fidelity.nodes.score import FidelityScore

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measuring.judge import ClipJudge  # noqa: E402
from tinyshapes import data  # noqa: E402


@functools.cache
def tinyclip():
    with torch.inference_mode():
        return demo_clip.load_demo_clip()


@functools.cache
def demo():
    with torch.inference_mode():
        return demo_model.load_demo_model()


def targets_of(text, words=""):
    with torch.inference_mode():
        return encode_with_targets(demo()[1], text, words)[1]


def scene(seed, count):
    """(picture [128, 128, 3] as the demo model's VAE gives it back, its names) of a scene that TinyCLIP never saw."""
    rng = np.random.default_rng([77, seed])
    names = data.sample_names(rng, count)
    picture = torch.from_numpy(data.render(data.place(rng, names)))
    with torch.inference_mode():
        return demo()[2].decode(demo()[2].encode(picture[None]))[0], names


def swapped(names):
    return [(noun, colour) for (noun, _), (_, colour) in zip(names, [*names[1:], names[0]])]


def test_right_captions_beat_near_misses_on_pictures_it_never_saw():
    scorer = ClipScorer(*tinyclip())
    won = []
    for seed in range(16):
        picture, names = scene(seed, 2 + seed % 2)
        captions = [
            names,
            swapped(names),
            names[1:],
            [*names[:-1], ("ball" if names[-1][0] != "ball" else "cup", names[-1][1])],
        ]
        with torch.inference_mode():
            seen = scorer.vision.encode_image(picture[None])["image_embeds"]
            right, *wrong = cosines(seen, scorer.texts([data.enumerate_caption(caption) for caption in captions]))[
                0
            ].tolist()
        won += [right > other for other in wrong]
    assert sum(won) / len(won) > 0.85


def test_minimum_object_finds_the_object_that_is_missing():
    found = 0
    for seed in range(10):
        picture, names = scene(seed, 2)
        absent = next(
            (noun, colour)
            for noun in data.NOUNS
            for colour in data.COLOURS
            if noun not in dict(names) and colour not in dict(names).values()
        )
        with torch.inference_mode():
            whole = ClipScorer(*tinyclip()).score(picture[None], targets_of(data.enumerate_caption(names)))
            lacking = ClipScorer(*tinyclip()).score(
                picture[None], targets_of(data.enumerate_caption([names[0], absent]))
            )
        found += float(whole.minimum) > float(lacking.minimum) and float(lacking.objects[0].argmin()) == 1
    assert found >= 9


def test_texts_are_projected_which_the_hosts_own_pooled_output_is_not():
    clip, vision = tinyclip()
    scorer = ClipScorer(clip, vision)
    with torch.inference_mode():
        ours = scorer.texts(["a red ball"])[0]
        plain = clip.encode_from_tokens(clip.tokenize("a red ball"), return_pooled=True)[1][0]
        projection = clip.cond_stage_model.clip_l.transformer.text_projection
        torch.testing.assert_close(ours, projection(plain))
        assert float((ours - plain).norm() / plain.norm()) > 0.1
        # The encoder is left as it was found.
        assert torch.equal(clip.encode_from_tokens(clip.tokenize("a red ball"), return_pooled=True)[1][0], plain)


@pytest.mark.parametrize("size", [(128, 128), (64, 64), (96, 150), (40, 33)])
def test_the_differentiable_embedding_is_the_hosts(size):
    clip, vision = tinyclip()
    scorer = ClipScorer(clip, vision)
    image = torch.rand(2, *size, 3, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        host = vision.encode_image(image)["image_embeds"].float()
        pixels = comfy.clip_vision.clip_preprocess(image, size=64)
    with differentiable(vision.model):
        shown = image.clone().requires_grad_()
        ours = scorer.pictures(shown)
        (slope,) = torch.autograd.grad(ours[:, 0].sum(), shown)
    assert (
        float((clip_pixels(image, 64, vision.image_mean, vision.image_std) - pixels).abs().max())
        < 0.5 / 255 / 0.26 + 1e-5
    )
    torch.testing.assert_close(ours.detach(), host.clone(), rtol=0, atol=2e-2 * float(host.std()))
    assert torch.isfinite(slope).all() and float(slope.abs().max()) > 0
    assert not any(module._forward_pre_hooks for module in vision.model.modules())
    assert all(parameter.is_inference() for parameter in vision.model.parameters())


def test_the_gradient_of_the_embedding_is_that_of_differences():
    clip, vision = tinyclip()
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2)) * 0.8 + 0.1
    way = torch.randn(1, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    scorer = ClipScorer(clip, vision)
    with differentiable(vision.model):
        shown = image.clone().requires_grad_()
        (slope,) = torch.autograd.grad(scorer.pictures(shown)[0, 5], shown)
        with torch.no_grad():
            ahead, behind = (float(scorer.pictures(image + sign * 1e-3 * way)[0, 5]) for sign in (1, -1))
    assert (ahead - behind) / 2e-3 == pytest.approx(float((slope * way).sum()), rel=0.02)


def test_the_node_gives_means_and_every_pictures_figures():
    pictures = torch.stack([scene(0, 2)[0], scene(1, 2)[0]])
    targets = targets_of(data.enumerate_caption(scene(0, 2)[1]))
    with torch.inference_mode():
        full, minimum, report = FidelityScore.execute(pictures, targets, *tinyclip()).args
        each = [FidelityScore.execute(picture[None], targets, *tinyclip()).args for picture in pictures]
    assert full == pytest.approx((each[0][0] + each[1][0]) / 2, abs=1e-5) and each[0][0] > each[1][0]
    assert minimum == pytest.approx((each[0][1] + each[1][1]) / 2, abs=1e-5)
    assert "Picture 2: full prompt" in report and "Mean of 2 pictures" in report and targets.objects[0].phrase in report


def test_what_cannot_be_compared_is_said():
    clip, vision = tinyclip()
    with pytest.raises(HostError, match="has no text projection"):
        ClipScorer(demo()[1], vision)
    with pytest.raises(HostError, match="not of one model: texts become 48 numbers, pictures 128"):
        ClipScorer(models("sd1")[1], vision)
    without = demo_clip.assemble_vision(
        {name: value for name, value in demo_clip.VISION_CONFIG.items() if name != "projection_dim"}
    )
    with pytest.raises(HostError, match="does not project pictures"):
        ClipScorer(clip, without)
    with pytest.raises(HostError, match="no objects to look for"):
        ClipScorer(clip, vision).score(torch.zeros(1, 64, 64, 3), targets_of("beautiful and quiet"))
    # SDXL's pooled output is encoder g's.
    with pytest.raises(HostError, match="texts become 64 numbers"):
        ClipScorer(models("sdxl")[1], vision)


def test_a_projection_that_was_never_loaded_is_not_taken_for_one():
    clip = models("sd2")[1]
    weight = clip.cond_stage_model.clip_h.transformer.text_projection.weight
    kept = weight.clone()
    try:
        for filling in (0.0, float("nan"), 1e30, 1e-30):
            with torch.inference_mode():
                weight.fill_(filling)
            with pytest.raises(HostError, match="has no text projection"):
                ClipScorer(clip, tinyclip()[1])
    finally:
        with torch.inference_mode():
            weight.copy_(kept)


def test_a_long_prompt_is_said_to_be_cut():
    targets = targets_of("a red ball and a blue ring")
    long = replace(targets, length=2 * targets.chunk)
    with torch.inference_mode():
        report = ClipScorer(*tinyclip()).score(torch.zeros(1, 64, 64, 3), long).report()
    assert "reads the first 14 tokens" in report


def test_the_benchmarks_judge_is_the_same_scorer():
    picture, names = scene(3, 2)
    targets = targets_of(data.enumerate_caption(names))
    scorer = ClipScorer(*tinyclip())
    with torch.inference_mode():
        figures = ClipJudge(scorer)(picture.numpy(), None, targets)
        found = scorer.score(picture[None], targets)
        nothing = ClipJudge(scorer)(picture.numpy(), None, replace(targets, objects=()))
    assert figures == {"full_prompt": float(found.full[0]), "minimum_object": float(found.minimum[0])}
    assert all(np.isnan(value) for value in nothing.values())
    assert object_prompt("orange cat") == "a photo of an orange cat"


def test_the_demo_clip_is_small_and_says_how_it_was_made():
    assert demo_clip.WEIGHTS.stat().st_size < 3_000_000
    card = demo_clip.WEIGHTS.with_suffix(".json").read_text()
    assert all(word in card for word in ('"seed"', "beats_swapped", "trained_pictures"))
    with pytest.raises(HostError, match="weights are missing"):
        demo_clip.load_demo_clip(Path("nowhere.safetensors"))


def test_any_prompt_of_another_encoder_can_be_scored():
    """The targets may come from the model's own text encoder, which is not the CLIP that scores."""
    with torch.inference_mode():
        found = ClipScorer(*tinyclip()).score(torch.rand(1, 96, 64, 3), encoded("sd1")[1])
    assert found.names == ("black car", "white clock") and torch.isfinite(found.objects).all()
