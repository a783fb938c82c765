"""The losses that take a layout: each formula again in NumPy; parts of a picture, objects without a place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from prompt_fidelity.core.control.latent import LatentOptimiser
from prompt_fidelity.core.layout import Box, Layout, Placement, solve
from prompt_fidelity.core.layout.regions import regions
from prompt_fidelity.core.maps.view import Axis, Place, Shown, View
from prompt_fidelity.core.methods import BoxDiff, LayoutGuidance, SpaceTime, SynGen
from prompt_fidelity.core.methods.combined import CombinedMethods
from toy import ToyNetwork, latents, make_targets

BOXES = {"black car": Box(0.0, 0.25, 0.5, 1.0), "white clock": Box(0.5, 0.0, 1.0, 0.75)}
LAYOUT = Layout(tuple(Placement(i, name, box) for i, (name, box) in enumerate(BOXES.items())), 128, 128)
WORDS = {"black car": ((3,), (2,)), "white clock": ((7,), (6,))}
both = pytest.mark.parametrize("method", [LayoutGuidance, BoxDiff])


def maps_of(batch=2, h=16, w=16):
    return ToyNetwork(h, w)(latents(batch, h, w)).double().requires_grad_()


def box_mask(box: Box, h: int, w: int) -> np.ndarray:
    """True where a pixel's middle lies in the box."""
    mask = np.zeros((h, w), dtype=bool)
    for row in range(h):
        for column in range(w):
            x, y = (column + 0.5) / w, (row + 0.5) / h
            mask[row, column] = box.left <= x < box.right and box.top <= y < box.bottom
    return mask


def smoothed(image: np.ndarray) -> np.ndarray:
    """The 3 × 3 kernel of the published codes, the picture mirrored at its border."""
    side = np.exp(-1.0)
    taps = np.array([side, 1.0, side]) / (1 + 2 * side)
    padded = np.pad(image, 1, mode="reflect")
    return sum(
        taps[i] * taps[j] * padded[i : i + image.shape[0], j : j + image.shape[1]] for i in range(3) for j in range(3)
    )


def test_layout_guidance_is_the_formula():
    maps, method = maps_of(), LayoutGuidance(layout=LAYOUT)
    losses = method.loss(maps, make_targets())
    assert losses.names == tuple(BOXES)
    for image, values in enumerate(maps.detach().numpy()):
        energies = []
        for name, words in WORDS.items():
            inside = box_mask(BOXES[name], 16, 16)
            own = [values[..., word].mean(-1) for word in words]
            energies.append(np.mean([(1 - one[inside].sum() / one.sum()) ** 2 for one in own]))
        np.testing.assert_allclose(losses.per_target[image].detach(), energies, rtol=1e-9)
        assert float(losses.per_image[image]) == pytest.approx(sum(energies))


@pytest.mark.parametrize(("corners", "strongest", "reach"), [(1.0, 0.2, 1), (0.5, 0.07, 2), (0.0, 1.0, 0)])
def test_box_diff_is_the_formula(corners, strongest, reach):
    settings = replace(BoxDiff().settings, corners=corners, strongest=strongest, edge_pixels=reach)
    maps, losses = maps_of(h=12, w=20), None
    losses = BoxDiff(settings, LAYOUT).loss(maps, make_targets())
    for image, values in enumerate(maps.detach().numpy()):
        competing = np.exp(100 * values[..., 1:76])
        shares = competing / competing.sum(-1, keepdims=True)
        expected = []
        for name, words in WORDS.items():
            inside = box_mask(BOXES[name], 12, 20)
            terms = []
            for (word,) in words:
                own = smoothed(shares[..., word - 1])
                inner, outer = (np.sort(own[where])[::-1] for where in (inside, ~inside))
                inner, outer = (side[: max(round(strongest * len(side)), 1)].mean() for side in (inner, outer))
                edges = 0.0
                for axis in (0, 1):
                    profile, wanted = own.max(axis), inside.any(axis)
                    first, last = np.flatnonzero(wanted)[[0, -1]]
                    near = [i for i in range(len(wanted)) if min(abs(i - first), abs(i - last)) <= reach]
                    edges += np.mean([abs(profile[i] - wanted[i]) for i in near])
                terms.append(1 - inner + outer + corners * edges)
            expected.append(np.mean(terms))
        np.testing.assert_allclose(losses.per_target[image].detach(), expected, rtol=1e-6)
        assert float(losses.per_image[image]) == pytest.approx(sum(expected))


