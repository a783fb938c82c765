"""Rearranged noise: it stays the same noise, and each object's most attended piece gets into its place."""

import pytest
import torch
from prompt_fidelity.core.control.arranged import LatentArranger
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.layout.arranging import arrangement
from prompt_fidelity.core.methods import InitialEditing
from prompt_fidelity.core.methods.combined import CombinedMethods, MethodError
from prompt_fidelity.core.methods.initial_editing import InitialEditingSettings
from toy import OBJECTS, latents, make_targets

NAMES = ("black car", "white clock")
# The first object on the left, the second on the right; and the other way round.
LAYOUT = Layout(
    tuple(Placement(i, name, Box(0.5 * i, 0.25, 0.5 + 0.5 * i, 0.75)) for i, name in enumerate(NAMES)), 128, 128
)


def spot(h: int, w: int, row: int, column: int, side: int = 4) -> torch.Tensor:
    """A map [h, w] of an object that begins in a square."""
    one = torch.zeros(h, w)
    one[row : row + side, column : column + side] = 1.0
    return one


box = spot  # a region of an object that belongs into a square


@pytest.mark.parametrize(("h", "w"), [(16, 16), (12, 20), (7, 5), (1, 1)])
@pytest.mark.parametrize("objects", [0, 1, 3])
def test_every_cell_is_used_once_whatever_maps_and_regions(h, w, objects):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        maps = torch.rand(objects, h, w, generator=generator)
        regions = (torch.rand(objects, h, w, generator=generator) > 0.7).float()
        made = arrangement(maps, regions)
        assert made.source.sort().values.tolist() == list(range(h * w))
        x = latents(1, h, w)[0]
        assert torch.equal(made.of(x).flatten().sort().values, x.flatten().sort().values)


def test_the_most_attended_piece_is_moved_into_the_region_and_the_rest_stays():
    x = latents(1)[0]
    made = arrangement(spot(16, 16, 10, 2)[None], box(16, 16, 1, 9)[None])
    new = made.of(x)
    assert made.shifts.tolist() == [[-9, 7]]
    assert torch.equal(new[:, 1:5, 9:13], x[:, 10:14, 2:6]), "the piece, whole"
    assert torch.equal(new[:, 10:14, 2:6], x[:, 1:5, 9:13]), "what stood there takes its place"
    untouched = (spot(16, 16, 10, 2) + box(16, 16, 1, 9)) == 0
    assert torch.equal(new[:, untouched], x[:, untouched])


def test_an_object_that_begins_in_its_place_stays():
    made = arrangement(spot(16, 16, 3, 3)[None], box(16, 16, 3, 3)[None])
    assert made.source.tolist() == list(range(256)) and not made.shifts.any()


def test_objects_do_not_take_the_same_piece():
    """Both begin in one spot: the larger place has it, the other object the next best."""
    maps = torch.stack([spot(16, 16, 6, 6), spot(16, 16, 6, 6) + 0.5 * spot(16, 16, 0, 0)])
    regions = torch.stack([box(16, 16, 11, 0, 5), box(16, 16, 12, 12)])
    x = latents(1)[0]
    made = arrangement(maps, regions)
    assert torch.equal(made.of(x)[:, 12:16, 12:16], x[:, 0:4, 0:4])
    assert x[0, 7, 7] in made.of(x)[0, 11:16, 0:5]


def test_a_region_of_any_shape_takes_a_piece_of_that_shape():
    region = torch.triu(torch.ones(4, 4))
    regions, maps = torch.zeros(1, 16, 16), torch.zeros(1, 16, 16)
    regions[0, 2:6, 2:6] = region
    maps[0, 9:13, 8:12] = region
    x = latents(1)[0]
    new = arrangement(maps, regions).of(x)
    assert torch.equal(new[:, 2:6, 2:6][:, region > 0], x[:, 9:13, 8:12][:, region > 0])


def test_an_arranger_acts_once_and_each_image_by_its_own_maps():
    arranger = LatentArranger(InitialEditing(), make_targets(), LAYOUT)
    assert [arranger.due(progress) for progress in (0.0, 0.05, 0.08, 0.3, 0.6)] == [False, False, True, True, False]
    left, right = spot(16, 16, 0, 0, 6), spot(16, 16, 0, 10, 6)
    maps = torch.stack([torch.stack([left, right]), torch.stack([right, left])])
    x = latents(2)
    new = arranger.step(x, 2, 0.1, maps)
    assert not arranger.due(0.1) and arranger.log[0].names == NAMES and not arranger.log[0].skipped
    assert torch.equal(new[0, :, 4:12, :8].flatten(1).sort().values, x[0, :, :8, :8].flatten(1).sort().values)
    assert torch.equal(new[1, :, 4:12, :8].flatten(1).sort().values, x[1, :, :8, 8:].flatten(1).sort().values)
    assert arranger.log[0].shifts.shape == (2, 2, 2)


def test_without_maps_or_places_nothing_is_moved():
    x = latents(1)
    arranger = LatentArranger(InitialEditing(), make_targets(), LAYOUT)
    assert arranger.step(x, 0, 0.2, None) is x and "not begun from noise" in arranger.log[0].skipped[0]
    assert arranger.due(0.3) is False
    arranger = LatentArranger(InitialEditing(), make_targets(), Layout((), 128, 128))
    assert arranger.step(x, 1, 0.2, torch.rand(1, 2, 16, 16)) is x and not arranger.log[0].skipped


def test_a_run_that_begins_from_noise_waits_for_its_first_map():
    arranger = LatentArranger(InitialEditing(InitialEditingSettings(start=0.0)), make_targets(), LAYOUT)
    x = latents(1)
    assert arranger.due(0.0) and arranger.step(x, 0, 0.0, None) is x and not arranger.log
    maps = torch.stack([spot(16, 16, 0, 10, 6), spot(16, 16, 0, 0, 6)])[None]
    assert arranger.due(0.25) and not torch.equal(arranger.step(x, 1, 0.25, maps), x)


def test_an_object_without_words_of_its_own_has_no_piece():
    """Its name was cut off: its place stays as it is, and the other's map is still the right one."""
    nameless = OBJECTS[0].__class__("car", "black car", (), OBJECTS[0].attributes)
    maps = spot(16, 16, 0, 0, 6)[None]  # of the clock alone
    made = InitialEditing().arrange(maps, make_targets((nameless, OBJECTS[1])), LAYOUT, (16, 16))
    assert not made.shifts[0].any() and made.shifts[1].any()


def test_bad_combinations_are_refused():
    with pytest.raises(MethodError, match="Two of the combined methods rearrange the noise"):
        CombinedMethods([(InitialEditing(), 1.0), (InitialEditing(), 1.0)])
    assert not InitialEditing().applies(make_targets(())) and "no object" in InitialEditing().check(make_targets(()))[0]
