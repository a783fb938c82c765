"""Beside packs and host features that change a call's rows, tokens, sizes or what it shows of the picture."""

import comfy.samplers
import neighbours
import node_helpers
import pytest
import torch
from hostkit import encoded, models, noise, patched, sample
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.show.report import report
from prompt_fidelity.host.layout.early_attention import early_maps
from prompt_fidelity.host.networks.calls import Call, Chunk
from prompt_fidelity.host.networks.edits import IN_PARTS
from prompt_fidelity.host.networks.rows import UNKNOWN_ROWS, UNKNOWN_TOKENS

import nodes as host_nodes

FAMILIES = ("sd1", "sdxl")
METHODS = ("attend_and_excite", "attention_regulation", "space_time")
LEFT, RIGHT = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 1.0)
SIZE = (2, 4, 16, 16)
every_family = pytest.mark.parametrize("family", FAMILIES)
every_method = pytest.mark.parametrize("method", METHODS)


def placed(family, *boxes):
    objects = encoded(family)[1].objects
    return Layout(tuple(Placement(i, objects[i].phrase, box) for i, box in enumerate(boxes)), 128, 128)


def acting(method, family="sd1", *, model, boxes=(LEFT, RIGHT), strength=None, settings=None, **options):
    """(model with the method attached, record); small steps where a random network's loss is steep."""
    more = {"layout": placed(family, *boxes)} if method == "space_time" else {}
    strength = (0.05 if method == "attend_and_excite" else 1.0) if strength is None else strength
    settings = {"refine_steps": 0, **(settings or {})}
    return patched(family, method, model=model, strength=strength, settings=settings, **more, **options)


def in_force(record) -> bool:
    return bool(record.updates or record.edited() or any(entry.layers for entry in record.mixes))


def area(conditioning, width, height, x, y):
    return host_nodes.ConditioningSetArea().append(conditioning, width, height, x, y, 1.0)[0]


def percent(conditioning, width, height, x, y):
    return host_nodes.ConditioningSetAreaPercentage().append(conditioning, width, height, x, y, 1.0)[0]


def in_range(conditioning, start, end):
    return node_helpers.conditioning_set_values(conditioning, {"start_percent": start, "end_percent": end})


def of_model(change):
    return lambda family: (change(models(family)[0]), encoded(family)[0])


def of_prompt(change):
    return lambda family: (models(family)[0], change(encoded(family)[0], encoded(family, "a photo")[0]))


def couple(says_whose=True, mask=None):
    def of(family):
        mask_ = torch.cat([torch.zeros(16, 8), torch.ones(16, 8)], dim=1) if mask is None else mask
        region = encoded(family, "a photo of a dog")[0][0][0]
        return neighbours.attention_couple(models(family)[0], region, mask_, says_whose), encoded(family)[0]

    return of


def masked_area(prompt, other):
    mask = torch.zeros(16, 16)
    mask[4:12, 8:] = 1.0
    return host_nodes.ConditioningSetMask().append(prompt, mask, "mask bounds", 1.0)[0] + other


def longer_later(prompt, other):
    longer = host_nodes.ConditioningConcat().concat(prompt, other)[0]
    return in_range(prompt, 0.0, 0.25) + in_range(longer, 0.25, 1.0)


def shorter_later(prompt, other):
    longer = host_nodes.ConditioningConcat().concat(prompt, other)[0]
    return in_range(longer, 0.0, 0.25) + in_range(prompt, 0.25, 1.0)


NEIGHBOURS = {
    "deep shrink": of_model(neighbours.deep_shrink),
    "windows over the batch": of_model(lambda m: neighbours.windows(m, 1, 0, dim=0)),
    "windows over the width": of_model(lambda m: neighbours.windows(m, 8, 4, dim=3)),
    "windows over the height, in a loop": of_model(
        lambda m: neighbours.windows(m, 8, 4, 2, comfy.context_windows.ContextSchedules.UNIFORM_LOOPED, True)
    ),
    "tiles": of_model(lambda m: neighbours.tiles(m, 8)),
    "tiles side by side": of_model(lambda m: neighbours.tiles(m, 8, 4, together=4)),
    "tiles of a rolled latent": of_model(lambda m: neighbours.tiles(m, 8, roll=4)),
    "sliding window guidance": of_model(lambda m: neighbours.sliding_window_guidance(m, 8)),
    "attention couple": couple(),
    "negpip": lambda family: neighbours.negpip(models(family)[0], encoded(family)[0]),
    "an area": of_prompt(lambda prompt, other: area(prompt, 64, 128, 64, 0) + other),
    "an area in percent": of_prompt(lambda prompt, other: percent(prompt, 0.5, 0.75, 0.5, 0.25) + other),
    "a mask's area": of_prompt(masked_area),
    "two areas": of_prompt(lambda prompt, other: area(prompt, 64, 128, 0, 0) + area(prompt, 128, 64, 0, 64) + other),
    "longer for a part of the run": of_prompt(longer_later),
    "shorter for a part of the run": of_prompt(shorter_later),
}
LEFT_OUT = {
    "attention couple that does not say whose": (couple(says_whose=False), UNKNOWN_ROWS),
    "fewer tokens": (of_model(neighbours.fewer_tokens), UNKNOWN_TOKENS),
}
every_neighbour = pytest.mark.parametrize("neighbour", NEIGHBOURS)