@both
def test_a_step_down_the_loss_brings_the_attention_into_the_boxes(method):
    chosen = method(replace(method().settings, step_size=2.0, refine_at=(), end=1.0), LAYOUT)
    network, x = ToyNetwork(), latents(2)
    optimiser = LatentOptimiser(chosen, make_targets())
    before = chosen.loss(network(x), make_targets()).per_image
    for _ in range(8):
        x = optimiser.step(x, 0.0, 1.0, network)
    assert (chosen.loss(network(x), make_targets()).per_image < before - 0.02).all()
    assert optimiser.log[0].names == tuple(BOXES)


@both
def test_without_a_layout_the_places_are_the_solvers(method):
    targets, maps = make_targets(), maps_of()
    placed = method(layout=solve(targets, 16, 16))
    torch.testing.assert_close(method().loss(maps, targets).per_target, placed.loss(maps, targets).per_target)


@both
def test_an_object_without_a_place_is_left_alone(method):
    targets, maps = make_targets(), maps_of()
    one = method(layout=replace(LAYOUT, placements=LAYOUT.placements[1:]))
    assert one.applies(targets) and one.loss(maps, targets).names == ("white clock",)
    gradient = torch.autograd.grad(one.loss(maps, targets).per_image.sum(), maps)[0]
    assert gradient[..., 6:8].abs().max() > 0
    if method is LayoutGuidance:
        assert gradient[..., [2, 3]].abs().max() == 0
    nothing = method(layout=replace(LAYOUT, placements=()))
    assert not nothing.applies(targets) and nothing.loss(maps, targets).names == ()
    only_nouns = method(replace(method().settings, attributes=False), LAYOUT)
    assert not torch.equal(
        only_nouns.loss(maps, targets).per_target, method(layout=LAYOUT).loss(maps, targets).per_target
    )


@both
def test_maps_of_a_part_of_the_picture_are_judged_by_that_part_of_the_layout(method):
    """The lower half: the box of the car reaches into all of it, that of the clock into its upper half only."""
    targets, lower = make_targets(), View(Axis(tuple(range(8, 16)), 16), Axis.whole(16))
    maps = maps_of(h=8)
    shown = method(layout=LAYOUT).loss_at(maps, targets, lower)
    boxes = (Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 0.5))
    moved = Layout(tuple(replace(p, box=box) for p, box in zip(LAYOUT.placements, boxes, strict=True)), 128, 64)
    torch.testing.assert_close(shown.per_target, method(layout=moved).loss(maps, targets).per_target)
    # Nothing of the clock's box is shown in the lowest quarter: it pulls nothing there.
    quarter = View(Axis(tuple(range(12, 16)), 16), Axis.whole(16))
    assert float(method(layout=LAYOUT).loss_at(maps_of(1, h=4), targets, quarter).per_target[0, 1].detach()) == 0


def test_what_was_shown_gives_the_view():
    shown = Shown()
    shown.add(Place(View(Axis((4, 5, 6, 7), 16), Axis.whole(16)), (0,), 2))
    shown.add(Place(View(Axis((7, 8, 9), 16), Axis.whole(16)), (1,), 2))
    assert shown.view(16, 16) == View(Axis(tuple(range(4, 10)), 16), Axis.whole(16))
    assert shown.view(4, 4) == View(Axis((1, 2), 4), Axis.whole(4))
    shown.add(Place.whole(2, 16, 16))
    assert shown.view(4, 4) is None


def test_combined_methods_hand_the_layout_on():
    combined = CombinedMethods([(SpaceTime(), 1.0), (LayoutGuidance(), 0.5), (SynGen(), 1.0)])
    assert combined.takes_layout and not SynGen().takes_layout
    placed = combined.placed(LAYOUT)
    assert [part.weight for part in placed.parts] == [1.0, 0.5, 1.0]
    assert placed.parts[1].method.layout is LAYOUT
    losses = [part.method for part in placed.parts][1:]
    assert all(method.loss_at(maps_of(), make_targets(), None).per_image.isfinite().all() for method in losses)


@both
def test_a_refinement_ends_when_the_objects_are_in_their_boxes(method):
    maps = torch.full((1, 16, 16, 77), 1e-6)
    for name, region in zip(BOXES, regions(LAYOUT, 16, 16), strict=True):
        for (word,) in WORDS[name]:
            maps[..., word] += region * 0.4
    chosen = method(replace(method().settings, **({"corners": 0.0} if method is BoxDiff else {})), LAYOUT)
    assert chosen.satisfied(chosen.loss(maps, make_targets()), 0, 1, make_targets()).all() == (method is LayoutGuidance)
    far = method(chosen.settings, replace(LAYOUT, placements=tuple(
        replace(p, box=other) for p, other in zip(LAYOUT.placements, reversed(BOXES.values()), strict=True)
    )))  # fmt: skip
    assert not far.satisfied(far.loss(maps, make_targets()), 0, 1, make_targets()).any()
