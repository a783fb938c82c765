"""What a network call shows of the pictures: found by its numbers, and what regions and maps make of it."""

import pytest
import torch
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.layout.regions import regions
from prompt_fidelity.core.maps.picture import PictureMaps
from prompt_fidelity.core.maps.view import Axis, Place, Shown, View, place_of

PICTURES = torch.randn(3, 4, 16, 24, generator=torch.Generator().manual_seed(0))


def view(rows, columns, height=16, width=24):
    return View(Axis(tuple(rows), height), Axis(tuple(columns), width))


@pytest.mark.parametrize(
    ("images", "rows", "columns"),
    [
        ([0, 1, 2], range(16), range(24)),
        ([0, 1, 2], range(4, 12), range(16, 24)),
        ([1, 2], range(16), range(24)),  # some images of the batch
        ([2, 0], range(0, 8), range(24)),
        ([0, 1, 2], range(16), [20, 21, 22, 23, 0, 1, 2, 3]),  # around the edge
        ([0, 1, 2], range(16), [*range(5, 24), *range(5)]),  # rolled, at the picture's own size
        ([0, 1, 2], range(0, 16, 2), range(1, 24, 2)),  # dilated
        ([0], [0, *range(6, 12)], range(24)),  # with an anchor before it
    ],
)
def test_a_part_is_found_whoever_cut_it_out(images, rows, columns):
    shown = view(rows, columns)
    assert place_of(shown.of(PICTURES[images]), PICTURES) == Place(shown, tuple(images), 3)


def test_what_cannot_be_told_is_not_guessed():
    part = PICTURES[:, :, :8, :8]
    assert place_of(part * 0.99, PICTURES) is None
    assert place_of(torch.where(part > 2.0, 0.0, part), PICTURES) is None  # some numbers changed
    assert place_of(torch.zeros(3, 4, 8, 8), torch.zeros(3, 4, 16, 24)) is None  # alike everywhere
    assert place_of(part[:, :3], PICTURES) is None
    twice = torch.cat([part, part], dim=-1)
    assert place_of(part, twice) is None  # there twice
    assert place_of(PICTURES, PICTURES).is_whole and place_of(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)).is_whole


@pytest.mark.parametrize("shape", ["layout", "box", "disc"])
@pytest.mark.parametrize("place", ["centre", "corner"])
@pytest.mark.parametrize("level", [1, 2, 4])
def test_a_windows_regions_are_the_crop_of_the_pictures(shape, place, level):
    mask = (torch.rand(32, 48, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    boxes = (Box(0.05, 0.1, 0.6, 0.9), Box(0.4, 0.3, 0.95, 0.7), Box(0.1, 0.1, 0.9, 0.9))
    layout = Layout(tuple(Placement(i, str(i), box, mask if i == 2 else None) for i, box in enumerate(boxes)), 192, 128)
    whole = regions(layout, 16 // level, 24 // level, shape, 0.3, place)
    window = view(range(8, 16), range(4, 20))
    seen = regions(layout, 8 // level, 16 // level, shape, 0.3, place, window)
    torch.testing.assert_close(seen, whole[:, 8 // level :, 4 // level : 20 // level])
    around = view(range(16), [*range(16, 24), *range(8)])
    if level == 1:
        seen = regions(layout, 16, 16, shape, 0.3, place, around)
        torch.testing.assert_close(seen, torch.cat([whole[..., 16:], whole[..., :8]], dim=-1))


def test_an_object_elsewhere_has_no_region_and_a_tiny_one_has_its_pixel():
    left, tiny = Box(0.0, 0.0, 0.25, 1.0), Box(0.76, 0.51, 0.761, 0.511)
    layout = Layout((Placement(0, "a", left), Placement(1, "b", tiny)), 192, 128)
    seen = regions(layout, 4, 3, view=view(range(8, 16), range(12, 24)))
    assert not seen[0].any()
    assert seen[1].nonzero().tolist() == [[0, 1]]


def probabilities(b, h, w, seed=0):
    return torch.rand(b, 2, h * w, 7, generator=torch.Generator().manual_seed(seed))


def test_maps_of_parts_go_to_their_place():
    whole = probabilities(3, 8, 12)
    square = whole.unflatten(2, (8, 12))
    together, parts = PictureMaps(5), PictureMaps(5, (8, 12))
    together.add(whole, 8, 12)
    for images, rows, columns in [
        ((0, 1, 2), 0, 0),
        ((0, 1, 2), 4, 0),
        ((2, 0), 0, 6),
        ((1,), 0, 6),
        ((0, 1, 2), 4, 6),
    ]:
        shown = view(range(2 * rows, 2 * rows + 8), range(2 * columns, 2 * columns + 12))
        part = square[list(images), :, rows : rows + 4, columns : columns + 6].flatten(2, 3)
        assert not parts.complete
        parts.add(part, 4, 6, Place(shown, images, 3))
    assert parts.complete and together.complete
    torch.testing.assert_close(parts.mean, together.mean)


def test_what_was_not_shown_stays_empty_and_losses_look_past_it():
    maps = PictureMaps(7, (8, 12))
    right = Place(view(range(16), range(12, 24)), (0,), 1)
    maps.add(probabilities(1, 8, 6).requires_grad_(), 8, 6, right)
    assert not maps.complete and not maps.mean[:, :, :6].any() and maps.mean[:, :, 6:].all()
    torch.testing.assert_close(maps.shown, maps.mean[:, :, 6:])
    assert maps.shown.requires_grad
    maps.add(probabilities(1, 8, 6, 1), 8, 6, right)  # two layers: their mean
    both = torch.cat([probabilities(1, 8, 6), probabilities(1, 8, 6, 1)], dim=1).mean(1).unflatten(1, (8, 6))
    torch.testing.assert_close(maps.shown, both)


def test_a_map_of_another_size_keeps_its_mass_in_place():
    maps = PictureMaps(7, (8, 12))
    maps.add(torch.full((1, 2, 24, 7), 0.25), 4, 6)
    torch.testing.assert_close(maps.mean, torch.full((1, 8, 12, 7), 0.25))
    larger = PictureMaps(7, (4, 6))
    probs = probabilities(1, 8, 12)
    larger.add(probs, 8, 12)
    pooled = torch.nn.functional.avg_pool2d(probs.mean(1).unflatten(1, (8, 12)).movedim(-1, 1), 2).movedim(1, -1)
    torch.testing.assert_close(larger.mean, pooled)


def test_only_what_is_new_counts():
    shown, left, right = Shown(), view(range(16), range(12)), view(range(16), range(6, 24))
    assert shown.add(Place(left, (0, 1), 2)) and not shown.add(Place(left, (1,), 2))
    assert shown.add(Place(right, (0, 1), 2)) and not shown.add(Place.whole(2, 16, 24))
