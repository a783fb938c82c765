"""A run of score edits: in its window, logged by step and layer, and told in the report."""

import pytest
import torch
from prompt_fidelity.core.control.record import Record
from prompt_fidelity.core.control.scores import NO_LAYER, NOT_FINITE, ScoreEditor
from prompt_fidelity.core.methods.attention_regulation import AttentionRegulation
from prompt_fidelity.core.show.plot import loss_plot
from prompt_fidelity.core.show.report import headline, report
from toy import make_targets, scores_of


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


def test_every_part_and_size_has_a_memory_of_its_own_that_goes_when_it_is_no_longer_shown():
    editor = ScoreEditor(AttentionRegulation(), make_targets())
    alone = ScoreEditor(AttentionRegulation(), make_targets())

    def edited(which, step, side, part):
        scores = scores_of(1, seed=step)[:, :, : side * side]
        final = which.edit(scores, "input 7", (side, side), part)
        which.observe(scores.softmax(-1), final.softmax(-1), "input 7", part)
        return final

    for step, parts in enumerate((("a", "b"), ("a",), ("a",), ("b",))):
        for one in (editor, alone):
            one.begin(step, step / 10)
        for part in parts:
            side = 8 if step == 1 else 16  # a network that works at half the size for one step
            if part == "a":
                assert torch.equal(edited(editor, step, side, "a"), edited(alone, step, side, "a"))
            else:
                edited(editor, step, side, "b")
    editor.finish()
    assert {part for _, _, part in editor._memories} == {"a", "b"}
    fresh = ScoreEditor(AttentionRegulation(), make_targets())
    fresh.begin(3, 0.3)
    editor.begin(3, 0.3)
    # "b" was away for two steps: what it was then is forgotten.
    assert len(next(noted for key, noted in editor._memories.items() if key[2] == "b")) == 1
    editor.finish()


def test_the_shares_of_images_in_windows_are_each_images_own():
    editor = ScoreEditor(AttentionRegulation(), make_targets())
    editor.begin(0, 0.0)
    for value, images in ((0.1, (0, 1)), (0.2, (1, 2))):
        plain = torch.full((2, 1, 4, 77), value)
        editor.observe(plain, plain, "input 7", images, images)
    editor.finish()
    torch.testing.assert_close(editor.log[0].before, torch.tensor([[0.1, 0.1], [0.15, 0.15], [0.2, 0.2]]))
