"""Whose rows and whose tokens, beside packs that add, drop or repeat them."""

import neighbours
import pytest
import torch
from beside import (
    SIZE,
    acting,
    every_method,
    in_force,
    negative_of,
)
from hostkit import encoded, models, noise, sample
from prompt_fidelity.host.networks.calls import Call, Chunk


# By turns: which rows are whose does not depend on the network.
@pytest.mark.parametrize(
    ("method", "family"), [("attend_and_excite", "sd1"), ("attention_regulation", "sdxl"), ("space_time", "sd1")]
)
def test_windows_over_the_batch_give_what_the_batch_gives(method, family):
    with torch.inference_mode():
        model = models(family, torch.float64)[0]
    size = (4, 4, 16, 16)
    together, _ = acting(method, family, model=model)
    windowed, record = acting(method, family, model=neighbours.windows(model, 2, 0, dim=0))
    drawn, expected = (sample(one, family, size=size, steps=4) for one in (windowed, together))
    assert in_force(record)
    assert (drawn - expected).abs().max() <= 1e-4 * expected.std()


@pytest.mark.parametrize(("method", "family"), [("attention_regulation", "sd1"), ("space_time", "sdxl")])
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
