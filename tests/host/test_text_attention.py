"""The attention between a prompt's tokens, as it is heard in each kind of text encoder."""

import pytest
import torch
from prompt_fidelity.host.encoders.between import lent
from prompt_fidelity.host.encoders.encoder import encoders_of
from prompt_fidelity.host.encoders.listening import Heard, listener, listening
from prompt_fidelity.host.text import encode_with_targets
from small_encoders import HERE, small_clip

PROMPT = "a red car and a blue dog"
# family: (key of its tokens, the layers' value and output projections, whether tokens see what comes after them)
KINDS = {
    "flux": ("t5xxl", "v", "o", True),
    "wan": ("umt5xxl", "v", "o", True),
    "z_image": ("qwen3_4b", "v_proj", "o_proj", False),
    "qwen_image": ("qwen25_7b", "v_proj", "o_proj", False),
    "lumina2": ("gemma2_2b", "v_proj", "o_proj", False),
    "flux2": ("mistral3_24b", "v_proj", "o_proj", False),
    "hidream": ("llama", "v_proj", "o_proj", False),
    "lens": ("gpt_oss", "v_proj", "o_proj", False),
}
KINDS = {name: kind for name, kind in KINDS.items() if name in HERE}


def encoder_of(name):
    clip = small_clip(name, seed=1)
    encoders = encoders_of(clip, clip.tokenize(PROMPT))
    return clip, next(encoder for encoder in encoders if encoder.key == KINDS[name][0])


@pytest.mark.parametrize("name", KINDS)
def test_what_is_heard_makes_each_layers_output(name):
    """The heads of these small encoders share their values, so a layer gives out, in the mean of its heads, the mean
    attention times the values.
    """
    _, value, output, both_ways = KINDS[name]
    clip, encoder = encoder_of(name)
    values, outputs, layers, handles = [], [], [], []
    for path, module in encoder.module.named_modules():
        last = path.rsplit(".", 1)[-1]
        hook = listener(module, one := Heard())
        if hook is not None:
            layers.append(one)
            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        elif last == value:
            handles.append(module.register_forward_hook(lambda m, args, out: values.append(out)))
        elif last == output:
            handles.append(module.register_forward_pre_hook(lambda m, args: outputs.append(args[0])))
    with torch.inference_mode(), listening([encoder]) as heard:
        clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT))
    for handle in handles:
        handle.remove()
    assert len(layers) == len(values) == len(outputs) == encoder.module.transformer.num_layers
    for layer, own_values, given in zip(layers, values, outputs, strict=True):
        heads = given.unflatten(-1, (-1, own_values.shape[-1]))  # [rows, tokens, heads, d]
        torch.testing.assert_close(layer.attention @ own_values, heads.mean(dim=2), rtol=1e-4, atol=1e-5)
    whole = heard[encoder.key].attention
    torch.testing.assert_close(whole, torch.stack([layer.attention for layer in layers]).mean(dim=0))
    assert bool(whole[0].triu(1).abs().max() > 1e-3) == both_ways


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("text", [PROMPT, "a (red car:1.3) and a blue dog"])
def test_targets_have_the_part_between_their_own_tokens(name, text):
    """The template's tokens and the padding are left out, however far away the words are from the first row."""
    clip, encoder = encoder_of(name)
    with torch.inference_mode(), listening([encoder]) as heard:
        _, targets = encode_with_targets(clip, text)
    attention = targets.text_attention
    assert attention.shape == (len(targets.content),) * 2
    ids = [token[0] for token in clip.tokenize(text)[encoder.key][0]]
    vocabulary = {number: piece for piece, number in encoder.tokenizer.tokenizer.get_vocab().items()}
    first = [i for i, token in enumerate(ids) if vocabulary.get(token, "").strip("Ġ▁") == "car"][-1]
    dog = [i for i, token in enumerate(ids) if vocabulary.get(token, "").strip("Ġ▁") == "dog"][-1]
    at = [max(target.positions) for target in targets.objects]  # the last stretch is the language model's
    row, column = (targets.content.index(p) for p in reversed(at))
    torch.testing.assert_close(attention[row, column], heard[encoder.key].attention[0][dog, first])


def test_two_encoders_of_one_prompt_have_no_attention_for_each_other():
    with torch.inference_mode():
        _, targets = encode_with_targets(small_clip("sd3"), PROMPT)
    first = sum(p < 77 for p in targets.content)
    attention = targets.text_attention
    assert attention[:first, first:].abs().max() == attention[first:, :first].abs().max() == 0
    assert attention[:first, :first].sum() > 0 and attention[first:, first:].sum() > 0


def test_anima_lends_its_qwens_attention_to_the_tokens_of_t5():
    with torch.inference_mode():
        _, targets = encode_with_targets(small_clip("anima"), PROMPT)
    attention = targets.text_attention
    assert attention.shape == (len(targets.content),) * 2
    assert attention.triu(1).abs().max() < 1e-6 and attention.sum() > 0  # Qwen's is causal


def test_a_token_of_two_lenders_looks_as_their_mean_and_is_seen_as_their_sum():
    attention = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.8, 0.0], [0.1, 0.3, 0.6]])
    laid = lent(attention, [(0, 2), (2, 4), (5, 8)], [(0, 4), (5, 8)])
    torch.testing.assert_close(laid, torch.tensor([[1.0, 0.0], [0.4, 0.6]]))
    halves = lent(torch.tensor([[1.0]]), [(0, 4)], [(0, 2), (2, 4), None])
    torch.testing.assert_close(halves, torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]))
