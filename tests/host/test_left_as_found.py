"""Encoders are left as they were found, also by what fails; and what is read from them is the prompt's alone."""

import comfy.sample
import pytest
import torch
from comfy.clip_model import CLIPMLP, CLIPAttention
from hostkit import FAMILIES, encoded, models
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.host.layout.early_attention import early_maps
from prompt_fidelity.host.models.demo_clip import load_demo_clip
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.scoring import ClipScorer
from prompt_fidelity.host.text import encode_with_targets

PROMPT = "a black car and a white clock"


def hooks(module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", [0, -1])
def test_an_error_while_encoding_leaves_no_hook(family, layer):
    clip = models(family)[1]
    layers = [module for module in clip.cond_stage_model.modules() if isinstance(module, CLIPMLP)]
    listening = []

    def fail(module, args):
        listening.append(hooks(clip.cond_stage_model))
        raise ZeroDivisionError

    before = hooks(clip.cond_stage_model)
    handle = layers[layer].register_forward_pre_hook(fail)
    try:
        with torch.inference_mode(), pytest.raises(ZeroDivisionError):
            encode_with_targets(clip, PROMPT)
    finally:
        handle.remove()
    attentions = sum(isinstance(module, CLIPAttention) for module in clip.cond_stage_model.modules())
    encoders = len(clip.tokenize(PROMPT))  # one more hook on each, for what it gives out
    assert listening == [before + 1 + attentions + encoders], "there were hooks to leave"
    assert hooks(clip.cond_stage_model) == before


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", [PROMPT, ", ".join([PROMPT] * 9)])
def test_the_empty_row_of_a_weighted_prompt_is_not_the_prompts(family, text):
    """The host encodes a weighted prompt with an empty one beside it; weights act after the encoder."""
    clip = models(family)[1]
    with torch.inference_mode():
        plain = encode_with_targets(clip, text)[1]
        weighted = encode_with_targets(clip, text.replace("car", "(car:1.0001)", 1))[1]
    assert plain.content == weighted.content
    torch.testing.assert_close(weighted.text_attention, plain.text_attention, rtol=1e-5, atol=1e-7)
    rows = weighted.text_attention
    assert len(rows) == len(weighted.content) and float(rows.sum(dim=-1).max()) <= 1.0


class Fault(Exception):
    pass


def pooled(encoder, tokens) -> torch.Tensor:
    """What the encoder gives when it is asked as it stands."""
    return encoder.encode_token_weights(tokens)[1][0].float()


@pytest.mark.parametrize("fails", [False, True])
def test_scoring_leaves_the_encoders_options_as_the_host_expects_them(fails, monkeypatch):
    with torch.inference_mode():
        clip, vision = load_demo_clip()
        scorer = ClipScorer(clip, vision)
        encoder, tokens = scorer.encoder, clip.tokenize("a red ball")[scorer.key]
        encoder.reset_clip_options()
        before = pooled(encoder, tokens)
        if fails:
            with monkeypatch.context() as patch:
                patch.setattr(encoder, "encode_token_weights", lambda tokens: (_ for _ in ()).throw(Fault))
                with pytest.raises(Fault):
                    scorer.texts(["a red ball"])
        else:
            assert not torch.equal(scorer.texts(["a red ball"])[0], before)
        assert torch.equal(pooled(encoder, tokens), before)


def test_scoring_is_not_misled_by_options_that_another_node_left():
    """CLIP Set Last Layer leaves its layer on the shared encoder until the next one is set."""
    with torch.inference_mode():
        clip, vision = load_demo_clip()
        fresh = ClipScorer(clip, vision).texts(["a red ball"])
        scorer = ClipScorer(clip, vision)
        scorer.encoder.set_clip_options({"layer": -3, "projected_pooled": False})
        scorer.encoder.layer_norm_hidden_state = True
        assert torch.equal(scorer.texts(["a red ball"]), fresh)
        scorer.encoder.reset_clip_options()


@pytest.mark.parametrize("prompt", ["a black shiny car, a white clock and a small red old dog", "a car and a red dog"])
def test_early_attention_gives_every_object_its_own_map(prompt):
    """Objects with no, one and several attributes, whose maps stand between theirs in a record."""
    model, steps = models("sd1")[0], 2
    with torch.inference_mode():
        conditioning, targets = encoded("sd1", prompt)
        assert sum(len(target.attributes) for target in targets.objects) > 0
        found = early_maps(model, conditioning, targets, 128, 96, steps, seed=5)
        listening, record = attach(model, METHODS["t_sam"](), targets, strength=0.0)
        latent = torch.zeros(1, 4, 12, 16)
        comfy.sample.sample(
            listening, comfy.sample.prepare_noise(latent, 5), 20, 1.0, "euler", "normal", conditioning, conditioning,
            latent, start_step=0, last_step=steps, disable_pbar=True, seed=5,
        )  # fmt: skip
    names, maps = record.maps.shown(targets)
    assert names == tuple(target.name for target in targets.objects)
    assert torch.equal(found, maps[0])
    assert len({float(one.sum()) for one in found}) == len(targets.objects), "the maps can be told apart"
