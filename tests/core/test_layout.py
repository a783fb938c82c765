"""Layouts: the boxes themselves, what relations ask for, and the solver's promises on random prompts."""

import random
from itertools import combinations

import pytest
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.layout import Box, Layout, Placement, SolverSettings, solve
from prompt_fidelity.core.layout.constraints import read
from prompt_fidelity.core.prompt.targets import Relation, Target, Targets

SIZES = ((512, 512), (1024, 512), (512, 896), (2048, 256))
DIRECTIONS = ("left of", "right of", "above", "below", "on")
ALL = (
    *DIRECTIONS,
    "in",
    "next to",
    "in front of",
    "behind",
    "holding",
    "with",
    "between",
    "around",
    "outside",
    "opposite",
)


def targets_of(names, relations=()):
    objects = tuple(Target(name, name, (i + 1,)) for i, name in enumerate(names))
    return Targets("", objects, tuple(Relation(*r) for r in relations), (), (), 77, 77)


def test_a_box_knows_what_it_shares():
    whole, half, apart = Box(0, 0, 1, 1), Box(0, 0, 0.5, 1), Box(0.6, 0, 1, 1)
    assert whole.shared(half) == 1 and half.shared(apart) == 0
    assert Box(0.25, 0, 0.75, 1).shared(half) == pytest.approx(0.5)
    assert half.centre == (0.25, 0.5)
    assert not Box(-0.1, 0, 0.5, 1).is_inside and Box(-0.1, 0, 0.5, 1).clamped() == half


