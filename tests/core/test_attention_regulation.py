"""Attention Regulation beyond the published vectors: the gradient written out, any map, any batch, any words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from prompt_fidelity.core import descent, regulation
from prompt_fidelity.core.editing import NO_LAYER, NOT_FINITE, ScoreEditor
from prompt_fidelity.core.methods.attention_regulation import (
    AttentionRegulation,
    AttentionRegulationSettings,
    kept_columns,
)
from prompt_fidelity.core.methods.base import EditSite
from prompt_fidelity.core.plot import loss_plot
from prompt_fidelity.core.quantile import quantile_rank, sorted_neighbours
from prompt_fidelity.core.record import Record
from prompt_fidelity.core.regulation import Aim, Bumps, against_rest, descend, log_sum_of_rest
from prompt_fidelity.core.report import headline, report
from prompt_fidelity.core.resolution import chosen_layers
from prompt_fidelity.core.targets import Attribute, Target
from toy import OBJECTS, make_targets

PUBLISHED = AttentionRegulation.PRESETS["published"]


def scores_of(images=1, heads=2, h=16, w=16, tokens=77, seed=0, dtype=torch.float32):
    """Scores as a trained layer's: the start token stands out. Image i is the same whatever the number of images."""
    stack = [torch.randn(heads, h * w, tokens, generator=torch.Generator().manual_seed(seed * 100 + i)) for i in range(images)]
    scores = torch.stack(stack)
    scores[..., 0] += 6.0
    return scores.to(dtype)


def site(h=16, w=16, step=0, memory=None, layer="input 7"):
    return EditSite(layer, step, step / 50, (h, w), {} if memory is None else memory)


def loss_of(weights, base, bumps, aim):
    """Every row's loss as the paper states it, for autograd: weights [T, rows, centres] → [rows]."""
    targets = base.shape[0]
    ratio = (base + weights @ bumps.matrix).exp()
    p = ratio / (1.0 + ratio.sum(0))
    peaks = torch.quantile(p, aim.quantile, dim=2)
    terms = (peaks - aim.peak) ** 2 + aim.share_weight * (p.mean(2) - aim.share(targets)) ** 2
    return terms.mean(0) + aim.size_weight * (weights**2).mean((0, 2))


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (8, 8)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_descent_follows_autograd(size, count):
    bumps, aim = Bumps.on(*size, "cpu", torch.float64), Aim()
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(count, 3, size[0] * size[1], generator=generator, dtype=torch.float64) - 2
    start = torch.rand(count, 3, bumps.count, generator=generator, dtype=torch.float64)
    steps = descend(base, start, bumps, aim, 6, 100.0)
    weights = start
    for i in range(6):
        torch.testing.assert_close(steps.weights[i], weights, rtol=1e-7, atol=1e-7)
        leaf = weights.clone().requires_grad_()
        losses = loss_of(leaf, base, bumps, aim)
        torch.testing.assert_close(steps.losses[i], losses.detach(), rtol=1e-7, atol=1e-9)
        weights = weights - 100.0 * torch.autograd.grad(losses.sum(), leaf)[0]


@pytest.mark.parametrize("count", [2, 16, 256, 1024])
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 1.0])
def test_quantile_is_torchs(count, quantile):
    values = torch.randn(5, count, generator=torch.Generator().manual_seed(2))
    lower, fraction = quantile_rank(quantile, count)
    pair, places = sorted_neighbours(values, lower)
    ours = pair @ torch.tensor([1.0 - fraction, fraction])
    torch.testing.assert_close(ours, torch.quantile(values, quantile, dim=1), rtol=1e-6, atol=1e-6)
    assert torch.equal(values.gather(1, places), pair)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantile_rank_is_rounded_as_torch_rounds_it(dtype):
    ranks = torch.quantile(torch.arange(1024, dtype=dtype), 0.9)
    assert sum(quantile_rank(0.9, 1024, dtype)) == float(ranks)
    assert (float(ranks) == 920.7) == (dtype == torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("h", "w", "count"), [(16, 16, 2), (12, 20, 1), (32, 32, 3), (1, 1, 2)])
def test_the_loop_for_the_cpu_is_that_for_any_device(monkeypatch, dtype, h, w, count):
    base = against_rest(scores_of(2, h=h, w=w, dtype=dtype), [[3], [7], [9]][:count])
    bumps = Bumps.on(h, w, "cpu", dtype)
    start = torch.rand(count, base.shape[1], bumps.count, dtype=dtype, generator=torch.Generator().manual_seed(3))
    ours = descend(base, start, bumps, Aim(), 20, 100.0)
    monkeypatch.setattr(descent, "run_in_numpy", descent.run_in_torch)
    other = descend(base, start, bumps, Aim(), 20, 100.0)
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(ours.losses, other.losses, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.weights, other.weights, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("images", [1, 3])
def test_the_best_is_found_alike_in_either_library(monkeypatch, images):
    bumps, base = Bumps.on(16, 16), against_rest(scores_of(images), [[3], [7]])
    base[0, -1] = torch.nan  # the last image's last head is left alone
    descent = descend(base, torch.full((2, 2 * images, bumps.count), 0.5), bumps, Aim(), 20, 100.0)
    best = descent.best(images)
    added = descent.added(best)
    assert added.shape == base.shape and (added[:, -1] == 0).all() and (added[:, 0] != 0).any()
    monkeypatch.setattr(regulation, "quick", lambda tensor: tensor)
    assert torch.equal(descent.best(images), best)
    torch.testing.assert_close(descent.added(best), added)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, -200.0, 200.0, 3000.0, -torch.inf])
