from dataclasses import replace

import pytest
import torch
from prompt_fidelity.core.check.evidence import Evidence
from prompt_fidelity.core.control.record import Record
from prompt_fidelity.core.methods.attend_and_excite import AttendAndExcite, AttendAndExciteSettings
from prompt_fidelity.core.methods.t_sam import TSAM
from prompt_fidelity.core.show.report import headline, overall_loss, report
from toy import sample


def test_report_says_what_was_applied_and_what_it_did():
    record = sample(TSAM())
    text = report(record)
    assert text.startswith("T-SAM, preset repo (arXiv 2411.15236), strength 1")
    assert '"a black car and a white clock"' in text
    assert "Targets: black car, white clock" in text
    assert (
        "Active in 6 of 10 steps, between 0% and 60% of the run: "
        f"{record.updates} updates, {record.evaluations} extra network calls." in text
    )
    assert "Time spent on the updates: 1.5 s of 4.0 s (sampler euler)." in text
    before, after = overall_loss(record)
    assert f"all together  {before:.3f} → {after:.3f}" in text
    assert after < before
    for name in ("black car", "white clock", "other words"):
        assert f"\n  {name} " in text
    assert headline(record) == f"T-SAM: {record.updates} updates, loss {before:.3f} → {after:.3f}"


def test_the_loss_after_the_last_update_is_shown_if_it_was_measured():
    record = sample(AttendAndExcite())
    record.steps[-1].after, record.steps[-1].total_after = torch.tensor([[0.123, 0.234]]), torch.tensor([0.345])
    text = report(record)
    assert all(f"→ {loss}" in text for loss in ("0.123", "0.234", "0.345"))
    assert headline(record).endswith("→ 0.345")


def test_every_image_has_its_column_and_large_batches_their_mean():
    two = report(sample(AttendAndExcite(), batch=2))
    assert "image 1" in two and "image 2" in two
    (line,) = [line for line in two.splitlines() if line.startswith("  car")]
    assert line.count("→") == 2
    many = report(sample(AttendAndExcite(), batch=6))
    assert "mean of 6 images" in many and "image 1" not in many


def test_what_the_model_sees_in_its_picture_is_told():
    record = sample(TSAM(), batch=2)
    assert "noise (" not in report(record)
    gains = torch.tensor([[0.42, float("nan")], [-0.071, float("nan")]])
    record.evidence = Evidence(gains, looks=2, passes=10, seconds=1.25)
    text = report(record)
    assert "looked at the picture again 2 times, through noise (10 network calls, 1.2 s)" in text
    assert text.endswith("\n  black car: +42%, -7%") and "white clock: " not in text.split("noise (")[1]
    record.evidence = Evidence(torch.full((5, 2), 0.5), looks=2, passes=10, seconds=1.25)
    assert "  white clock: +50%, mean of 5 images" in report(record)


def test_refinements_are_told():
    settings = AttendAndExciteSettings(refine_at=(0.0,), thresholds=(1.0,), refine_steps=3)
    assert "Refined 1 time: 4 updates at 0%." in report(sample(AttendAndExcite(settings)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strength": 0.0}, "The strength is 0, so the picture is the plain one."),
        ({"start": 0.9}, "leave nothing of the method's own window (0% to 60%)"),
        ({"start": 0.55, "end": 0.57}, "The method's window (55% to 57%) holds none of this run's steps"),
        (
            {"network": lambda z: torch.full((1, 16, 16, 77), torch.nan) * z.mean()},
            "image 1: the loss or its gradient is not a finite number",
        ),
    ],
)
def test_it_says_why_nothing_happened(options, sentence):
    record = sample(TSAM(), **options)
    assert sentence in report(record)
    assert record.updates == 0


def test_a_loss_that_hardly_moves_is_pointed_out():
    weak = TSAM(replace(TSAM.PRESETS["repo"], step_size=1e-4, refine_at=()))
    assert "The loss hardly changed" in report(sample(weak))
    assert "The loss hardly changed" not in report(sample(TSAM()))


def test_warnings_and_skipped_steps_are_listed_once():
    record = sample(TSAM(), network=lambda z: None if z.requires_grad else torch.rand(1, 16, 16, 77))
    record.warn("The sampler distorts updates.")
    record.warn("The sampler distorts updates.")
    text = report(record)
    assert text.count("The sampler distorts updates.") == 1
    assert text.count("no attention map arrived") == 6
    assert "No loss could be computed in any step" in text
    assert headline(record) == "T-SAM: no update"


def test_empty_unfinished_and_interrupted_records():
    record = Record()
    assert "Nothing has been recorded yet" in report(record)
    assert headline(record) == "nothing recorded yet"
    record.begin(TSAM(), sample(TSAM()).targets)
    assert "not over yet" in report(record)
    record.end(seconds=0.1, interrupted=True)
    assert "interrupted" in report(record)


def test_a_record_is_emptied_at_the_start_of_a_run():
    record = sample(TSAM(), batch=2)
    steps, maps = record.steps, record.maps
    assert len(steps) == 6 and maps.steps == 10
    record.warn("old")
    record.end(1.0, interrupted=True)
    sample(AttendAndExcite(), record=record)
    assert record.method.name == "attend_and_excite"
    assert record.steps is not steps and len(record.steps) == 5
    assert record.maps is not maps and record.maps.mean.shape[0] == 1
    assert record.warnings == [] and not record.interrupted


def test_a_record_holds_only_small_cpu_tensors():
    record = sample(TSAM(), batch=2)
    assert record.targets.text_attention is None
    tensors = [record.maps.mean]
    for entry in record.steps:
        tensors += [entry.first, entry.last, entry.updates, entry.moved, *entry.totals]
    assert all(
        t.device.type == "cpu" and not t.requires_grad and t.numel() <= record.maps.mean.numel() for t in tensors
    )
