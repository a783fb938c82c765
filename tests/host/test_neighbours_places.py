"""Where things are, beside tiles, windows and areas: in the picture, not in the part that a call shows."""

import neighbours
import node_helpers
import pytest
import torch
from beside import (
    LEFT,
    RIGHT,
    acting,
    area,
    every_family,
    percent,
)
from hostkit import encoded, models, noise, sample
from prompt_fidelity.core.layout import Box
from prompt_fidelity.host.networks.edits import IN_PARTS

IN_PARTS_OF_THE_PICTURE = {
    "tiles": lambda m: neighbours.tiles(m, 8),
    "tiles side by side": lambda m: neighbours.tiles(m, 8, together=4),
    "windows": lambda m: neighbours.windows(m, 8, 0, dim=3),
}


@every_family
@pytest.mark.parametrize("parts", IN_PARTS_OF_THE_PICTURE)
def test_a_layout_is_the_pictures_and_not_each_tiles(parts, family):
    """One step: each tile of the prediction knows of its own pixels alone."""
    model = models(family)[0]
    in_parts = IN_PARTS_OF_THE_PICTURE[parts](neighbours.windows(model, 99, 0, dim=3))
    if parts == "windows":  # without the host's extra column before each window, so that the cut is clean
        in_parts.model_options["context_handler"].causal_window_fix = False
    controlled, record = acting("space_time", family, model=in_parts, boxes=(LEFT,))
    drawn, plain = (sample(one, family, steps=1) for one in (controlled, in_parts))
    assert torch.equal(drawn[..., 8:], plain[..., 8:])
    for rows in (slice(0, 8), slice(8, 16)):
        assert not torch.equal(drawn[..., rows, :8], plain[..., rows, :8])
    assert record.mixes[0].layers and record.mixes[0].unconditional


def of_one_size(family):
    """The prompt with the picture's size told as one and the same (SDXL is told it, else that of the latent)."""
    sizes = {"width": 256, "height": 256, "target_width": 256, "target_height": 256}
    return node_helpers.conditioning_set_values(encoded(family)[0], sizes)


@every_family
def test_a_tile_is_mixed_as_the_pictures_crop(family):
    """An object's halves, each in its tile, are those of a picture that is the tile, with that part of the box."""
    model = models(family)[0]
    start = noise(1, 4, 32, 32, seed=5)
    settings = {"region": "box"}
    tiled, _ = acting(
        "space_time", family, model=neighbours.tiles(model, 16), boxes=(Box(0.25, 0.0, 0.75, 1.0),), settings=settings
    )
    how = {"positive": of_one_size(family), "steps": 1, "cfg": 1.0}
    drawn = sample(tiled, family, start=start, **how)
    for x, box in ((0, Box(0.5, 0.0, 1.0, 1.0)), (16, Box(0.0, 0.0, 0.5, 1.0))):
        alone, _ = acting("space_time", family, model=model, boxes=(box,), settings=settings)
        part = sample(alone, family, start=start[..., :16, x : x + 16].contiguous(), **how)
        torch.testing.assert_close(drawn[..., :16, x : x + 16], part, rtol=1e-3, atol=1e-3)


@every_family
@pytest.mark.parametrize("cut", [area, lambda prompt, *_: percent(prompt, 0.5, 1.0, 0.5, 0.0)])
def test_a_prompt_in_the_right_half_is_not_moved_by_boxes_in_the_left(cut, family):
    model = models(family)[0]
    positive = cut(encoded(family)[0], 64, 128, 64, 0) + encoded(family, "a photo")[0]
    plain = sample(model, family, positive=positive, steps=3)
    there, _ = acting("space_time", family, model=model, boxes=(LEFT,))
    assert torch.equal(sample(there, family, positive=positive, steps=3), plain)
    here, record = acting("space_time", family, model=model, boxes=(RIGHT,))
    assert not torch.equal(sample(here, family, positive=positive, steps=3), plain)
    assert all(entry.unconditional for entry in record.mixes)


@every_family
def test_maps_go_to_their_place_in_the_picture(family):
    model, start = models(family)[0], noise(1, 4, 32, 32, seed=5)
    of = {"family": family, "settings": {"resolution": "1/2"}, "strength": 0.0}
    recording, record = acting("attend_and_excite", model=neighbours.tiles(model, 16, together=2), **of)
    how = {"positive": of_one_size(family), "steps": 1, "cfg": 1.0}
    sample(recording, family, start=start, **how)
    assert record.maps.mean.shape[-2:] == (16, 16)
    for y, x in ((0, 0), (0, 16), (16, 0), (16, 16)):
        alone, of_tile = acting("attend_and_excite", model=model, **of)
        sample(alone, family, start=start[..., y : y + 16, x : x + 16].contiguous(), **how)
        where = (..., slice(y // 2, y // 2 + 8), slice(x // 2, x // 2 + 8))
        torch.testing.assert_close(record.maps.mean[where], of_tile.maps.mean, rtol=1e-3, atol=1e-5)


@every_family
def test_the_maps_of_an_area_lie_in_it(family):
    positive = area(encoded(family)[0], 64, 128, 64, 0) + encoded(family, "a photo")[0]
    recording, record = acting("attend_and_excite", family, model=models(family)[0], strength=0.0)
    sample(recording, family, positive=positive, steps=2)
    half = record.maps.mean.shape[-1] // 2
    assert not record.maps.mean[..., :half].any() and record.maps.mean[..., half:].all()


@every_family
def test_a_loss_moves_every_part_of_the_picture(family):
    """Its gradient comes from all tiles and all areas that the prompt is in, not from the first of them."""
    model = models(family)[0]
    two = area(encoded(family)[0], 64, 128, 0, 0) + area(encoded(family)[0], 64, 128, 64, 0)
    of = {"settings": {"smooth": True}, "strength": 5.0}
    for in_parts, positive in ((neighbours.tiles(model, 8), None), (model, two)):
        controlled, record = acting("t_sam", family, model=in_parts, **of)
        moved = sample(controlled, family, positive=positive, steps=1) - sample(
            in_parts, family, positive=positive, steps=1
        )
        assert record.updates == 1
        assert all(moved[..., x : x + 8].abs().max() > 1e-6 for x in (0, 8))


def test_guidance_in_windows_after_the_step_is_not_recorded_again():
    guided = neighbours.sliding_window_guidance(models("sd1")[0], 8)
    maps = []
    for model in (guided, models("sd1")[0]):
        recording, record = acting("attend_and_excite", model=model, strength=0.0)
        sample(recording, steps=1)
        maps.append(record.maps.mean)
    assert torch.equal(*maps)


def test_regulation_says_that_it_works_in_each_tile():
    tiled, record = acting("attention_regulation", model=neighbours.tiles(models("sd1")[0], 8))
    sample(tiled, steps=2)
    sentence = IN_PARTS.format("Attention Regulation")
    assert record.warnings.count(sentence) == 1
    positive = area(encoded("sd1")[0], 64, 128, 64, 0) + encoded("sd1", "a photo")[0]
    whole, record = acting("attention_regulation", model=models("sd1")[0])
    sample(whole, positive=positive, steps=2)
    assert sentence not in record.warnings
