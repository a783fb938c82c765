"""Encoding with targets: the host's own conditioning, words where they are, text self-attention as computed by hand."""

import pytest
import torch
from comfy.clip_model import CLIPEncoder
from hostkit import FAMILIES, PROMPT, models
from prompt_fidelity.core.prompt import WordNotFound
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.networks.rows import KEY
from prompt_fidelity.host.text import encode_with_targets

import nodes as host_nodes

LONG = ", ".join(["a black car and a white clock in front of an old brick house"] * 6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", [PROMPT, "a (black car:1.4) and a clock", LONG, ""])
def test_conditioning_is_the_hosts_own(family, text):
    clip = models(family)[1]
    with torch.inference_mode():
        ours, targets = encode_with_targets(clip, text)
        theirs = host_nodes.CLIPTextEncode().encode(clip, text)[0]
    assert torch.equal(ours[0][0], theirs[0][0])
    assert set(ours[0][1]) == {*theirs[0][1], KEY}
    assert ours[0][1][KEY] == targets.handle and targets.length == ours[0][0].shape[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_encoded_twice_and_no_hook_stays(family):
    clip, passes = models(family)[1], []
    encoders = [module for module in clip.cond_stage_model.modules() if isinstance(module, CLIPEncoder)]
    handles = [encoder.register_forward_pre_hook(lambda module, args: passes.append(module)) for encoder in encoders]
    with torch.inference_mode():
        encode_with_targets(clip, PROMPT)
    for handle in handles:
        handle.remove()
    assert len(passes) == len(encoders)
    assert not any(module._forward_pre_hooks for module in clip.cond_stage_model.modules())


def by_hand(clip, text: str) -> torch.Tensor:
    """Mean self-attention [77, 77] of a one-chunk prompt over heads, layers and encoders, from the
    layers' own inputs.
    """
    means = []
    for name, tokens in clip.tokenize(text).items():
        encoder = getattr(clip.cond_stage_model, f"clip_{name}")
        inputs, handles = [], []
        for layer in encoder.transformer.text_model.encoder.layers:
            handles.append(
                layer.self_attn.register_forward_pre_hook(
                    lambda module, args, inputs=inputs: inputs.append((module, args[0].clone()))
                )
            )
        encoder.encode_token_weights(tokens)
        for handle in handles:
            handle.remove()
        layers = []
        for module, x in inputs:
            q, k = (
                p(x).unflatten(-1, (module.heads, -1)).transpose(1, 2).double() for p in (module.q_proj, module.k_proj)
            )
            scores = q @ k.mT / q.shape[-1] ** 0.5
            causal = torch.full(scores.shape[-2:], -torch.inf).triu(1)
            layers.append((scores + causal).softmax(-1).mean(1)[0])
        means.append(torch.stack(layers).mean(0))
    return torch.stack(means).mean(0)


@pytest.mark.parametrize("family", FAMILIES)
def test_text_self_attention_is_the_mean_over_heads_layers_and_encoders(family):
    clip = models(family)[1]
    with torch.inference_mode():
        _, targets = encode_with_targets(clip, PROMPT)
        whole = by_hand(clip, PROMPT)
    index = torch.tensor(targets.content)
    torch.testing.assert_close(targets.text_attention.double(), whole[index][:, index], rtol=1e-4, atol=1e-6)


def test_chunks_of_a_long_prompt_do_not_attend_to_each_other():
    with torch.inference_mode():
        _, targets = encode_with_targets(models("sd1")[1], LONG)
    first = sum(position < 77 for position in targets.content)
    attention = targets.text_attention
    assert 0 < first < len(targets.content)
    assert attention[first:, :first].abs().max() == 0 and attention[:first, first:].abs().max() == 0
    assert attention[first:, first:].sum() > 0


def test_the_decoded_tokens_at_the_reported_places_spell_the_word():
    clip = models("sd1")[1]
    with torch.inference_mode():
        _, targets = encode_with_targets(clip, LONG)
    chunks = clip.tokenize(LONG)["l"]
    vocabulary = clip.tokenizer.clip_l.inv_vocab
    for target in targets.objects:
        spelled = "".join(vocabulary[chunks[p // 77][p % 77][0]] for p in target.positions).replace("</w>", " ").strip()
        assert spelled == target.name


def test_how_the_encoder_pads_is_noted():
    """Stable Diffusion 2 pads with a token of its own, and its words must not compete with it (Attend-and-Excite's
    end-token mode).
    """
    with torch.inference_mode():
        assert {family: encode_with_targets(models(family)[1], PROMPT)[1].pads_with_end for family in FAMILIES} == {
            "sd1": True,
            "sd2": False,
            "sdxl": True,
        }


def test_typed_words_replace_the_extraction():
    with torch.inference_mode():
        _, targets = encode_with_targets(models("sd1")[1], "a black car and a white clock on a hill", "clock, hill")
    assert [target.name for target in targets.objects] == ["clock", "hill"]


def test_a_word_that_is_not_in_the_prompt_is_named():
    with pytest.raises(WordNotFound, match="zebra.*car"), torch.inference_mode():
        encode_with_targets(models("sd1")[1], PROMPT, "zebra")


def test_a_missing_text_encoder_is_an_artists_sentence():
    with pytest.raises(HostError, match="No CLIP is connected"):
        encode_with_targets(None, PROMPT)
