"""The record of one Apply node's runs: what is one run, which run a picture has, what is kept."""

import gc

import pytest
import torch
from prompt_fidelity.core.control.latent import LatentOptimiser
from prompt_fidelity.core.control.record import Record
from prompt_fidelity.core.control.scores import ScoreEditor
from prompt_fidelity.core.maps.transforms import apart, is_transformed, plain
from prompt_fidelity.core.methods.attend_and_excite import AttendAndExcite, AttendAndExciteSettings
from prompt_fidelity.core.methods.attention_regulation import AttentionRegulation
from prompt_fidelity.core.show.report import report
from toy import ToyNetwork, latents, make_targets, scores_of

SIZE = (1, 16, 16)


def begin(record, sigmas, *, size=SIZE, latent=None, execution="a", sampler="euler", ends_with=None):
    run = record.begin(
        AttendAndExcite(),
        make_targets(),
        sigmas=sigmas,
        size=size,
        latent=latent,
        execution=execution,
        sampler=sampler,
        total_steps=len(sigmas) - 1,
    )
    run.end(1.0, 2.0, recognised=len(sigmas) - 1)
    if ends_with is not None:
        record.drawn(run, ends_with)
    return run


def test_pieces_that_continue_each_other_are_one_run():
    record = Record()
    first = begin(record, [14.0, 7.0, 3.0])
    assert begin(record, [3.0, 1.0, 0.0], sampler="heun") is first
    assert (first.pieces, first.total_steps, first.recognised, first.seconds, first.run_seconds) == (2, 4, 4, 2.0, 4.0)
    assert first.sampler == "euler, heun" and record.count == 1
    assert begin(record, [3.0, 1.0, 0.0]) is not first  # that one is at its end


@pytest.mark.parametrize(
    "other", [{"size": (2, 16, 16)}, {"size": (1, 8, 16)}, {"execution": "b"}, {"sigmas": [2.9, 0.0]}]
)
def test_a_run_of_another_shape_entry_or_noise_level_is_another_run(other):
    record = Record()
    first = begin(record, [14.0, 3.0])
    assert begin(record, **{"sigmas": [3.0, 0.0], **other}) is not first
    assert record.count == (1 if "execution" in other else 2)


def test_a_continued_run_is_known_by_its_latent_first():
    record, one, two = Record(), latents(seed=1), latents(seed=2)
    first = begin(record, [14.0, 3.0], ends_with=one)
    second = begin(record, [14.0, 3.0], ends_with=two)
    assert begin(record, [3.0, 1.0], latent=two) is second
    assert begin(record, [3.0, 1.0], latent=one) is first
    third = begin(record, [14.0, 3.0])
    assert begin(record, [2.5, 1.0], latent=latents(seed=3)) not in (first, second, third)


def test_regions_by_turns_take_their_turns():
    record, levels = Record(), [14.0, 7.0, 3.0, 0.0]
    chains = {}
    for i in range(3):
        for region in "abc":
            run = begin(record, levels[i : i + 2])
            assert chains.setdefault(region, run) is run
    assert record.count == 3 and all(run.pieces == 3 for run in record.runs)


def test_what_a_run_carries_is_let_go_when_its_picture_is_drawn():
    record = Record()
    run = record.begin(AttendAndExcite(), make_targets(), sigmas=[14.0, 3.0], size=SIZE)
    run.carried["memories"] = {}
    run.end(1.0)
    assert run.carried
    begin(record, [3.0, 0.0], execution=None)
    assert not run.carried
    other = record.begin(AttendAndExcite(), make_targets(), sigmas=[14.0, 3.0], size=SIZE)
    other.carried["memories"] = {}
    other.end(1.0, interrupted=True)
    assert not other.carried and not other.open


def test_pictures_are_not_kept_alive():
    record = Record()
    begin(record, [14.0, 0.0])
    image = torch.rand(1, 128, 128, 3)
    run, sure = record.run_of(image, "a")
    assert run is record.latest and sure and len(record._shown) == 1
    del image
    gc.collect()
    record.run_of(torch.rand(1, 128, 128, 3), "a")
    assert len(record._shown) == 1


