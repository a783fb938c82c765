"""Words in the networks' attention, end to end: a family's own small encoder before its own small network.

A prompt in which one word is another gives other features in that word's rows alone, as the encoders' attention adds
nothing here; so the word's columns are those of the network's keys that change. That is seen where the host attends.
"""

from dataclasses import dataclass, field

import pytest
import torch
from hostkit import latent_of, noise, nothing_pooled, sample
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.methods import METHODS, SpaceTime
from prompt_fidelity.core.methods.space_time import SpaceTimeSettings
from prompt_fidelity.host.models import random_transformers
from prompt_fidelity.host.models.assemble import assemble_model
from prompt_fidelity.host.models.random_models import random_weights
from prompt_fidelity.host.models.random_transformers import TRANSFORMERS, available, config_class, small_parts
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.text import encode_with_targets
from small_encoders import small_clip, without_attention
from test_networks import attending

PIXELS = 8 * 12
PROMPT, OTHER = "a red car and a blue dog", "a red car and a blue cat"
JOINED = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 128}}


@dataclass(frozen=True)
class Case:
    """The network's `encoder`, and what of its config fits that encoder's widths."""

    encoder: str
    config: dict
    parts: dict = field(default_factory=dict)


CASES = {
    "flux": Case("flux", {"context_in_dim": 32, "vec_in_dim": 32}),
    "sd3": Case("sd3", {"context_embedder_config": JOINED, "adm_in_channels": 64}),
    "flux2": Case("klein", {"context_in_dim": 96}),
    "chroma": Case("chroma, pixart", {"context_in_dim": 32}),
    "z_image": Case("z_image", {"cap_feat_dim": 32}),
    "qwen_image": Case("qwen_image", {"joint_attention_dim": 32}),
    "hunyuan_image": Case("hunyuan_image", {"context_in_dim": 32}),
    "anima": Case("anima", {}, {"source_dim": 32}),
    "wan": Case("wan", {"text_dim": 32}),
    "ernie": Case("ernie", {"text_in_dim": 32}),
    "pixart": Case("chroma, pixart", {"caption_channels": 32}),
    "hunyuan_dit": Case("hunyuan_dit", {"text_states_dim": 32, "text_states_dim_t5": 32, "text_len_t5": 256}),
    "hidream": Case("hidream", {"caption_channels": [32, 32], "text_emb_dim": 64}),
}
CROSS = ("anima", "wan", "pixart", "hunyuan_dit")
PICTURE_FIRST = ("ernie", "hidream")
# Where the prompt stands among the text's columns: Stable Diffusion 3 reads it twice, in CLIP's columns and in T5's;
# HiDream in T5's, and in Llama's, which each block has twice.
SPANS = {"sd3": (77,), "hunyuan_dit": (77,), "hidream": (PIXELS + 128,)}
# Where a network mixes a text's tokens before its blocks, and what of it brings in other tokens.
REFINERS = ("context_refiner", "txt_in", "llm_adapter")
MIXING = ("attention.out.", "attn.proj.", "o_proj.", "c_embedder.")


def network(family: str, monkeypatch):
    """The family's small network at the encoder's width, in which a text's tokens don't meet before the blocks."""
    case, made = CASES[family], TRANSFORMERS[family]
    parts = {part: {**sizes, **case.parts} for part, sizes in made.parts.items()}
    fitted = random_transformers.Transformer(
        made.supported, {**made.config, **case.config}, made.channels, made.framed, made.patch, parts=parts
    )
    monkeypatch.setitem(TRANSFORMERS, family, fitted)
    config = config_class(family)
    with torch.inference_mode(), small_parts(family):
        first = config(dict(config.unet_config))
        first.set_inference_dtype(torch.float32, None)
        weights = random_weights(first.get_model({}, "", device="meta").diffusion_model, 0)
        for name, values in weights.items():
            if name.startswith(REFINERS) and any(part in name for part in MIXING):
                values.zero_()
        return assemble_model(config(dict(config.unet_config)), weights)


