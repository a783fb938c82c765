"""Space-Time Attention: its rule, its regions at any shape, its weights over the run, and the log of a run."""

import pytest
import torch
from prompt_fidelity.core.control.outputs import NO_LAYER, OutputMixer
from prompt_fidelity.core.control.record import Record
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.layout.regions import disc, regions
from prompt_fidelity.core.methods.space_time import SpaceTime, SpaceTimeSettings, with_article
from prompt_fidelity.core.prompt.targets import Target, Targets
from prompt_fidelity.core.show.report import headline, report

CAT, DOG = Target("cat", "black cat", (3,)), Target("dog", "dog", (6,))
TARGETS = Targets("a black cat and a dog", (CAT, DOG), (), (), (), 77, 77)
LEFT, RIGHT = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 1.0)


def layout_of(*boxes, masks=(None, None), size=(512, 512)):
    return Layout(tuple(Placement(i, TARGETS.objects[i].phrase, box, masks[i]) for i, box in enumerate(boxes)), *size)


def method(**settings):
    return SpaceTime(SpaceTimeSettings(**settings))


def test_the_convex_rule_stays_between_its_outputs():
    g, local = torch.zeros(2, 4, 3), torch.stack([torch.full((2, 4, 3), 1.0), torch.full((2, 4, 3), 2.0)])
    covered = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0, 0.5, 1.0, 0.0]])
    out = method().mix(g, local, covered, torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(out[0, :, 0], torch.tensor([1.0, 0.5 + 0.5, 1.0, 0.0]))
    assert out.shape == g.shape and torch.equal(out[0], out[1])


def test_the_published_rule_takes_off_the_negative_prompt_where_there_is_one():
    generator = torch.Generator().manual_seed(0)
    g, u, local = (torch.randn(1, 2, 3, generator=generator) for _ in range(3))
    repo = SpaceTime(SpaceTime.PRESETS["repo"])
    ones, weight = torch.ones(1, 2), torch.tensor([5.0])
    torch.testing.assert_close(repo.mix(g, local[None], ones, weight, u), g + 5 * (local - u))
    torch.testing.assert_close(repo.mix(g, local[None], ones, weight), g + 5 * (local - g))
    torch.testing.assert_close(method().mix(g, local[None], ones, weight / 10, u), 0.5 * g + 0.5 * local)


def test_half_precision_is_mixed_in_float32():
    g = torch.full((1, 1, 1), 1000.0, dtype=torch.float16)
    out = method().mix(g, torch.full((1, 1, 1, 1), 1001.0, dtype=torch.float16), torch.ones(1, 1), torch.tensor([0.5]))
    assert out.dtype == torch.float16 and float(out) == 1000.5


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (27, 13)])
def test_boxes_cover_the_pixels_whose_middle_they_hold(size):
    h, w = size
    covered = regions(layout_of(LEFT, RIGHT), h, w)
    assert torch.equal(covered.sum(dim=0), torch.ones(h, w))
    assert float(covered[0].sum()) == h * len([k for k in range(w) if (k + 0.5) / w < 0.5])


def test_a_disc_is_round_in_a_picture_of_any_shape():
    wide, tall, square = (disc((0.5, 0.5), 0.2, h, w) for h, w in ((32, 128), (128, 32), (64, 64)))
    area = 3.1416 * 0.2**2
    assert all(float(d.mean()) == pytest.approx(area, rel=0.05) for d in (wide, tall, square))
    rows, columns = wide.any(dim=1).sum(), wide.any(dim=0).sum()
    assert abs(int(rows) - int(columns)) <= 2
    assert torch.equal(wide, wide.flip(0)) and torch.equal(
        wide, wide.flip(1)
    )  # pixel centres: the middle is the middle
    assert not torch.equal(disc((0.5, 0.5), 0.2, 64, 64, "corner"), square)


def test_masks_stay_soft_and_small_regions_keep_a_pixel():
    mask = torch.zeros(8, 8)
    mask[:, :3] = 1.0
    covered = regions(layout_of(LEFT, RIGHT, masks=(mask, None)), 4, 4)
    torch.testing.assert_close(covered[0], torch.tensor([1.0, 0.5, 0.0, 0.0]).expand(4, 4))
    boxed = regions(layout_of(LEFT, masks=(mask,)), 4, 4, shape="box")
    torch.testing.assert_close(boxed[0], torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(4, 4))
    assert float(regions(layout_of(Box(0.51, 0.51, 0.52, 0.52)), 4, 4).sum()) == 1
    assert regions(Layout((), 8, 8), 4, 4).shape == (0, 4, 4)


def test_overlapping_regions_share_the_place():
    whole = Box(0, 0, 1, 1)
    shared = method().regions(layout_of(whole, LEFT), 2, 4)
    torch.testing.assert_close(shared[:, 0], torch.tensor([[0.5, 0.5, 1, 1], [0.5, 0.5, 0, 0]]))
    assert float(method(overlap="add").regions(layout_of(whole, LEFT), 2, 4).sum(dim=0).max()) == 2


