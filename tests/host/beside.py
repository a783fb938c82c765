"""Neighbours that change a call's rows, tokens, sizes or what it shows, and methods to act beside them."""

import comfy.samplers
import neighbours
import node_helpers
import pytest
import torch
from hostkit import encoded, models, patched
from prompt_fidelity.core.layout import Box, Layout, Placement
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
    "tiles that switch gradients off": of_model(lambda m: neighbours.tiles_without_gradients(m, 8)),
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
