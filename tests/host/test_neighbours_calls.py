"""Beside packs and host features that change a call's rows, tokens, sizes or what it shows of the picture."""

import functools
import itertools

import neighbours
import pytest
import torch
from beside import (
    FAMILIES,
    LEFT_OUT,
    METHODS,
    NEIGHBOURS,
    acting,
    drawing,
    every_family,
    every_method,
    in_force,
    looks_at,
)
from covering import every_two
from hostkit import models, sample
from prompt_fidelity.core.methods.base import ACTS_ON
from prompt_fidelity.core.show.report import report


@functools.cache
def drawn_beside(neighbour, family):
    """(model with the neighbour, how a picture is drawn with it, that picture without us)."""
    model, positive = (NEIGHBOURS.get(neighbour) or LEFT_OUT[neighbour][0])(family)
    how = drawing(neighbour, family, positive)
    return model, how, sample(model, **how)


@every_family
@pytest.mark.parametrize("neighbour", [*NEIGHBOURS, *LEFT_OUT])
def test_recording_changes_nothing_and_stops_nothing(neighbour, family):
    model, how, plain = drawn_beside(neighbour, family)
    recording, record = acting("attend_and_excite", family, model=model, strength=0.0, settings=looks_at(neighbour))
    assert torch.equal(sample(recording, **how), plain)
    if neighbour in NEIGHBOURS:
        assert record.maps.steps == 4 and record.maps.mean.shape[0] == how["size"][0] and not record.warnings
        assert bool((record.maps.mean > 0).all()) == ("area" not in neighbour)  # nothing outside an area
    else:
        assert LEFT_OUT[neighbour][1] in record.warnings and LEFT_OUT[neighbour][1] in report(record)


@pytest.mark.parametrize(("neighbour", "method", "family"), every_two(NEIGHBOURS, METHODS, FAMILIES))
def test_every_method_acts_beside_it(neighbour, method, family):
    model, how, plain = drawn_beside(neighbour, family)
    controlled, record = acting(method, family, model=model, settings=looks_at(neighbour))
    drawn = sample(controlled, **how)
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, plain)
    assert in_force(record) and not any(entry.skipped for entry in (*record.steps, *record.edits, *record.mixes))


@every_family
@pytest.mark.parametrize("acts_on", ACTS_ON)
def test_tiles_that_switch_gradients_off_are_moved_like_those_that_do_not(acts_on, family):
    """Step after step, though the canvas that they keep is an inference tensor."""
    model, settings = models(family)[0], {"acts_on": acts_on}
    pictures = []
    for tiled in (neighbours.tiles(model, 8), neighbours.tiles_without_gradients(model, 8)):
        controlled, record = acting("attend_and_excite", family, model=tiled, settings=settings)
        pictures.append(sample(controlled, family, steps=4))
        assert record.updates > 1
        assert not getattr(tiled.model_options["model_function_wrapper"], "canvas", torch.zeros(1)).requires_grad
    torch.testing.assert_close(*pictures, rtol=1e-4, atol=1e-4)


# A mixture of outputs does not look at the tokens.
@pytest.mark.parametrize(
    ("neighbour", "method"),
    [pair for pair in itertools.product(LEFT_OUT, METHODS) if pair != ("fewer tokens", "space_time")],
)
def test_what_cannot_be_understood_is_left_out_and_told(neighbour, method):
    sentence = LEFT_OUT[neighbour][1]
    model, how, plain = drawn_beside(neighbour, "sd1")
    controlled, record = acting(method, model=model)
    if method == "space_time":  # the layer's rows are taken together again, but its inputs are not understood
        assert torch.equal(sample(controlled, **how), plain)
    else:
        torch.testing.assert_close(sample(controlled, **how), plain)
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