class Ear:
    """Keeps queries and keys [heads, n, d] of every attention between picture and text, of the first row."""

    def __init__(self, family: str):
        self.family, self.cross = family, family in CROSS
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, func, q, k, v, heads, mask=None, **named):
        width = q.shape[-1] if named.get("skip_reshape") or q.ndim == 4 else q.shape[-1] // heads
        first = [
            (each if named.get("skip_reshape") else each.reshape(*each.shape[:2], -1, width).transpose(1, 2))[0]
            for each in (q, k)
        ]
        queries, keys = (each.shape[1] for each in first)
        if (queries == PIXELS and keys != PIXELS) if self.cross else queries == keys > PIXELS:
            self.calls.append(tuple(first))
        return func(q, k, v, heads, mask=mask, **named)

    def model(self, model):
        return attending(model, self.family, self)


def own(span: torch.Tensor, family: str) -> int:
    """How many of the prompt's tokens stand in a span."""
    found = int(span.sum())
    return 1 if family == "hidream" and found == 2 else found


@pytest.mark.parametrize("family", [family for family in CASES if family in available()])
def test_a_words_map_is_that_of_its_own_columns(family, monkeypatch):
    model, clip = network(family, monkeypatch), without_attention(small_clip(CASES[family].encoder))
    with torch.inference_mode():
        (conditioning, targets), (other, _) = (encode_with_targets(clip, text) for text in (PROMPT, OTHER))
        controlled, record = attach(model, METHODS["attend_and_excite"](), targets, strength=0.0, blocks="all")
    start, run = noise(*latent_of(family)), {"steps": 1, "cfg": 1.0, "negative": conditioning}
    ears = [Ear(family), Ear(family)]
    plain = sample(ears[0].model(model), start=start, positive=conditioning, **run)
    sample(ears[1].model(model), start=start, positive=other, **run)
    assert torch.equal(sample(controlled, start=start, positive=conditioning, **run), plain)

    (_, keys), (_, others) = (ear.calls[0] for ear in ears)
    columns = ((keys - others).abs().amax(dim=(0, 2)) > 0).nonzero().flatten()
    maps = []
    picture = slice(0, PIXELS) if family in PICTURE_FIRST else slice(-PIXELS, None)
    for q, k in ears[0].calls:
        scores = q[:, picture].double() @ k.double().transpose(1, 2) * q.shape[-1] ** -0.5
        maps.append(scores.softmax(-1).mean(0)[:, columns])
    shown = torch.stack(maps).mean(0)
    ends = (0, *SPANS.get(family, ()), 10**6)
    spans = [(columns >= first) & (columns < end) for first, end in zip(ends, ends[1:])]
    expected = sum(shown[:, span].sum(-1) / own(span, family) for span in spans).float().view(8, 12)
    assert sum(own(span, family) for span in spans) == len(targets.objects[1].positions)
    dog = record.maps.shown(targets)[1][0, [target.name for target in targets.objects].index("dog")]
    torch.testing.assert_close(dog, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", [family for family in ("hidream", "hunyuan_dit") if family in available()])
def test_an_objects_own_prompt_reaches_both_encoders(family, monkeypatch):
    """Mixed in everywhere at weight 1, it draws what the host draws from it, but for the pooled text."""
    model, clip = network(family, monkeypatch), small_clip(CASES[family].encoder)
    method, size = SpaceTime(SpaceTimeSettings(weight=1.0)), latent_of(family)
    with torch.inference_mode():
        conditioning, targets = encode_with_targets(clip, PROMPT)
        (text, more), *rest = clip.encode_from_tokens_scheduled(clip.tokenize(method.local_prompt("red car")))
        layout = Layout((Placement(0, "red car", Box(0, 0, 1, 1)),), 192, 128)
        controlled, _ = attach(model, method, targets, layout=layout)
    own = [[text, {**more, "pooled_output": conditioning[0][1]["pooled_output"]}]]
    run = {"size": size, "steps": 2, "negative": conditioning}
    with nothing_pooled(model):
        plain = sample(model, positive=conditioning, **run)
        expected, drawn = sample(model, positive=own, **run), sample(controlled, positive=conditioning, **run)
    assert not rest and (expected - plain).abs().max() > 1e-2 * plain.std()
    torch.testing.assert_close(drawn, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