@pytest.mark.parametrize("where", ["targets", "others", "all"])
def test_the_rest_is_summed_at_any_scale(dtype, value, where):
    """Also where exp over- or underflows, and where the targets leave next to nothing for the others."""
    if value == -torch.inf and where != "targets":
        pytest.skip("no token is left")
    scores, others = scores_of(2, dtype=dtype), [c for c in range(77) if c not in (3, 7)]
    columns = {"targets": [3, 7], "others": others, "all": list(range(77))}[where]
    plain = scores[..., others].logsumexp(dim=-1)
    torch.testing.assert_close(log_sum_of_rest(scores, [3, 7]), plain, rtol=1e-6, atol=1e-6)
    scores[0, 0, :5][:, columns] += value  # of five pixels of one image; the rest must not notice
    sums = log_sum_of_rest(scores, [3, 7])
    torch.testing.assert_close(sums, scores[..., others].logsumexp(dim=-1), rtol=1e-6, atol=1e-6)
    assert torch.equal(sums[1], log_sum_of_rest(scores_of(2, dtype=dtype), [3, 7])[1])


@pytest.mark.filterwarnings("error")
def test_a_descent_that_overflows_changes_nothing_and_is_silent():
    base, bumps = against_rest(scores_of(), [[3], [7]]), Bumps.on(16, 16)
    descent = descend(base, torch.full((2, 2, bumps.count), 0.5), bumps, Aim(size_weight=1e6), 20, 1000.0)
    assert descent.losses[-1].isinf().all() and not descent.losses.isnan().any()
    assert descent.added(descent.best(1)).isfinite().all()


@pytest.mark.parametrize(("size", "centres"), [((16, 16), 49), ((32, 32), 49), ((24, 24), 121), ((16, 24), 77), ((8, 8), 9), ((2, 1), 1)])
def test_bumps_cover_any_map(size, centres):
    bumps = Bumps.on(*size)
    assert bumps.matrix.shape == (centres, size[0] * size[1]) == bumps.transposed.T.shape
    assert 0 <= bumps.matrix.min() and 0.8 < bumps.matrix.max() <= 1
    assert (bumps.matrix.sum(0) > 0.01).all()


def test_bumps_of_a_wide_map_lie_where_they_say():
    first_column_down = Bumps.on(16, 24).matrix[1].view(16, 24)  # x = 2, y = 4
    assert (first_column_down == 1).nonzero().tolist() == [[4, 2]]


@pytest.mark.parametrize("preset", AttentionRegulation.PRESETS)
@pytest.mark.parametrize(("h", "w"), [(16, 16), (12, 20), (24, 16), (32, 32), (7, 5), (1, 9), (1, 1)])
def test_edits_are_finite_at_any_size_and_touch_only_the_targets(preset, h, w):
    method, targets, scores = AttentionRegulation(AttentionRegulation.PRESETS[preset]), make_targets(), scores_of(2, h=h, w=w)
    before = scores.clone()
    edited = method.edit(scores, targets, site(h, w))
    assert torch.equal(scores, before) and edited.isfinite().all()
    rounded = scores.half().float() if preset == "published" else scores
    mine = [c for _, columns in method.watched(targets) for c in columns]
    assert {3, 7} <= set(mine) and (preset == "demo") == (len(mine) > 2), "the preset demo moves attributes as well"
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


def test_the_best_iteration_is_each_images_own():
    base = against_rest(scores_of(4, heads=2), [[3], [7]])
    bumps = Bumps.on(16, 16)
    descent = descend(base, torch.full((2, 8, bumps.count), 0.5), bumps, Aim(), 20, 100.0)
    best = descent.best(4)
    assert best.shape == (4,)
    mean = descent.losses.view(20, 4, 2).mean(2)
    assert torch.equal(mean[best, torch.arange(4)], mean.min(0).values)
    torch.testing.assert_close(descent.added(best)[:, 2], descent.weights[best[1], :, 2] @ bumps.matrix)


def test_the_random_start_is_drawn_by_seed_layer_and_step():
    random = replace(AttentionRegulationSettings(), start_weights="random")
    draw = lambda seed=0, **where: AttentionRegulation(replace(random, seed=seed)).start_weights(site(**where), 2, 3, 49, 2)  # noqa: E731
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
    shared = make_targets((Target("ball", "red ball", (3,), (Attribute("red", (2,)),)), Target("cube", "red cube", (5,), (Attribute("red", (2,)),))))
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
    assert method.descent(scores, targets, site()).losses.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


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


