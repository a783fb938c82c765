"""Losses that take a layout, in the host: both ways of acting, beside Space-Time, in areas and masks, and bad input."""

from dataclasses import replace

import pytest
import torch
from hostkit import encoded, models, noise, patched, sample
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.layout import Box, Layout, Placement, solve
from prompt_fidelity.core.methods import BoxDiff, LayoutGuidance, SpaceTime
from prompt_fidelity.core.methods.combined import CombinedMethods
from prompt_fidelity.core.show.report import report
from prompt_fidelity.host.sampling.install import attach

NAMES = ("black car", "white clock")
LAYOUT = Layout(
    tuple(Placement(i, name, Box(0.5 * i, 0.1, 0.5 + 0.5 * i, 0.9)) for i, name in enumerate(NAMES)), 128, 128
)
MIRRORED = replace(
    LAYOUT, placements=tuple(replace(p, box=Box(0.5 - p.box.left, 0.1, 1 - p.box.left, 0.9)) for p in LAYOUT.placements)
)
QUICK = {"refine_steps": 0, "end": 0.6, "step_size": 5.0}
both = pytest.mark.parametrize("method", [LayoutGuidance, BoxDiff])
ways = pytest.mark.parametrize("acts_on", ["latent", "prediction"])


def chosen(method, acts_on="latent"):
    return method(replace(method().settings, acts_on=acts_on, **QUICK))


def drawn(method, layout=LAYOUT, **options):
    with torch.inference_mode():
        model, record = attach(models("sd1")[0], method, encoded("sd1")[1], layout=layout)
    return sample(model, **options), record


@both
@ways
def test_where_the_boxes_are_matters(method, acts_on):
    one, record = drawn(chosen(method, acts_on))
    other, _ = drawn(chosen(method, acts_on), MIRRORED)
    assert record.updates > 0 and not record.warnings and record.steps[0].names == NAMES
    assert not torch.equal(one, other) and not torch.equal(one, sample(models("sd1")[0]))


@ways
def test_beside_space_time_both_have_the_layout(acts_on):
    both_, record = drawn(CombinedMethods([(SpaceTime(), 1.0), (chosen(LayoutGuidance, acts_on), 1.0)]))
    assert record.mixes and record.updates > 0 and record.mixes[0].names == NAMES
    assert not torch.equal(both_, drawn(SpaceTime())[0])
    text = report(record)
    assert "Does each object stand in its place?" in text
    assert all(f"  {name}: " in text for name in NAMES)


@both
def test_without_a_layout_the_artist_is_told_and_the_solver_places_the_objects(method):
    one, record = drawn(chosen(method), None, size=(1, 4, 16, 24))
    assert "No layout is connected" in record.warnings[0]
    with torch.inference_mode():
        layout = solve(encoded("sd1")[1], 192, 128)
    assert torch.equal(one, drawn(chosen(method), layout, size=(1, 4, 16, 24))[0])
    assert record.layout == layout


@both
def test_a_layout_of_other_objects_is_refused_and_an_empty_one_changes_nothing(method):
    other = replace(LAYOUT, placements=(Placement(0, "red cat", Box(0, 0, 1, 1)),))
    with pytest.raises(MethodError, match='a place for "red cat", which these targets do not hold'):
        drawn(chosen(method), other)
    plain, record = drawn(chosen(method), replace(LAYOUT, placements=()))
    assert torch.equal(plain, sample(models("sd1")[0])) and "a place for none" in record.warnings[0]


@both
@ways
def test_an_area_is_judged_by_what_of_the_layout_lies_in_it(monkeypatch, method, acts_on):
    """The prompt in force in the right half: the maps are that half's, and so are the boxes."""
    conditioning = [[encoded("sd1")[0][0][0], {**encoded("sd1")[0][0][1], "area": (16, 8, 0, 8), "strength": 1.0}]]
    seen = []
    loss_at = method.loss_at

    def noted(self, maps, targets, view):
        seen.append((maps.shape[2], view))
        return loss_at(self, maps, targets, view)

    monkeypatch.setattr(method, "loss_at", noted)
    _, record = drawn(chosen(method, acts_on), positive=conditioning)
    assert record.updates > 0
    for width, view in seen:
        across = view.across
        assert (across.shown[0], len(across.shown)) == (across.count // 2, width)
        assert view.down.is_whole


@both
@ways
def test_inpainting_and_a_batch(method, acts_on):
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, :] = 1.0
    latent, record = drawn(
        chosen(method, acts_on), size=(2, 4, 16, 16), noise_mask=mask, latent=noise(2, 4, 16, 16, seed=9)
    )
    assert latent.isfinite().all() and record.updates > 0 and record.steps[0].first.shape == (2, 2)
    assert "in " in report(record).split("Does each object stand")[1].split("black car:")[1].splitlines()[0]


def test_nothing_is_said_of_places_without_a_layout():
    model, record = patched("sd1", "t_sam", strength=0.0)
    sample(model)
    assert "Does each object stand" not in report(record)