def test_the_run_of_a_picture_is_the_latest_of_its_size():
    record = Record()
    small, large, batch = (begin(record, [14.0, 0.0], size=size) for size in [(1, 16, 16), (1, 32, 32), (2, 16, 16)])
    assert record.run_of(torch.rand(1, 128, 128, 3))[0] is small
    assert record.run_of(torch.rand(1, 256, 256, 3))[0] is large
    assert record.run_of(torch.rand(2, 128, 128, 3))[0] is batch
    assert record.run_of(torch.rand(1, 96, 96, 3))[0] is large  # one image, of no run's size
    assert record.run_of(torch.rand(5, 96, 96, 3))[0] is batch


def test_a_refinement_in_the_log_is_done():
    method = AttendAndExcite(AttendAndExciteSettings(refine_at=(0.0, 0.2), thresholds=(1.0, 1.0), refine_steps=2))
    whole = LatentOptimiser(method, make_targets())
    log, x, y = [], latents(), latents()
    for i in range(5):
        x = whole.step(x, i / 10, 1.0, ToyNetwork())
        y = LatentOptimiser(method, make_targets(), log=log).step(y, i / 10, 1.0, ToyNetwork())
    assert torch.equal(x, y)
    assert [entry.refinement for entry in log] == [entry.refinement for entry in whole.log] == [0, None, 1, None, None]


def test_a_score_editor_goes_on_with_the_memories_of_another():
    whole, memories, results = ScoreEditor(AttentionRegulation(), make_targets()), {}, ([], [])
    for step in range(3):
        scores = scores_of(seed=step)
        pieces = ScoreEditor(AttentionRegulation(), make_targets(), memories=memories)
        for editor, result in zip((whole, pieces), results, strict=True):
            editor.begin(step, step / 10)
            result.append(editor.edit(scores, "layer", (16, 16)))
            editor.finish()
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    forgetful = ScoreEditor(AttentionRegulation(), make_targets())
    forgetful.begin(2, 0.2)
    assert not torch.equal(forgetful.edit(scores_of(seed=2), "layer", (16, 16)), results[0][2])


def test_the_report_tells_of_steps_that_were_not_told_apart():
    record = Record()
    run = begin(record, [14.0, 7.0, 3.0, 1.0, 0.0], sampler="odd")
    run.recognised = 0
    text = report(record)
    assert "None of the 4 steps of the sampler odd could be told apart" in text and "holds none of" not in text
    run.recognised = 2
    text = report(record)
    assert "only 2 could be told apart" in text and "holds none of the steps that could be told apart" in text
    run.interrupted = True
    assert "told apart" not in report(record)


# --- tensors inside torch.func


def test_a_value_can_be_read_inside_transforms():
    x, seen = torch.arange(6.0).reshape(2, 3), []

    def look(x):
        assert is_transformed(x)
        seen.append(plain(x))
        return x * 2

    torch.func.jvp(look, (x,), (x,))
    torch.vmap(look)(x)
    torch.func.jvp(torch.vmap(look), (x,), (x,))
    assert torch.equal(seen[0], x)
    assert torch.equal(seen[1], x.mean(0)) and torch.equal(seen[2], x.mean(0))
    assert all(not is_transformed(value) and float(value.sum()) >= 0 for value in seen) and plain(x) is x


def test_what_is_worked_out_apart_is_a_constant_of_every_row():
    by_numpy = lambda x: torch.from_numpy(x.numpy() ** 2)  # noqa: E731
    x = torch.rand(2, 3, 4)
    assert torch.equal(apart(by_numpy, x), x**2)
    out, slope = torch.func.jvp(lambda x: x + apart(by_numpy, x), (x,), (x,))
    assert torch.equal(out, x + x**2) and torch.equal(slope, x)
    assert torch.equal(torch.vmap(lambda x: apart(by_numpy, x))(x), x**2)
    assert torch.equal(torch.vmap(lambda x: apart(by_numpy, x), in_dims=1)(x), x.movedim(1, 0) ** 2)


@pytest.mark.parametrize("transform", ["jvp", "vmap"])
def test_attention_regulation_edits_the_same_inside_a_transform(transform):
    targets = make_targets()

    def edited(scores):
        editor = ScoreEditor(AttentionRegulation(), targets)
        editor.begin(0, 0.0)
        return editor.edit(scores, "layer", (16, 16))

    scores = scores_of(images=2)
    expected = edited(scores)
    if transform == "jvp":
        found, slope = torch.func.jvp(edited, (scores,), (torch.ones_like(scores),))
        assert torch.equal(slope, torch.ones_like(scores))
    else:
        found = torch.vmap(edited)(scores[:, None])[:, 0]
    torch.testing.assert_close(found, expected)
