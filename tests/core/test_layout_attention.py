"""Layouts from attention maps: near their centres of mass, apart from each other, within the relations."""

import pytest
import torch
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.layout.from_attention import assign, centres_of_mass, from_attention
from prompt_fidelity.core.prompt.targets import Relation, Target, Targets


def targets_of(*names, relations=()):
    objects = tuple(Target(name, name, (i,)) for i, name in enumerate(names))
    return Targets("", objects, tuple(Relation(*r) for r in relations), (), (), 77, 77)


def hill(x, y, h=16, w=24, width=0.15):
    """A map with a peak at (x, y), on the broad rise that early maps share."""
    columns, rows = (torch.arange(w) + 0.5) / w, (torch.arange(h) + 0.5) / h
    near = torch.exp(-((columns[None] - x) ** 2 + (rows[:, None] - y) ** 2) / (2 * width**2))
    rise = torch.exp(-((columns[None] - 0.5) ** 2 + (rows[:, None] - 0.5) ** 2))
    return 0.02 * near + 0.1 * rise


def test_objects_that_are_seen_apart_stay_where_they_are_seen():
    maps = torch.stack([hill(0.2, 0.3), hill(0.8, 0.6)])
    centres = torch.as_tensor(centres_of_mass(maps))
    torch.testing.assert_close(centres, torch.tensor([[0.2, 0.3], [0.8, 0.6]]).double(), rtol=0, atol=0.07)
    layout = from_attention(maps, targets_of("cat", "dog"), 768, 512)
    assert layout.of(0).box.centre[0] < 0.35 and layout.of(1).box.centre[0] > 0.65


def test_objects_that_are_seen_in_one_place_get_places_of_their_own():
    maps = torch.stack([hill(0.5, 0.5), hill(0.5, 0.5), hill(0.5, 0.5)])
    layout = from_attention(maps, targets_of("cat", "dog", "bird"), 512, 512)
    boxes = [p.box for p in layout.placements]
    assert max(boxes[i].shared(boxes[j]) for i in range(3) for j in range(i)) < 0.01


@pytest.mark.parametrize("predicate", ["left of", "right of", "above", "below", "on"])
def test_a_relation_wins_over_what_the_model_sees(predicate):
    relation = Relation(0, predicate, 1)
    axis, sign = relation.axis
    against = {
        "x": ((0.5 + sign * -0.25, 0.5), (0.5 + sign * 0.25, 0.5)),
        "y": ((0.5, 0.5 + sign * -0.25), (0.5, 0.5 + sign * 0.25)),
    }[axis]
    maps = torch.stack([hill(*against[0]), hill(*against[1])])
    targets = targets_of("cat", "dog", relations=[(0, predicate, 1)])
    layout = from_attention(maps, targets, 768, 512)
    assert layout.holds(relation)
    centres = assign(maps, targets, 768, 512)
    assert (centres[0] - centres[1])[0 if axis == "x" else 1] * sign > 0


def test_the_layout_repeats_and_one_object_stays_put():
    maps = torch.stack([hill(0.3, 0.6)])
    layout = from_attention(maps, targets_of("cat"), 512, 512)
    assert layout == from_attention(maps, targets_of("cat"), 512, 512)
    assert layout.of(0).box.centre[0] < 0.45 and layout.of(0).box.centre[1] > 0.5
    assert from_attention(maps[:0], targets_of(), 512, 512).placements == ()


def test_maps_of_other_objects_are_refused():
    with pytest.raises(MethodError, match="maps of 1 objects, but the prompt has 2"):
        from_attention(torch.ones(1, 4, 4), targets_of("cat", "dog"), 512, 512)
