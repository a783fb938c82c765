"""The learned predictor on a small checkpoint with the released one's names, against RoBERTa written out here."""

import json
import math

import pytest
import torch
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.layout.learned import head_nouns, load, mixture, predict
from prompt_fidelity.core.prompt.targets import Target, Targets
from torch.nn.functional import gelu, layer_norm, linear

HIDDEN, LAYERS, WIDE, LONGEST = 128, 2, 96, 40
TEXT, HEAD = "encoder.model.encoder.sentence_encoder.", "bbox_head.Decoder."


def targets_of(prompt, *names):
    return Targets(prompt, tuple(Target(name, name, (i,)) for i, name in enumerate(names)), (), (), (), 77, 77)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """RoBERTa's byte-level tokenizer without merges: a token per letter."""
    from transformers import RobertaTokenizerFast

    folder = tmp_path_factory.mktemp("roberta")
    letters = [chr(c) for c in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x180))]
    vocabulary = {piece: i for i, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return RobertaTokenizerFast.from_pretrained(str(folder))


@pytest.fixture(scope="module")
def state(tokenizer):
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(shape, generator=generator) / math.sqrt(shape[-1])

    weights = {
        f"{TEXT}version": torch.tensor([3.0]),
        f"{TEXT}object_embedding": random(1, HIDDEN) * 9,
        f"{TEXT}embed_tokens.weight": random(len(tokenizer), HIDDEN),
        f"{TEXT}embed_positions.weight": random(LONGEST + 2, HIDDEN),
        "encoder.model.encoder.lm_head.bias": random(len(tokenizer)),
        f"{HEAD}box_predictor.wh_bivariate.weight": random(30, HIDDEN + 64),
    }
    linears = {f"{HEAD}output_Layer": (HIDDEN, HIDDEN), f"{HEAD}box_predictor.xy_bivariate": (30, HIDDEN)}
    norms = [f"{TEXT}layernorm_embedding"]
    for n in range(LAYERS):
        layer = f"{TEXT}layers.{n}."
        linears |= {f"{layer}self_attn.{p}_proj": (HIDDEN, HIDDEN) for p in ("q", "k", "v", "out")}
        linears |= {f"{layer}fc1": (WIDE, HIDDEN), f"{layer}fc2": (HIDDEN, WIDE)}
        norms += [f"{layer}self_attn_layer_norm", f"{layer}final_layer_norm"]
    for name, shape in linears.items():
        weights |= {f"{name}.weight": random(*shape), f"{name}.bias": random(shape[0])}
    for name in norms:
        weights |= {f"{name}.weight": 1 + random(HIDDEN), f"{name}.bias": random(HIDDEN)}
    return weights


def plain(state, tokens, is_object):
    """The network from its description: [n, 30] from token ids [n] and bool [n]."""

    def affine(name, x):
        return linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name, x):
        return layer_norm(x, (HIDDEN,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    x = state[f"{TEXT}embed_tokens.weight"][tokens] + state[f"{TEXT}embed_positions.weight"][2 : len(tokens) + 2]
    x = norm(f"{TEXT}layernorm_embedding", x) + is_object[:, None] * state[f"{TEXT}object_embedding"]
    for n in range(LAYERS):
        layer = f"{TEXT}layers.{n}."
        q, k, v = (
            affine(f"{layer}self_attn.{p}_proj", x).view(len(x), -1, 64).transpose(0, 1) for p in ("q", "k", "v")
        )
        mixed = (q @ k.transpose(1, 2) / 8).softmax(-1) @ v  # [heads, n, 64]
        x = norm(
            f"{layer}self_attn_layer_norm", x + affine(f"{layer}self_attn.out_proj", mixed.transpose(0, 1).flatten(1))
        )
        x = norm(f"{layer}final_layer_norm", x + affine(f"{layer}fc2", gelu(affine(f"{layer}fc1", x))))
    return affine(f"{HEAD}box_predictor.xy_bivariate", affine(f"{HEAD}output_Layer", x))


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_numbers_are_those_of_the_description(state, wrapped):
    tokens = torch.tensor([0, 9, 30, 31, 9, 12, 2])
    is_object = torch.tensor([0, 0, 1, 1, 0, 1, 0], dtype=torch.bool)
    model = load({"state_dict": {f"module.{k}": v for k, v in state.items()}} if wrapped else state)
    with torch.no_grad():
        found = model(tokens, is_object)
    expected = plain(state, tokens, is_object).view(-1, 6, 5)
    torch.testing.assert_close(found.weight, expected[:, 0].softmax(-1), rtol=0, atol=2e-5)
    torch.testing.assert_close(found.mean, expected[:, 1:3].transpose(1, 2), rtol=0, atol=2e-5)
    torch.testing.assert_close(found.deviation, expected[:, 3:5].transpose(1, 2).exp(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.correlation, expected[:, 5].tanh().clamp(-0.95, 0.95), rtol=0, atol=2e-5)


def test_an_object_is_placed_by_the_first_token_of_its_head_noun(state, tokenizer):
    prompt = "a tall giraffe and a red car"
    model = load(state)
    centres = predict(model, tokenizer, targets_of(prompt, "giraffe", "car"))
    tokens = torch.tensor(tokenizer(prompt)["input_ids"])
    giraffe, car = prompt.index("giraffe") + 1, prompt.index("car") + 1  # a token per letter, after <s>
    is_object = torch.zeros(len(tokens), dtype=torch.bool)
    is_object[giraffe : giraffe + 7] = is_object[car : car + 3] = True
    raw = plain(state, tokens, is_object).view(-1, 6, 5)[[giraffe, car]]
    best = raw[:, 0].argmax(-1)
    expected = torch.stack([raw[[0, 1], 1, best], raw[[0, 1], 2, best]], dim=-1).clamp(0, 1)
    torch.testing.assert_close(centres, expected, rtol=0, atol=2e-5)


def test_a_seed_draws_components_by_their_weight():
    raw = torch.zeros(2000, 30)
    raw[:, 0:5] = torch.tensor([3.0, 2.0, 0.0, -20.0, -20.0])
    raw[:, 5:10] = torch.arange(5.0)
    found = mixture(raw)
    drawn = found.centres(seed=3)[:, 0].long()
    assert torch.equal(found.centres(seed=3), found.centres(seed=3)) and not torch.equal(
        found.centres(3), found.centres(4)
    )
    shares = drawn.bincount(minlength=5) / 2000
    torch.testing.assert_close(shares, found.weight[0], rtol=0, atol=0.04)
    assert not found.centres(seed=None).any()


def test_head_nouns_are_found_in_the_text():
    text = "A cup of tea, a Tennis  Racket and another cup"
    spans = head_nouns(text, targets_of(text, "cup", "Tennis Racket", "cup"))
    assert [text[slice(*span)] for span in spans] == ["cup", "Racket", "cup"] and spans[0] != spans[2]


@pytest.mark.parametrize(
    "lost, sentence",
    [
        (f"{TEXT}object_embedding", "not the published layout predictor.*object_embedding"),
        (f"{TEXT}layers.1.fc2.weight", "incomplete: 1 of its weights"),
    ],
)
def test_a_wrong_file_is_told_from_an_incomplete_one(state, lost, sentence):
    with pytest.raises(MethodError, match=sentence):
        load({name: tensor for name, tensor in state.items() if name != lost})


def test_a_prompt_beyond_the_predictor_is_refused(state, tokenizer):
    with pytest.raises(MethodError, match='"car" comes after the 40 tokens'):
        predict(load(state), tokenizer, targets_of("x" * 60 + " car", "car"))
