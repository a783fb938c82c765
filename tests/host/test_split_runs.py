"""Pictures that are drawn in several runs, and several pictures of one Apply node in a queue entry."""

import functools

import comfy.model_management
import pytest
import torch
from comfy_execution.utils import CurrentNodeContext
from hostkit import ONE_A_STEP, encoded, models, noise, patched, plain, sample
from prompt_fidelity.core.show.report import report
from prompt_fidelity.nodes.maps import FidelityViewMaps

STEPS = 6
# Refines at the very beginning and once more, as often as it may: no threshold is ever reached.
REFINING = {"start": 0.0, "end": 1.0, "refine_at": (0.0, 0.4), "refine_steps": 3, "thresholds": (1.0, 1.0)}


def in_pieces(model, ends, start=None, **options):
    """The latent that a chain of KSamplerAdvanced nodes draws: each goes on from where the one before it stopped."""
    start = noise(1, 4, 16, 16, seed=3) if start is None else start
    latent, begin = torch.zeros_like(start), 0
    for end in ends:
        latent = sample(
            model,
            start=start if begin == 0 else torch.zeros_like(start),
            latent=latent,
            steps=STEPS,
            start_step=begin,
            last_step=end,
            disable_noise=begin > 0,
            **options,
        )
        begin = end
    return latent


@functools.cache
def plain_in_pieces(ends) -> torch.Tensor:
    return in_pieces(models("sd1")[0], ends)


EVERY_STEP = (1, 2, 3, 4, 5, 6)


# Every method is cut at every step; longer pieces are the same to all of them, so each has one other cut.
@pytest.mark.parametrize(
    ("method", "ends"),
    [
        *((name, EVERY_STEP) for name in ("attend_and_excite", "attention_regulation", "space_time", "t_sam")),
        ("attend_and_excite", (2, 5, 6)),
        ("attention_regulation", (2, 5, 6)),
        ("space_time", (2, 5, 6)),
        ("t_sam", (3, 6)),
    ],
)
def test_a_picture_drawn_in_pieces_is_one_run_and_the_same_picture(method, ends):
    # Small steps, and a loose bound for Attention Regulation: a random network makes much of rounding.
    whole, expected = patched(method=method, settings=REFINING, strength=0.05)
    pieces, record = patched(method=method, settings=REFINING, strength=0.05)
    drawn, own = sample(whole, steps=STEPS), plain(steps=STEPS)
    # The host itself brings the latent out of the model's scale and back between the pieces.
    rounding = (plain_in_pieces(ends) - own).abs().max() / own.std()
    difference = (in_pieces(pieces, ends) - drawn).abs().max() / drawn.std()
    assert difference <= max(1e3 * float(rounding), 2e-2)
    assert record.count == 1 and record.pieces == len(ends)
    assert record.total_steps == record.recognised == record.maps.steps == STEPS
    assert [entry.updates.tolist() for entry in record.steps] == [entry.updates.tolist() for entry in expected.steps]
    assert [entry.index for entry in record.edits] == [entry.index for entry in expected.edits]
    assert [entry.refinement for entry in record.steps] == [entry.refinement for entry in expected.steps]
    assert not record.carried
    text = report(record)
    assert f"The run was made in {len(ends)} pieces." in text and "so nothing was changed" not in text


def test_a_refinement_is_made_once_however_many_pieces_there_are():
    record = patched_and_drawn(lambda model: in_pieces(model, range(1, STEPS + 1)))
    assert [entry.refinement for entry in record.steps].count(0) == 1
    assert [entry.refinement for entry in record.steps].count(1) == 1
    assert record.updates == STEPS + 2 * REFINING["refine_steps"]


def patched_and_drawn(draw):
    controlled, record = patched(settings=REFINING, strength=0.05)
    draw(controlled)
    return record


def by_turns(model, regions, steps=STEPS):
    """A regional or tiled sampler: one step of each region, then the next step of each."""
    latents = [torch.zeros_like(region) for region in regions]
    for step in range(steps):
        for i, region in enumerate(regions):
            start = region if step == 0 else torch.zeros_like(region)
            latents[i] = sample(
                model,
                start=start,
                latent=latents[i],
                steps=steps,
                start_step=step,
                last_step=step + 1,
                disable_noise=step > 0,
            )
            if step:
                latents[i] = latents[i] + 0.01  # what such samplers blend into a region: it isn't known by its latent
    return latents


# In a queue entry all regions are of one prompt; whether they can be told apart shows in the hardest case, equal ones.
@pytest.mark.parametrize(
    ("regions", "entry"),
    [
        pytest.param([(1, 4, 8, 8)] * 3, "queue", id="equal, in a queue"),
        pytest.param([(1, 4, 8, 8)] * 3, "script", id="equal"),
        pytest.param([(1, 4, 8, 8), (1, 4, 4, 12)], "script", id="of two shapes"),
        pytest.param([(2, 4, 8, 8), (1, 4, 8, 8)], "script", id="of two batches"),
    ],
)
def test_regions_drawn_by_turns_are_a_run_each(regions, entry):
    starts = [noise(*shape, seed=i) for i, shape in enumerate(regions)]
    if entry == "queue":
        record = patched_and_drawn(lambda model: in_queue("a", lambda: by_turns(model, starts)))
    else:
        record = patched_and_drawn(lambda model: by_turns(model, starts))
    assert record.count == len(record.runs) == len(regions)
    for run in record.runs:
        assert run.pieces == run.total_steps == len(run.steps) == STEPS
        assert [step.refinement for step in run.steps if step.refinement is not None] == [0, 1]
    assert {run.size for run in record.runs} == {(shape[0], *shape[2:]) for shape in regions}
    assert f"{len(regions)} runs" in report(record)