def size_of(neighbour):
    """The host's own windows over height and width work for one image only: they cut the noise levels up as well."""
    return (1, *SIZE[1:]) if neighbour.startswith(("windows over the width", "windows over the height")) else SIZE


def looks_at(neighbour) -> dict:
    """Deep Shrink works at the levels below its block only."""
    return {"resolution": "1/4"} if neighbour == "deep shrink" else {}


def drawing(neighbour, family, positive):
    """How a picture is drawn beside it."""
    negative = negative_of(neighbour, family)
    return {"family": family, "positive": positive, "negative": negative, "size": size_of(neighbour), "steps": 4}


def negative_of(neighbour, family):
    """NegPip's encoder doubles the negative prompt as well."""
    negative = encoded(family, "")[0]
    return neighbours.negpip(models(family)[0], negative)[1] if neighbour == "negpip" else negative


@every_family
@pytest.mark.parametrize("neighbour", [*NEIGHBOURS, *LEFT_OUT])
def test_recording_changes_nothing_and_stops_nothing(neighbour, family):
    of = NEIGHBOURS.get(neighbour) or LEFT_OUT[neighbour][0]
    model, positive = of(family)
    how = drawing(neighbour, family, positive)
    recording, record = acting("attend_and_excite", family, model=model, strength=0.0, settings=looks_at(neighbour))
    assert torch.equal(sample(recording, **how), sample(model, **how))
    if neighbour in NEIGHBOURS:
        assert record.maps.steps == 4 and record.maps.mean.shape[0] == how["size"][0] and not record.warnings
        assert bool((record.maps.mean > 0).all()) == ("area" not in neighbour)  # nothing outside an area
    else:
        assert LEFT_OUT[neighbour][1] in record.warnings and LEFT_OUT[neighbour][1] in report(record)


@every_family
@every_method
@every_neighbour
def test_every_method_acts_beside_it(neighbour, method, family):
    model, positive = NEIGHBOURS[neighbour](family)
    how = drawing(neighbour, family, positive)
    controlled, record = acting(method, family, model=model, settings=looks_at(neighbour))
    drawn = sample(controlled, **how)
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, sample(model, **how))
    assert in_force(record) and not any(entry.skipped for entry in (*record.steps, *record.edits, *record.mixes))


@every_method
@pytest.mark.parametrize("neighbour", LEFT_OUT)
def test_what_cannot_be_understood_is_left_out_and_told(neighbour, method):
    of, sentence = LEFT_OUT[neighbour]
    model, positive = of("sd1")
    if neighbour == "fewer tokens" and method == "space_time":
        pytest.skip("a mixture of outputs does not look at the tokens")
    controlled, record = acting(method, model=model)
    how = {"positive": positive, "size": SIZE, "steps": 4}
    if method == "space_time":  # the layer's rows are taken together again, but its inputs are not understood
        assert torch.equal(sample(controlled, **how), sample(model, **how))
    else:
        torch.testing.assert_close(sample(controlled, **how), sample(model, **how))
    assert record.warnings.count(sentence) == 1 and sentence in report(record) and not in_force(record)


@every_method
def test_parts_that_nobody_can_place_are_left_out_and_told_by_name(method):
    model = neighbours.blurred_tiles(models("sd1")[0], 8)
    controlled, record = acting(method, model=model)
    drawn, plain = sample(controlled, steps=2), sample(model, steps=2)
    said = [sentence for sentence in record.warnings if "blurred_tiles" in sentence]
    assert said and len(said) == len(set(said)) and said[0] in report(record)
    if method != "attention_regulation":  # which looks at one part at a time anyway
        torch.testing.assert_close(drawn, plain)


# --- where things are ------------------------------------------------------------------------------------------------

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


# --- whose rows ------------------------------------------------------------------------------------------------------


@every_family
@every_method
def test_windows_over_the_batch_give_what_the_batch_gives(method, family):
    with torch.inference_mode():
        model = models(family, torch.float64)[0]
    size = (4, 4, 16, 16)
    together, _ = acting(method, family, model=model)
    windowed, record = acting(method, family, model=neighbours.windows(model, 2, 0, dim=0))
    drawn, expected = (sample(one, family, size=size, steps=4) for one in (windowed, together))
    assert in_force(record)
    assert (drawn - expected).abs().max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("method", ["attention_regulation", "space_time"])
