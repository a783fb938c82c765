"""What a seed's early maps promise, and the ranking of the seeds."""

import numpy as np
import pytest
import torch
from prompt_fidelity.core.methods import SynGen
from prompt_fidelity.core.search.seeds import Signs, overlap, ranked, seeds_from, signs_of, summary
from toy import OBJECTS, ToyNetwork, latents, make_targets


def test_signs_are_the_formulas():
    maps, targets = ToyNetwork()(latents(1)), make_targets()
    signs, values = signs_of(maps, targets), maps[0].numpy()
    car, clock = values[..., 3], values[..., 7]
    assert signs.weakest == pytest.approx(-min(car.max(), clock.max()))
    assert signs.binding == pytest.approx(float(SynGen().loss(maps, targets).per_image))
    assert signs.overlap == pytest.approx(np.minimum(car / car.sum(), clock / clock.sum()).sum(), rel=1e-5)


def test_a_prompt_of_one_object_has_no_overlap():
    assert signs_of(ToyNetwork()(latents(1)), make_targets(OBJECTS[:1])).overlap == 0.0


def test_overlap_is_0_apart_and_1_for_each_pair_of_the_same():
    left, right = torch.zeros(4, 4), torch.zeros(4, 4)
    left[:, :2], right[:, 2:] = 0.3, 0.7
    assert overlap(torch.stack([left, right])) == 0.0
    assert overlap(torch.stack([left, left * 2, left])) == pytest.approx(3.0)


def test_each_sign_counts_in_standard_deviations_and_the_best_comes_first():
    signs = [Signs(-0.1, 5.0, 0.5), Signs(-0.3, 1.0, 0.5), Signs(-0.2, 3.0, 0.5)]
    order = ranked([7, 8, 9], signs)
    assert [one.seed for one in order] == [8, 9, 7]
    assert order[0].score == pytest.approx(2 * np.sqrt(1.5) / 3) and order[1].score == pytest.approx(0.0, abs=1e-9)
    assert "1. seed 8: +0.82 (weakest object's peak 0.300" in summary(order)


def test_equals_and_numbers_that_are_none_keep_their_order():
    same = Signs(-0.1, 1.0, 0.2)
    assert [one.seed for one in ranked([3, 1, 2], [same] * 3)] == [3, 1, 2]
    assert ranked([5], [same])[0].score == 0.0
    broken = ranked([1, 2], [Signs(float("nan"), 1.0, 0.2), same])
    assert all(np.isfinite(one.score) for one in broken)


def test_seeds_follow_each_other_and_turn_over_at_the_end():
    assert seeds_from(4, 3) == [4, 5, 6]
    assert seeds_from((1 << 64) - 1, 2) == [(1 << 64) - 1, 0]
