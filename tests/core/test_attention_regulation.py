"""Attention Regulation beyond the published vectors: any map, any batch, any words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from prompt_fidelity.core.maps.resolution import chosen_layers
from prompt_fidelity.core.methods.attention_regulation.method import (
    AttentionRegulation,
    AttentionRegulationSettings,
    kept_columns,
)
from prompt_fidelity.core.methods.base import PACK_MODELS, EditSite
from prompt_fidelity.core.prompt.targets import Attribute, Target
from toy import OBJECTS, make_targets, scores_of

PUBLISHED = AttentionRegulation.PRESETS["published"]


def site(h=16, w=16, step=0, memory=None, layer="input 7"):
    return EditSite(layer, step, step / 50, (h, w), {} if memory is None else memory)


@pytest.mark.parametrize("preset", AttentionRegulation.PRESETS)
@pytest.mark.parametrize(("h", "w"), [(16, 16), (12, 20), (24, 16), (32, 32), (7, 5), (1, 9), (1, 1)])
def test_edits_are_finite_at_any_size_and_touch_only_the_targets(preset, h, w):
    method, targets, scores = (
        AttentionRegulation(AttentionRegulation.PRESETS[preset]),
        make_targets(),
        scores_of(2, h=h, w=w),
    )
    before = scores.clone()
    edited = method.edit(scores, targets, site(h, w))
    assert torch.equal(scores, before) and edited.isfinite().all()
    rounded = scores.half().float() if preset == "published" else scores
    mine = [c for _, columns in method.watched(targets) for c in columns]
    assert {3, 7} <= set(mine)
    assert (preset in PACK_MODELS) == (len(mine) > 2), "the presets of the pack's models move attributes as well"
    others = [c for c in range(77) if c not in mine]
    assert torch.equal(edited[..., others], rounded[..., others])
    assert not torch.equal(edited[..., mine], scores[..., mine])


def test_targets_get_their_share_and_a_firm_place():
    method, targets, scores = AttentionRegulation(), make_targets(), scores_of(heads=8)
    plain, edited = scores.softmax(-1), method.edit(scores, targets, site()).softmax(-1)
    for column in (3, 7):
        assert plain[..., column].mean() < 0.01
        assert edited[..., column].mean() == pytest.approx(0.2, abs=0.06)
        assert edited[..., column].quantile(0.9) > 0.5


def test_strength_scales_the_map_that_is_added():
    method, targets, scores = AttentionRegulation(), make_targets(), scores_of()
    whole = method.edit(scores, targets, site()) - scores
    half = method.edit(scores, targets, site(), strength=0.5) - scores
    torch.testing.assert_close(half, 0.5 * whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("start", ["even", "random"])
def test_an_image_is_edited_alike_alone_and_in_a_batch(start):
    method = AttentionRegulation(AttentionRegulationSettings(start_weights=start))
    targets, scores = make_targets(), scores_of(3)
    together = method.edit(scores, targets, site())
    alone = torch.cat([method.edit(scores[i : i + 1], targets, site()) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_the_random_start_is_drawn_by_seed_layer_and_step():
    random = replace(AttentionRegulationSettings(), start_weights="random")

    def draw(seed=0, **where):
        return AttentionRegulation(replace(random, seed=seed)).start_weights(site(**where), 2, 3, 49, 2)

    first = draw()
    assert first.shape == (2, 6, 49) and torch.equal(first, draw()) and torch.equal(first[:, :3], first[:, 3:])
    torch.rand(5)
    assert torch.equal(first, draw())
    for other in (draw(seed=1), draw(step=1), draw(layer="input 8")):
        assert (first - other).abs().max() > 0.1
    assert 0 <= first.min() and first.max() < 1


def test_the_first_step_blends_no_random_map_unless_published():
    scores, targets = scores_of(), make_targets()
    memory: dict = {}
    method = AttentionRegulation()
    change = method.change(scores, targets, site(step=10, memory=memory))  # sampling that starts late
    torch.testing.assert_close(change.flatten(1, 2), 0.99**10 * memory[10])
    published = AttentionRegulation(PUBLISHED)
    descent = published.descent(scores, targets, site())
    expected = 0.25 * (descent.weights[0] @ descent.bumps.matrix) + 0.75 * descent.added(descent.best(1))
    torch.testing.assert_close(published.change(scores, targets, site()).flatten(1, 2), expected)


def test_memory_is_the_layers_own_and_a_second_call_leaves_it():
    method, targets = AttentionRegulation(), make_targets()
    one, other, later = scores_of(seed=1), scores_of(seed=2), scores_of(seed=3)
    memory: dict = {}
    method.edit(one, targets, site(step=0, memory=memory))
    noted = memory[0].clone()
    method.edit(other, targets, site(step=0, memory=memory))  # the sampler's second call in the step
    assert torch.equal(memory[0], noted)
    change = method.change(later, targets, site(step=1, memory=memory))
    torch.testing.assert_close(change.flatten(1, 2), 0.99 * (0.25 * noted + 0.75 * memory[1]))
    method.change(one, targets, site(step=2, memory=memory))
    assert sorted(memory) == [1, 2]


def test_pieces_of_a_word_are_one_target():
    """Their probabilities add up to what the same word has in one piece, and all are moved alike."""
    whole, split = scores_of(), scores_of()
    split[..., 3] = whole[..., 3] - torch.log(torch.tensor(2.0))
    split[..., 4] = split[..., 3]
    whole[..., 4] = -torch.inf
    one = make_targets((Target("carpet", "carpet", (3,)), OBJECTS[1]))
    two = make_targets((Target("carpet", "carpet", (3, 4)), OBJECTS[1]))
    method = AttentionRegulation()
    alone, together = method.edit(whole, one, site()), method.edit(split, two, site())
    torch.testing.assert_close((together - split)[..., 3], (together - split)[..., 4])
    torch.testing.assert_close((together - split)[..., [3, 7]], (alone - whole)[..., [3, 7]], rtol=1e-3, atol=1e-3)


def test_the_span_says_what_is_a_target():
    spans = {span: AttentionRegulation(AttentionRegulationSettings(span=span)) for span in ("word", "phrase", "pieces")}
    carpet = (Target("carpet", "red carpet", (3, 4), (Attribute("red", (2,)),)), OBJECTS[1])
    targets = make_targets(carpet)
    assert spans["word"].groups(targets) == [[3, 4], [7]]
    assert spans["phrase"].groups(targets) == [[2, 3, 4], [6, 7]]
    assert spans["pieces"].groups(targets) == [[3], [4], [7]]
    shared = make_targets(
        (
            Target("ball", "red ball", (3,), (Attribute("red", (2,)),)),
            Target("cube", "red cube", (5,), (Attribute("red", (2,)),)),
        )
    )
    assert spans["phrase"].groups(shared) == [[2, 3], [5]]


def test_an_attribute_moves_with_its_object():
    method = AttentionRegulation(AttentionRegulationSettings(span="phrase"))
    scores = scores_of()
    change = method.edit(scores, make_targets(), site()) - scores
    torch.testing.assert_close(change[..., 2], change[..., 3], rtol=1e-4, atol=1e-5)
    assert change[..., 2].abs().max() > 1


@pytest.mark.parametrize("renormalise", [True, False])
def test_rows_after_the_edit(renormalise):
    method, targets = AttentionRegulation(AttentionRegulationSettings(renormalise=renormalise)), make_targets()
    scores = scores_of(2)
    plain, edited = scores.softmax(-1), method.edit(scores, targets, site()).softmax(-1)
    final = method.settle(edited, plain, targets)
    kept = kept_columns(targets)
    assert kept == [0, 8]
    if renormalise:
        torch.testing.assert_close(final.sum(-1), torch.ones(final.shape[:-1]))
        torch.testing.assert_close(final[..., 0] / final[..., 8], plain[..., 0] / plain[..., 8], rtol=1e-4, atol=0)
    else:
        assert torch.equal(final[..., kept], plain[..., kept])
        assert final.sum(-1).max() > 1.3


def test_every_chunk_keeps_its_start_and_end():
    assert kept_columns(make_targets(chunks=2))[0] == 0
    two = make_targets(chunks=2)
    ends = kept_columns(two)
    assert [c for c in ends if c % 77 == 0] == [0, 77]
    assert not set(ends) & set(two.content) and len(ends) == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_scores_are_edited_in_single(dtype):
    method, targets, scores = AttentionRegulation(), make_targets(), scores_of(dtype=dtype)
    edited = method.edit(scores, targets, site())
    assert edited.dtype == dtype and edited.isfinite().all()
    assert method.descent(scores, targets, site()).losses.dtype == (
        torch.float64 if dtype == torch.float64 else torch.float32
    )


def test_hopeless_scores_change_nothing_that_was_finite():
    """A target that the model shuts out entirely, or one that has everything, gives no nan."""
    for value in (-1e4, 1e4):
        scores = scores_of()
        scores[..., 3] = value
        assert AttentionRegulation().edit(scores, make_targets(), site()).isfinite().all()


def test_prompts_without_objects_pass_through_with_a_warning():
    method = AttentionRegulation()
    assert not method.applies(make_targets(()))
    assert "no object" in method.check(make_targets(()))[0]
    assert method.check(make_targets()) == []


@pytest.mark.parametrize(
    ("layers", "depth", "expected"),
    [("first", 10, [0]), ("middle", 10, [5]), ("last", 10, [9]), ("all", 3, [0, 1, 2]), ("middle", 1, [0])],
)
def test_layers_of_a_block(layers, depth, expected):
    assert list(chosen_layers(layers, depth)) == expected