@pytest.mark.parametrize(
    "settings, weights",
    [
        ({}, (0.5, 0.5, 0.5)),
        ({"curve": "linear"}, (0.5, 0.25, 0.0)),
        ({"curve": "linear", "final": 0.4}, (0.5, 0.35, 0.2)),
        ({"curve": "cosine"}, (0.5, 0.25, 0.0)),
        ({"curve": "list", "values": (1.0, 0.6, 0.2)}, (0.5, 0.3, 0.1)),
        ({"curve": "linear", "start": 0.5, "weight": 1.0}, (1.0, 1.0, 0.0)),
        ({"divide": True, "weight": 5.0}, (2.5, 2.5, 2.5)),
    ],
)
def test_weights_over_the_run(settings, weights):
    found = [method(**settings).weights(progress, layout_of(LEFT, RIGHT)) for progress in (0.0, 0.5, 1.0)]
    torch.testing.assert_close(torch.stack(found)[:, 0], torch.tensor(weights))
    assert all(torch.equal(w[0], w[1]) for w in found)


def test_optimised_weights_take_the_place_of_the_curve():
    optimised = SpaceTime(SpaceTimeSettings(end=0.5), table=((0.1, 0.2), (0.3, 0.4)))
    layout = layout_of(LEFT, RIGHT)
    assert optimised.weights(0.0, layout).tolist() == pytest.approx([0.1, 0.3])
    assert optimised.weights(0.25, layout).tolist() == pytest.approx([0.2, 0.4])
    assert optimised.weights(1.0, layout).tolist() == pytest.approx([0.2, 0.4])


def test_strength_cannot_leave_the_convex_range():
    assert method().scaled(torch.tensor([0.5]), 4.0).tolist() == [1.0]
    assert SpaceTime(SpaceTime.PRESETS["repo"]).scaled(torch.tensor([2.5]), 2.0).tolist() == [5.0]


@pytest.mark.parametrize(
    "phrase, said",
    [
        ("black car", "a black car"),
        ("orange cat", "an orange cat"),
        ("red shoes", "red shoes"),
        ("the dog", "the dog"),
        ("Igloo", "an Igloo"),
    ],
)
def test_local_prompts(phrase, said):
    assert with_article(phrase) == said and method().local_prompt(phrase) == f"a photo of {said}"


def mixer(settings=None, record=None, **options):
    return OutputMixer(
        method(**(settings or {})),
        TARGETS,
        layout_of(LEFT, RIGHT),
        log=None if record is None else record.mixes,
        **options,
    )


def test_the_mixer_acts_in_its_window_and_logs_it():
    record = Record()
    running = mixer({"end": 0.8}, record, start=0.2)
    record.begin(running.method, TARGETS, start=0.2, total_steps=5, sampler="euler")
    running.log = record.mixes
    g, local = torch.zeros(1, 4, 2), torch.ones(2, 1, 4, 2)
    for step, progress in enumerate((0.0, 0.2, 0.5, 0.8)):
        running.begin(step, progress)
        assert running.active == (progress in (0.2, 0.5))
        if running.active:
            covered = running.covered(2, 2, g.device)
            assert covered.tolist() == [0, 1, 2, 3]
            torch.testing.assert_close(running.mix(g, local, "layer", (2, 2)), torch.full((1, 4, 2), 0.5))
    running.finish()
    assert [entry.index for entry in record.mixes] == [1, 2]
    assert record.mixes[0].weights == (0.5, 0.5) and record.mixes[0].layers == 1 and record.mixes[0].unconditional
    record.end(0.0, 2.0)
    assert "Mixed in 2 of 5 steps, between 20% and 80% of the run, in 1 layer." in report(record)
    assert (
        "black cat: weight 0.500 → 0.500" in report(record)
        and headline(record) == "Space-Time Attention: mixed in 2 steps"
    )


def test_a_step_without_layers_is_noted():
    running = mixer()
    running.begin(0, 0.0)
    running.begin(1, 0.5)
    assert running.log[0].skipped == (NO_LAYER,)
    assert not mixer(strength=0.0).wants(0.0)


def test_the_report_says_when_the_negative_prompt_was_missing():
    record = Record()
    running = OutputMixer(SpaceTime(SpaceTime.PRESETS["repo"]), TARGETS, layout_of(LEFT, RIGHT))
    record.begin(running.method, TARGETS)
    running.log = record.mixes
    running.begin(0, 0.0)
    running.mix(torch.zeros(1, 2, 2), torch.ones(2, 1, 2, 2), "layer", (2, 2))
    assert running.covered(2, 2, torch.device("cpu")).tolist() == [
        2,
        3,
    ]  # published: a pixel stands at its upper left corner
    running.finish()
    record.end(0.0)
    assert "negative prompt was not run together" in report(record)


def test_a_prompt_without_objects_is_left_alone():
    empty = Targets("nothing", (), (), (), (), 77, 77)
    assert not method().applies(empty) and "no object" in method().check(empty)[0]
