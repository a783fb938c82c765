"""Where a prompt's words lie in the conditioning of every family's text encoder, small ones through the host's classes.

What is checked against is the host alone: attention is switched off in these encoders, so that each row of the
conditioning is made from its own token, and a word is exchanged for another of as many tokens. The rows that change
are the word's.
"""

import os
from pathlib import Path

import pytest
import torch
from prompt_fidelity.core.prompt import find_words
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models.random_models import random_weights
from prompt_fidelity.host.networks.rows import KEY
from prompt_fidelity.host.text import encode_with_targets
from prompt_fidelity.tools.hosts import host_version
from small_encoders import FAMILIES, HERE, NEWER, SENTENCES, small_clip, without_attention
from spelling import spelled_objects

import nodes as host_nodes

PROMPT = "a red car and a blue dog"
# The language models spell brackets and numbers; so do Kandinsky's and all others with a chat template but OmniGen2.
KNOW_WEIGHTS = {"sd3", "aura", "flux", "chroma, pixart", "hunyuan_dit", "wan", "lumina2", "omnigen2", "hidream",
                "cosmos", "anima"}  # fmt: skip


@pytest.fixture(scope="module", params=HERE)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def clip(family):
    yield without_attention(small_clip(family))
    small_clip.cache_clear()  # the tests go through the families one after the other


def axis_of(conditioning, targets) -> torch.Tensor:
    """The rows [length, ...] that the network attends to, put together from the conditioning as Targets say."""
    features, extras = conditioning[0]
    if "t5xxl_ids" in extras:  # Anima's network makes a row of each of T5's tokens, and fills up with empty ones
        rows = torch.zeros(targets.length, 1)
        rows[: len(extras["t5xxl_ids"]), 0] = extras["t5xxl_ids"].float() + 1
        return rows
    parts = {"cross_attn": features, **extras}
    rows = []
    for name in dict.fromkeys(stretch.tensor for stretch in targets.stretches):
        rows.append(parts[name].movedim(-2, 0).flatten(1))
        assert len(rows[-1]) == targets.columns_of(name)
    width = max(part.shape[1] for part in rows)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in rows])


def changed_rows(clip, one: str, other: str) -> tuple:
    """(targets of `one`, rows in which its conditioning differs from that of `other`)."""
    with torch.inference_mode():
        (first, targets), (second, _) = (encode_with_targets(clip, text) for text in (one, other))
    a, b = axis_of(first, targets), axis_of(second, targets)
    assert a.shape == b.shape, "the two words have not as many tokens"
    return targets, tuple(((a - b).abs().amax(dim=1) > 0).nonzero().flatten().tolist())


def spelled(targets, positions) -> str:
    return "".join(piece for column, piece in zip(targets.content, targets.pieces, strict=True) if column in positions)


def test_the_host_has_all_families_but_those_that_came_later():
    """No family drops out of these tests unnoticed."""
    missing = FAMILIES.keys() - set(HERE)
    version = host_version(Path(os.environ["COMFYUI_PATH"]))
    assert missing == (NEWER if version in ("0.18.2", "0.16.3") else set())


def test_a_targets_positions_are_the_rows_that_its_word_makes(clip):
    targets, rows = changed_rows(clip, PROMPT, "a red car and a blue cat")
    car, dog = targets.objects
    assert dog.positions == rows and car.positions
    assert spelled(targets, dog.positions).endswith("dog")
    assert not set(dog.positions) & {*car.all_positions, *(p for a in dog.attributes for p in a.positions)}
    targets, rows = changed_rows(clip, PROMPT, "a red dog and a blue dog")
    assert targets.objects[0].positions == rows


def test_the_axis_is_as_long_as_the_conditioning(clip):
    with torch.inference_mode():
        conditioning, targets = encode_with_targets(clip, PROMPT)
    assert len(axis_of(conditioning, targets)) == targets.length
    assert conditioning[0][1][KEY] == targets.handle
    assert sum(stretch.length for stretch in targets.stretches) == targets.length
    assert all(0 <= p < targets.length for p in targets.content)


def test_a_weighted_word_is_found_by_its_letters(family, clip):
    """Whether the tokenizer takes the brackets away or spells them."""
    targets, rows = changed_rows(clip, "a red car and a (blue dog:1.4)", "a red car and a (blue cat:1.4)")
    assert targets.objects[1].positions == rows
    brackets = {piece for piece in targets.pieces if "(" in piece or "1" in piece}
    assert bool(brackets) == (family not in KNOW_WEIGHTS)


def test_the_conditioning_is_the_hosts_own(clip):
    with torch.inference_mode():
        ours, _ = encode_with_targets(clip, PROMPT)
        theirs = host_nodes.CLIPTextEncode().encode(clip, PROMPT)[0]
    assert torch.equal(ours[0][0], theirs[0][0])
    assert ours[0][1].keys() - {KEY} == theirs[0][1].keys()