@pytest.mark.parametrize("predicate", DIRECTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_a_direction_holds_both_ways_round(predicate, size):
    layout = solve(targets_of(["cat", "dog"], [(0, predicate, 1)]), *size)
    assert layout.holds(Relation(0, predicate, 1))
    assert not layout.holds(Relation(1, predicate, 0))
    cat, dog = layout.of(0).box.centre, layout.of(1).box.centre
    axis, sign = Relation(0, predicate, 1).axis
    index = 0 if axis == "x" else 1
    assert (cat[index] - dog[index]) * sign > 0


def test_a_thing_on_another_touches_it_and_a_thing_in_another_lies_in_it():
    layout = solve(targets_of(["lamp", "table", "cup", "box"], [(0, "on", 1), (2, "in", 3)]), 768, 512)
    lamp, table, cup, box = (layout.of(i).box for i in range(4))
    assert lamp.bottom == pytest.approx(table.top, abs=1e-6)
    assert lamp.centre[0] == pytest.approx(table.centre[0], abs=0.1)
    assert box.left <= cup.left and cup.right <= box.right and box.top <= cup.top and cup.bottom <= box.bottom
    assert cup.width < 0.7 * box.width


@pytest.mark.parametrize("size", [(512, 768), (768, 512)])
def test_side_by_side_things_are_level_and_stacked_ones_in_line(size):
    """Among others that crowd them: nothing but the relation draws them to one height, or to one place across."""
    relations = [(0, "left of", 1), (2, "above", 3)]
    for seed in range(12):
        layout = solve(targets_of(["cat", "dog", "cup", "box"], relations), *size, SolverSettings(seed=seed))
        cat, dog, cup, box = (layout.of(i).box.centre for i in range(4))
        assert abs(cat[1] - dog[1]) < 0.03 and abs(cup[0] - box[0]) < 0.03


def test_a_thing_between_two_stands_between_them():
    layout = solve(targets_of(["ball", "cat", "dog"], [(0, "between", 1), (0, "between", 2)]), 768, 512)
    ball, cat, dog = (layout.of(i).box.centre[0] for i in range(3))
    assert cat < ball < dog


def test_what_stands_in_front_is_lower_and_may_cover():
    layout = solve(targets_of(["dog", "house"], [(0, "in front of", 1)]), 512, 512)
    assert layout.of(0).box.bottom > layout.of(1).box.bottom


@pytest.mark.parametrize("seed", range(60))
def test_random_prompts(seed):
    rng = random.Random(seed)
    count = rng.randint(1, 7)
    pairs = [rng.sample(range(count), 2) for _ in range(rng.randint(0, count))] if count > 1 else []
    targets = targets_of([f"thing {i}" for i in range(count)], [(a, rng.choice(ALL), b) for a, b in pairs])
    layout = solve(targets, *rng.choice(SIZES), SolverSettings(seed=seed))
    assert [p.target for p in layout.placements] == list(range(count))
    assert all(p.box.is_inside and min(p.box.width, p.box.height) > 0.02 for p in layout.placements)
    related = {frozenset((r.subject, r.object)) for r in targets.relations}
    for a, b in combinations(layout.placements, 2):
        assert frozenset((a.target, b.target)) in related or a.box.shared(b.box) < 0.1
    given_up = read(targets.relations, count).given_up
    assert len(layout.notes) == len(given_up)
    assert all(layout.holds(r) for r in targets.relations if r.axis and r not in given_up)


def test_a_seed_repeats_its_layout_and_another_differs():
    targets = targets_of(["cat", "dog", "bird"])
    layout = solve(targets, 768, 512, SolverSettings(seed=4))
    assert solve(targets, 768, 512, SolverSettings(seed=4)) == layout
    assert solve(targets, 768, 512, SolverSettings(seed=5)).placements != layout.placements


def test_more_objects_are_smaller_and_one_is_in_the_middle():
    sides = [min(p.box.width for p in solve(targets_of("abcdefgh"[:n]), 512, 512).placements) for n in (1, 2, 4, 8)]
    assert sides == sorted(sides, reverse=True) and sides[0] > 2 * sides[-1]
    assert solve(targets_of(["cat"]), 900, 300).of(0).box.centre == pytest.approx((0.5, 0.5))
    assert solve(targets_of([]), 512, 512) == Layout((), 512, 512)


def test_the_settings_do_what_they_say():
    targets = targets_of(["cat", "dog"], [(0, "left of", 1)])
    small = solve(targets, 512, 512, SolverSettings(size=0.5))
    wide = solve(targets, 512, 512, SolverSettings(margin=0.1, gap=0.2))
    assert small.of(0).box.width == pytest.approx(
        0.5 * solve(targets, 512, 512, SolverSettings(size=1)).of(0).box.width, rel=0.15
    )
    assert wide.of(1).box.left - wide.of(0).box.right > 0.19
    assert min(p.box.left for p in wide.placements) > 0.09 and max(p.box.right for p in wide.placements) < 0.91


def test_a_contradiction_is_given_up_and_said():
    layout = solve(targets_of(["cat", "dog"], [(0, "left of", 1), (1, "left of", 0)]), 512, 512)
    assert layout.holds(Relation(0, "left of", 1))
    assert layout.notes == ('"dog left of cat" contradicts another relation, so it was left out.',)
    impossible = [(0, "in", 1), (0, "left of", 2), (1, "right of", 2)]
    layout = solve(targets_of(["cup", "box", "cat"], impossible), 512, 512)
    assert layout.holds(Relation(0, "left of", 2)) and layout.holds(Relation(1, "right of", 2))


def test_a_layout_of_other_objects_is_refused():
    layout = Layout((Placement(0, "black car", Box(0, 0, 1, 1)),), 512, 512)
    layout.check(targets_of(["black car", "clock"]))
    with pytest.raises(MethodError, match='"black car".*clock'):
        layout.check(targets_of(["clock"]))
    assert layout.holds(Relation(0, "left of", 1)) is None
    assert "black car" in layout.summary() and Layout((), 8, 8).summary()


@pytest.mark.parametrize(
    "count, relations, notes",
    [
        (50, [(i, "left of", (i + 1) % 50) for i in range(50)], 1),
        (60, [(i, predicate, i + 1) for predicate in ("left of", "above") for i in range(59)], 0),
        (60, [(i, "in", i + 1) for i in range(59)], 0),
        (3, [(0, "in", 1), (1, "in", 2), (2, "in", 0)], 1),
        (3, [(0, "in", 1), (0, "left of", 1), (1, "in", 2)], 0),
    ],
)
def test_long_rows_and_circles_have_a_layout_too(count, relations, notes):
    targets = targets_of([str(i) for i in range(count)], relations)
    layout = solve(targets, 1024, 1024)
    assert len(layout.placements) == count
    assert all(placement.box.is_inside and placement.box.width > 0.01 for placement in layout.placements)
    assert len(layout.notes) == notes


def test_more_objects_than_can_be_placed_are_refused_in_words():
    with pytest.raises(MethodError, match="61 objects are too many for a layout: at most 60"):
        solve(targets_of([str(i) for i in range(61)]), 512, 512)