@pytest.mark.parametrize(("layers", "depth", "expected"), [("first", 10, [0]), ("middle", 10, [5]), ("last", 10, [9]), ("all", 3, [0, 1, 2]), ("middle", 1, [0])])
def test_layers_of_a_block(layers, depth, expected):
    assert list(chosen_layers(layers, depth)) == expected


# --- the run around it ------------------------------------------------------------------------------------------------


def edited_run(steps=10, strength=1.0, start=0.0, end=1.0, images=2):
    editor = ScoreEditor(AttentionRegulation(), make_targets(), strength, start, end)
    for step in range(steps):
        editor.begin(step, step / steps, sigma=float(steps - step))
        if editor.active:
            for layer in ("input 7", "output 4"):
                scores = scores_of(images, seed=step)
                plain = scores.softmax(-1)
                final = editor.settle(editor.edit(scores, layer, (16, 16)).softmax(-1), plain)
                editor.observe(plain, final, layer)
    editor.finish()
    return editor


def test_the_editor_works_in_its_window_and_logs_the_shares():
    editor = edited_run()
    assert [entry.index for entry in editor.log] == [0, 1, 2, 3, 4]
    for entry in editor.log:
        assert entry.layers == ("input 7", "output 4") and entry.names == ("car", "clock")
        assert entry.before.shape == entry.after.shape == (2, 2)
        assert (entry.after > 5 * entry.before).all()
    assert [entry.index for entry in edited_run(start=0.2, end=0.4).log] == [2, 3]
    assert edited_run(strength=0.0).log == []


def test_the_log_holds_the_first_call_of_a_step():
    editor = ScoreEditor(AttentionRegulation(), make_targets())
    editor.begin(0, 0.0)
    first, second = torch.full((1, 1, 4, 77), 0.1), torch.full((1, 1, 4, 77), 0.9)
    for plain in (first, second):
        editor.observe(plain, plain, "input 7")
    editor.finish()
    torch.testing.assert_close(editor.log[0].before, torch.full((1, 2), 0.1))


def test_a_step_without_a_layer_or_with_nan_says_so():
    editor = ScoreEditor(AttentionRegulation(), make_targets())
    editor.begin(0, 0.0)
    editor.begin(1, 0.1)
    scores = torch.full((1, 2, 256, 77), torch.nan)
    editor.observe(scores, editor.edit(scores, "input 7", (16, 16)), "input 7")
    editor.finish()
    assert editor.log[0].skipped == (NO_LAYER,) and editor.log[0].before is None
    assert editor.log[1].skipped == (NOT_FINITE,)


def record_of(images=1, **options):
    record, method = Record(), AttentionRegulation()
    record.begin(method, make_targets(), sampler="euler", total_steps=10)
    record.edits += edited_run(images=images, **options).log
    record.end(seconds=0.0, run_seconds=4.0)
    return record


def test_the_report_says_per_step_which_layers_were_edited_and_how_the_shares_moved():
    record = record_of()
    text = report(record)
    assert text.startswith("Attention Regulation, preset default (arXiv 2403.06381), strength 1")
    assert "Edited in 5 of 10 steps, between 0% and 50% of the run" in text
    assert "Edited layers, in every step: input 7, output 4." in text
    lines = [line for line in text.splitlines() if "→" in line and "%)" in line]
    assert len(lines) == 5
    for entry, line in zip(record.edits, lines, strict=True):
        assert f"{entry.index + 1} ({entry.progress:.0%})" in line
        assert all(f"{float(entry.before[0, t]):.1%} → {float(entry.after[0, t]):.1%}" in line for t in (0, 1))
    assert headline(record).startswith("Attention Regulation: 5 steps edited, share of a target")
    assert "Please note" not in text


def test_the_report_names_layers_that_differ_between_the_steps():
    record = record_of()
    record.edits[2].layers = ("input 7",)
    text = report(record)
    assert "Edited layers [1]: input 7, output 4." in text and "Edited layers [2]: input 7." in text
    assert "3 (20%) [2]" in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda record: record.edits.clear(), "holds none of this run's steps"),
        (lambda record: [setattr(entry, "before", None) for entry in record.edits], "No layer could be edited"),
        (lambda record: [setattr(entry, "after", entry.before) for entry in record.edits], "hardly changed"),
    ],
)
def test_the_report_says_when_nothing_was_done(change, sentence):
    record = record_of()
    change(record)
    assert sentence in report(record)


def test_the_plot_shows_the_shares():
    plot, empty = loss_plot(record_of(images=2)), Record()
    empty.begin(AttentionRegulation(), make_targets())
    assert plot.shape == (1, 540, 960, 3) and plot.std() > loss_plot(empty).std() > 0
