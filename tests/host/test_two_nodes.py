"""Two Apply nodes on one model, each with a method of its own kind and blocks of its own, in either order."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from hostkit import encoded, latent_of, models, sample
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import LATENT, PREDICTION
from prompt_fidelity.host.sampling.install import attach

LAYOUT = Layout(
    (Placement(0, "black car", Box(0.0, 0.1, 0.4, 0.7)), Placement(1, "white clock", Box(0.5, 0.4, 1.0, 0.9))), 192, 128
)
KINDS = {
    "latent": ("attend_and_excite", {"acts_on": LATENT, "refine_steps": 0, "refine_at": (), "end": 1.0}),
    "prediction": ("layout_guidance", {"acts_on": PREDICTION, "refine_steps": 0, "refine_at": (), "end": 1.0}),
    "edit": ("attention_regulation", {"end": 1.0, "iterations": 3}),
    "mix": ("space_time", {}),
    "noise": ("initial_editing", {}),
}


def with_method(model, kind: str, blocks: str):
    name, settings = KINDS[kind]
    method = METHODS[name]()
    method = type(method)(replace(method.settings, **settings))
    layout = LAYOUT if method.takes_layout else None
    return attach(model, method, encoded("flux")[1], layout=layout, blocks=blocks)


@pytest.mark.parametrize(("first", "second"), list(permutations(KINDS, 2)))
def test_both_act(first, second):
    """Neither hears the other's attention for the network's own, nor hides from it."""
    inner, one = with_method(models("flux")[0], first, "auto")
    outer, other = with_method(inner, second, "all")
    drawn = sample(outer, "flux", size=latent_of("flux"), steps=3)
    assert one.acted and other.acted and not one.warnings and not other.warnings
    assert torch.isfinite(drawn).all()
    for record in (one, other):
        assert not any(entry.skipped for entry in (*record.steps, *record.edits, *record.mixes, *record.arranged))
        assert record.maps.steps == 3