@every_family
def test_beside_attention_couple_each_image_is_its_own(method, family):
    with torch.inference_mode():
        model = models(family, torch.float64)[0]
    region = encoded(family, "a photo of a dog")[0][0][0]
    coupled = neighbours.attention_couple(model, region, torch.cat([torch.zeros(16, 8), torch.ones(16, 8)], dim=1))
    controlled, record = acting(method, family, model=coupled)
    starts = noise(2, 4, 16, 16, seed=4)
    batch = sample(controlled, family, start=starts, steps=3)
    singles = torch.cat([sample(controlled, family, start=starts[i : i + 1], steps=3) for i in range(2)])
    assert in_force(record) and not torch.equal(batch, sample(coupled, family, start=starts, steps=3))
    assert (batch - singles).abs().max() <= 1e-4 * singles.std()


def test_the_regions_rows_of_attention_couple_are_left_alone():
    """Where the region's prompt is all there is, an edit of the base prompt's rows is not seen."""
    region = encoded("sd1", "a photo of a dog")[0][0][0]
    coupled = neighbours.attention_couple(models("sd1")[0], region, torch.ones(16, 16))
    controlled, record = acting("attention_regulation", model=coupled)
    assert torch.equal(sample(controlled, size=SIZE, steps=3), sample(coupled, size=SIZE, steps=3))
    assert record.edited()


# --- whose tokens ----------------------------------------------------------------------------------------------------


@every_method
def test_negpip_halves_the_tokens_and_nothing_else(method):
    model = models("sd1")[0]
    doubled, positive = neighbours.negpip(model, encoded("sd1")[0])
    controlled, record = acting(method, model=doubled)
    negative = negative_of("negpip", "sd1")
    # A first step: rounding of the other order of sums may not add up over several.
    drawn = sample(controlled, positive=positive, negative=negative, steps=1)
    own, expected = acting(method, model=model)
    torch.testing.assert_close(drawn, sample(own, steps=1), rtol=1e-3, atol=1e-3)
    assert in_force(record)
    torch.testing.assert_close(record.maps.mean, expected.maps.mean, rtol=1e-3, atol=1e-5)


def test_negpip_beside_a_longer_negative():
    model = models("sd1")[0]
    long = encoded("sd1", ", ".join(["blurry, low quality, jpeg artefacts, watermark, signature"] * 12))[0]
    shares = []
    for one, positive, negative in (
        (model, encoded("sd1")[0], long),
        (*neighbours.negpip(model, encoded("sd1")[0]), neighbours.negpip(model, long)[1]),
    ):
        controlled, record = acting("attention_regulation", model=one)
        sample(controlled, positive=positive, negative=negative, steps=1)
        shares.append(torch.stack([record.edits[0].before, record.edits[0].after]))
    torch.testing.assert_close(*shares, rtol=1e-3, atol=1e-5)


# --- sizes that change ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["attention_regulation", "space_time"])
def test_a_latent_that_grows_in_the_run(method):
    def grown(model):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(encoded("sd1")[0], encoded("sd1", "")[0])
        guider.set_cfg(5.0)
        sampler = comfy.samplers.KSAMPLER(neighbours.enlarging(2))
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 4)
        with torch.inference_mode():
            start = noise(1, 4, 16, 16)
            return guider.sample(start, torch.zeros_like(start), sampler, sigmas, disable_pbar=True, seed=0)

    controlled, record = acting(method, model=models("sd1")[0], settings={"end": 1.0})
    drawn = grown(controlled)
    assert drawn.shape[-2:] == (32, 32) and torch.isfinite(drawn).all() and in_force(record)
    recording, record = acting(method, model=models("sd1")[0], strength=0.0)
    assert torch.equal(grown(recording), grown(models("sd1")[0])) and record.maps.steps == 4


@every_family
def test_the_attention_predictor_beside_deep_shrink(family):
    with torch.inference_mode():
        shrunk = neighbours.deep_shrink(models(family)[0], end=0.1)
        positive, targets = encoded(family)
        maps = early_maps(shrunk, positive, targets, 384, 384, steps=5)
    assert maps.shape[0] == 2 and torch.isfinite(maps).all()


@pytest.mark.parametrize(
    ("kinds", "couple", "expected"),
    [
        ([1, 0], [1, 0, 0, 0], [slice(0, 2), slice(2, 4)]),
        ([0, 1], [0, 0, 1], [slice(0, 2), slice(4, 6)]),
        ([1, 0, 0], [1, 0, 0, 0, 0], [slice(0, 2), slice(2, 4), slice(6, 8)]),
        ([0], [0, 0], [slice(0, 2)]),
        ([1, 0, 0], [1, 0, 0, 0], None),  # three for two prompts: whose is the third?
        ([1, 0], [0, 1, 0], None),
    ],
)
def test_the_base_prompts_rows_are_the_first_of_its_share(kinds, couple, expected):
    chunks = [Chunk(slice(2 * i, 2 * i + 2), i, kind) for i, kind in enumerate(kinds)]
    call = Call((2 * len(kinds), 16, 16), chunks)
    assert call.rows_in_layer(2 * len(couple), {"cond_or_uncond_couple": couple}) == expected
    assert call.rows_in_layer(2 * len(kinds), {}) == [chunk.rows for chunk in chunks]
    assert call.rows_in_layer(2 * len(couple) + 1, {"cond_or_uncond_couple": couple}) is None