def in_queue(prompt_id: str, work):
    with CurrentNodeContext(prompt_id, "sampler"):
        return work()


def view(record, picture, prompt_id="a", attributes=False) -> tuple:
    """(overlay, masks, loss plot, report) of View Attention Maps."""
    with torch.inference_mode(), CurrentNodeContext(prompt_id, "view"):
        return FidelityViewMaps.execute(record, encoded("sd1")[1], picture, attributes).args


def picture(size=128, batch=1) -> torch.Tensor:
    return torch.rand(batch, size, size, 3)


def test_two_samplers_on_one_apply_node_are_two_runs_and_each_picture_keeps_its_own():
    controlled, record = patched(settings=ONE_A_STEP)
    first, second = picture(), picture()
    in_queue("a", lambda: sample(controlled, seed=1))
    shown = view(record, first)
    assert "runs of this model" not in shown[3]
    in_queue("a", lambda: sample(controlled, seed=2))
    of_second = view(record, second)
    assert "2 runs of this model in this queue entry" in of_second[3] and "are of run 2." in of_second[3]
    assert "Run 1: Attend-and-Excite: 3 updates" in of_second[3]
    again = view(record, first)  # a second View node on the first picture
    assert torch.equal(again[1], shown[1]) and not torch.equal(of_second[1], shown[1])
    assert "are of run 1." in again[3]


def test_a_second_pass_is_a_run_of_its_own_and_the_first_picture_finds_its_run():
    controlled, record = patched(settings=ONE_A_STEP)

    def two_passes():
        latent = sample(controlled, steps=STEPS)
        large = torch.nn.functional.interpolate(latent, scale_factor=2.0)
        sample(controlled, steps=STEPS, start=noise(1, 4, 32, 32), latent=large, denoise=0.4)

    in_queue("a", two_passes)
    assert record.count == 2 and [run.size for run in record.runs] == [(1, 16, 16), (1, 32, 32)]
    assert len(record.runs[0].steps) == 3 and not record.runs[1].acted
    small, large = view(record, picture(128))[3], view(record, picture(256))[3]
    assert "Active in 3 of 6 steps" in small and "so nothing was changed" not in small
    assert "holds none of this run's steps" in large and "Run 1: Attend-and-Excite: 3 updates" in large


def test_another_queue_entry_empties_the_record():
    controlled, record = patched(settings=ONE_A_STEP)
    for prompt_id in ("a", "b", "c"):
        in_queue(prompt_id, lambda: sample(controlled))
        assert record.count == len(record.runs) == 1 and record.updates == 3
    # also where the one before stopped half way and was never gone on with
    in_queue("d", lambda: in_pieces(controlled, (3,)))
    in_queue("e", lambda: sample(controlled))
    assert record.count == 1 and record.pieces == 1 and record.total_steps == STEPS and not record.carried


def test_a_picture_that_the_cache_brings_back_has_its_own_maps_again():
    """--cache-lru keeps several queue entries' pictures, and one Apply node's record all the while."""
    controlled, record = patched(settings=ONE_A_STEP)
    first, second = picture(), picture()
    in_queue("a", lambda: sample(controlled, seed=1))
    shown = view(record, first, "a")
    in_queue("b", lambda: sample(controlled, seed=2))
    other = view(record, second, "b")
    back = view(record, first, "c", attributes=True)
    assert back[1].shape[0] == 4  # the attributes as well
    torch.testing.assert_close(back[1][[0, 2]], shown[1])
    assert not torch.equal(shown[1], other[1]) and "from the cache" not in back[3]
    assert torch.equal(view(record, second, "d")[1], other[1])


def test_maps_that_may_be_of_another_picture_are_not_shown_without_a_word():
    controlled, record = patched(settings=ONE_A_STEP)
    in_queue("a", lambda: sample(controlled, seed=1))
    assert "from the cache" not in view(record, picture(), "b")[3]  # sampled once, so it is its picture
    in_queue("c", lambda: sample(controlled, seed=2))
    assert "comes from the cache" in view(record, picture(), "d")[3]


def test_what_is_kept_of_pictures_and_runs_is_bounded():
    controlled, record = patched(strength=0.0)
    in_queue("a", lambda: [sample(controlled, steps=1, size=(1, 4, 4, 4)) for _ in range(70)])
    assert record.count == 70 and len(record.runs) == 64
    assert "70 runs" in report(record) and len(report(record).splitlines()) < 30
    for _ in range(20):
        view(record, picture())
    assert len(record._shown) <= 1


def test_an_interrupted_piece_is_not_gone_on_with():
    controlled, record = patched(settings=REFINING)

    def stop(step, denoised, x, total):
        raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(controlled, steps=STEPS, last_step=3, callback=stop)
    assert record.interrupted
    sample(controlled, steps=STEPS, start_step=3)
    assert record.pieces == 1 and not record.interrupted and record.count == 1
