import pytest
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.maps.resolution import choose_level, map_size
from prompt_fidelity.core.methods.schedule import Schedule


def fired(schedule, progress):
    """(step, point) of every refinement in a run whose steps are at `progress`."""
    done, result = None, []
    for i, p in enumerate(progress):
        point = schedule.refinement_due(p, done)
        if point is not None:
            result.append((i, point))
            done = point
    return result


def test_window_is_half_open():
    schedule = Schedule(start=0.2, end=0.5)
    assert [schedule.active(p) for p in (0.0, 0.19, 0.2, 0.35, 0.499, 0.5, 1.0)] == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_window_forgives_rounding():
    assert Schedule(start=0.3).active(0.1 + 0.2 - 1e-9)
    assert not Schedule(end=0.3).active(0.3 - 1e-9)


def test_step_size_follows_the_published_curve():
    schedule = Schedule(step_size=20.0)
    assert schedule.size_at(0.0) == 20.0
    assert schedule.size_at(1.0) == pytest.approx(20 * 0.5**0.5)
    assert schedule.size_at(0.5) == pytest.approx(20 * 0.75**0.5)
    assert Schedule(step_size=40.0, decay=0.0).size_at(0.7) == 40.0


def test_narrowing_only_ever_narrows():
    schedule = Schedule(start=0.1, end=0.5)
    assert (schedule.narrowed().start, schedule.narrowed().end) == (0.1, 0.5)
    inner = schedule.narrowed(0.2, 0.4)
    assert (inner.start, inner.end) == (0.2, 0.4)
    assert not any(schedule.narrowed(0.6, 1.0).active(p / 100) for p in range(101))


def test_refinement_fires_once_at_the_first_step_at_or_after_its_point():
    schedule = Schedule(refine_at=(0.0, 0.2, 0.4), refine_steps=5)
    assert fired(schedule, [i / 50 for i in range(50)]) == [(0, 0), (10, 1), (20, 2)]
    assert fired(schedule, [i / 7 for i in range(7)]) == [(0, 0), (2, 1), (3, 2)]


def test_a_late_start_fires_only_the_latest_point_passed():
    schedule = Schedule(refine_at=(0.0, 0.2, 0.4), refine_steps=5)
    assert fired(schedule, [0.3, 0.35, 0.5, 0.6]) == [(0, 1), (2, 2)]
    assert fired(schedule, [0.7, 0.8]) == [(0, 2)]
    # a step so long that it passes two points
    assert fired(schedule, [0.0, 0.5, 0.9]) == [(0, 0), (1, 2)]


def test_no_refinement_without_steps_or_points():
    assert fired(Schedule(refine_at=(0.0,), refine_steps=0), [0.0, 0.5]) == []
    assert fired(Schedule(refine_steps=5), [0.0, 0.5]) == []
    assert fired(Schedule(refine_at=(0.4,), refine_steps=5), [0.0, 0.39]) == []


def test_order_of_the_points_does_not_matter():
    schedule = Schedule(refine_at=(0.4, 0.0), refine_steps=5)
    assert fired(schedule, [0.0, 0.2, 0.4, 0.6]) == [(0, 1), (2, 0)]


@pytest.mark.parametrize(
    ("resolution", "size", "levels", "expected"),
    [
        ("auto", (64, 64), (1, 2, 4, 8), 4),  # SD1.5 at 512²: 16×16
        ("auto", (128, 128), (2, 4), 4),  # SDXL at 1024²: 32×32
        ("auto", (96, 64), (1, 2, 4, 8), 4),
        ("auto", (64, 40), (1, 2, 4, 8), 2),  # 1/4 would be 16×10
        ("auto", (16, 16), (1, 2), 1),  # tiny models
        ("auto", (8, 8), (2, 4), 2),  # the finest there is
        ("auto", (64, 64), (8, 16), 8),
        ("1/2", (64, 64), (1, 2, 4, 8), 2),
        ("1/8", (64, 64), (1, 2, 4, 8), 8),
    ],
)
def test_level(resolution, size, levels, expected):
    assert choose_level(resolution, *size, levels) == expected


def test_missing_levels_are_named():
    with pytest.raises(MethodError, match="no attention to the prompt at 1/1 .* only at 1/2, 1/4"):
        choose_level("1/1", 64, 64, (4, 2))
    with pytest.raises(MethodError, match="no attention to the prompt"):
        choose_level("auto", 64, 64, ())


def test_odd_latents_have_maps_that_round_up():
    assert map_size(63, 65, 4) == (16, 17)
