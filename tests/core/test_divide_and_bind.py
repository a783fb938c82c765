"""Divide & Bind: the properties that its formulas promise."""

from dataclasses import replace
from math import log

import pytest
import torch
from prompt_fidelity.core.maps.distances import jensen_shannon
from prompt_fidelity.core.methods.divide_and_bind import (
    DivideAndBind,
    DivideAndBindSettings,
    divergence,
    total_variation,
)
from prompt_fidelity.core.prompt.targets import Target
from toy import OBJECTS, ToyNetwork, latents, make_targets

CAR, BLACK, CLOCK, WHITE = 3, 2, 7, 6


def square(side: int, size: int = 12) -> torch.Tensor:
    picture = torch.zeros(size, size)
    picture[2 : 2 + side, 2 : 2 + side] = 1.0
    return picture


def maps_with(**words: torch.Tensor) -> torch.Tensor:
    """[1, 12, 12, 77] maps, flat but for the words given ("car", "black" …)."""
    maps = torch.full((1, 12, 12, 77), 0.01)
    for name, picture in words.items():
        maps[0, ..., {"car": CAR, "black": BLACK, "clock": CLOCK, "white": WHITE}[name]] += 0.04 * picture
    return maps.requires_grad_()


def plain(**changes) -> DivideAndBind:
    return DivideAndBind(replace(DivideAndBindSettings(smoothing=False), **changes))


def test_total_variation_of_a_square_is_its_outline():
    assert total_variation(square(4)) == 16.0
    assert total_variation(torch.stack([square(3), torch.ones(12, 12)])).tolist() == [12.0, 0.0]
    assert total_variation(torch.rand(1, 1, 1)).tolist() == [0.0]


def test_the_divergence_knows_equal_from_disjoint_maps():
    left, right = torch.zeros(2, 1, 4, 4)
    left[..., :2], right[..., 2:] = 3.0, 5.0
    assert divergence(left, 7 * left).item() == pytest.approx(0.0, abs=1e-6)
    assert divergence(left, right).item() == pytest.approx(log(2), rel=1e-5)
    assert divergence(left, right) == divergence(right, left)
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    m = (p + q) / 2
    expected = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    assert float(jensen_shannon(p, q)) == pytest.approx(float(expected), rel=1e-6)


def test_the_object_with_the_least_edges_is_the_one_that_moves():
    maps = maps_with(car=square(6), clock=square(3))
    losses = plain(binding=0.0).loss(maps, make_targets())
    assert losses.names == ("black car", "white clock")
    assert losses.per_target[0, 0] < losses.per_target[0, 1] < 0
    assert losses.per_image[0] == losses.per_target[0, 1]
    whole, weakest = (
        torch.autograd.grad(loss.sum(), maps, retain_graph=True)[0]
        for loss in (losses.per_image, losses.per_target[:, 1])
    )
    assert whole.any() and torch.equal(whole, weakest)


def test_descent_gives_the_weak_object_more_edges():
    method, targets, network = plain(binding=0.0), make_targets(), ToyNetwork()
    z = latents().requires_grad_()
    before = method.loss(network(z), targets).per_image
    moved = z - 0.01 * torch.autograd.grad(before.sum(), z)[0]
    assert method.loss(network(moved), targets).per_image < before


def test_binding_is_the_weighted_divergence_of_attribute_and_object():
    maps = maps_with(car=square(6), black=square(3), clock=square(4), white=square(4))
    free, bound, twice = (plain(binding=weight).loss(maps, make_targets()) for weight in (0.0, 1.0, 2.0))
    added = bound.per_target - free.per_target
    assert added[0, 0] > 0.01 and added[0, 1].abs() < 1e-5
    torch.testing.assert_close(twice.per_target - free.per_target, 2 * added)
    torch.testing.assert_close(bound.per_image - free.per_image, added.sum(1))


def test_an_object_without_tokens_is_left_out_and_none_is_a_warning():
    method = DivideAndBind()
    ghost = Target("ghost", "ghost", ())
    assert method.loss(maps_with(car=square(3)), make_targets((OBJECTS[0], ghost))).names == ("black car",)
    assert not method.applies(make_targets((ghost,)))
    assert "no object" in method.check(make_targets(()))[0]
    assert method.loss(maps_with(), make_targets(())).per_image.tolist() == [0.0]