def test_nothing_stays_on_the_encoder(clip):
    with torch.inference_mode():
        encode_with_targets(clip, PROMPT)
    modules = list(clip.cond_stage_model.modules())
    assert not any(m._forward_pre_hooks or m._forward_hooks or "forward" in m.__dict__ for m in modules)


def test_an_empty_prompt_names_nothing(clip):
    with torch.inference_mode():
        _, targets = encode_with_targets(clip, "")
    assert targets.objects == () and targets.content == ()


def test_every_object_of_real_sentences_is_spelled_by_its_tokens(clip):
    """A sample of what benchmarks/extraction.py --tokenizers measures on all 250."""
    for spelled, objects in spelled_objects(clip, SENTENCES[1::25]).values():
        assert objects > 20 and spelled / objects >= 0.99


@pytest.mark.parametrize("family", ["qwen_image", "klein"], indirect=True)
def test_a_prompt_that_brings_its_own_template(clip):
    """The host leaves such a prompt as it is in Qwen-Image, and puts its template around it in Klein."""
    own = "<|im_start|>system\nPaint it.<|im_end|>\n<|im_start|>user\na red car and a blue {}<|im_end|>\n"
    targets, rows = changed_rows(clip, own.format("dog"), own.format("cat"))
    assert next(target for target in targets.objects if target.name == "dog").positions == rows


def test_stable_diffusion_3_has_the_prompt_twice():
    """77 tokens of CLIP, then those of T5: more of them where the prompt is long, and then chunks of CLIP too."""
    clip = without_attention(small_clip("sd3"))
    long = ", ".join(["a black car and a white clock in front of an old brick house"] * 7)
    with torch.inference_mode():
        _, short = encode_with_targets(clip, PROMPT)
        _, targets = encode_with_targets(clip, long)
    assert [len(block) for block in short.by_stretch(short.objects[1].positions)] == [1, 1]
    assert [stretch.length for stretch in targets.stretches][:2] == [77, 77]
    assert len(targets.stretches) == 3 and targets.stretches[2].length > 77
    car = targets.objects[0]
    assert [len(block) for block in targets.by_stretch(car.positions)] == [1, 0, 1]
    assert [stretch.encoder for stretch in targets.stretches] == ["l", "l", "t5xxl"]
    assert [len(block) for block in targets.by_encoder(targets.content)][1] < targets.stretches[2].length


def test_stable_diffusion_3_without_t5_has_it_once():
    import comfy.supported_models_base
    from comfy.text_encoders import sd3_clip
    from small_encoders import CLIP

    target = comfy.supported_models_base.ClipTarget(sd3_clip.SD3Tokenizer, sd3_clip.sd3_clip(t5=False))
    sizes = {"clip_l_model_config": dict(CLIP), "clip_g_model_config": dict(CLIP)}
    with torch.inference_mode():
        clip = comfy.sd.CLIP(target, model_options={**sizes, "dtype": torch.float32}, disable_dynamic=True)
        weights = random_weights(clip.cond_stage_model, 0, prefers=False)
        clip.cond_stage_model.load_state_dict(weights, strict=False)
    targets, rows = changed_rows(without_attention(clip), PROMPT, "a red car and a blue cat")
    assert targets.objects[1].positions == rows == (7,) and targets.length == 77 and targets.pads_with_end


@pytest.mark.parametrize("width, moved", [(32, 2), (16, 0)])
def test_an_embedding_moves_what_follows_by_the_vectors_that_the_encoder_takes(tmp_path, width, moved):
    """T5 leaves out an embedding that was made for another encoder, and fills up at the end."""
    import comfy.text_encoders.flux

    torch.save({"string_to_param": {"*": torch.randn(2, width)}}, tmp_path / "two.pt")
    clip = without_attention(small_clip("flux")).clone()
    clip.tokenizer = comfy.text_encoders.flux.FluxTokenizer(embedding_directory=str(tmp_path))
    plain, _ = changed_rows(clip, PROMPT, "a red car and a blue cat")
    targets, rows = changed_rows(clip, f"embedding:two {PROMPT}", "embedding:two a red car and a blue cat")
    assert targets.objects[-1].positions == rows == tuple(p + moved for p in plain.objects[-1].positions)


def test_an_encoder_that_cannot_be_followed_is_named():
    class Scrambler:
        def __init__(self, tokenizer):
            self.tokenizer = tokenizer

        def tokenize_with_weights(self, *args, **kwargs):
            return self.tokenizer.tokenize_with_weights(*args, **kwargs)

    clip = small_clip("flux").clone()
    clip.tokenizer = Scrambler(clip.tokenizer)
    with pytest.raises(HostError, match="Scrambler.*CLIP Text Encode"), torch.inference_mode():
        encode_with_targets(clip, PROMPT)


def test_typed_words_are_found_in_a_language_model(family, clip):
    with torch.inference_mode():
        _, targets = encode_with_targets(clip, PROMPT, "blue dog")
    assert [target.name for target in targets.objects] == [o.name for o in find_words(PROMPT, "blue dog").objects]
