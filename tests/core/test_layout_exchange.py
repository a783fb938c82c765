"""Layouts from the host's canvas, from JSON and from masks, and back; every mistake has its sentence."""

import json

import pytest
import torch
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.layout import from_boxes, from_masks, solve, to_boxes, to_elements
from prompt_fidelity.core.prompt.targets import Relation, Target, Targets

CAR, CLOCK = Target("car", "black car", (3,)), Target("clock", "white clock", (7,))
TARGETS = Targets("a black car and a white clock", (CAR, CLOCK), (Relation(0, "left of", 1),), (), (), 77, 77)
ONE = Targets("a clock", (CLOCK,), (), (), (), 77, 77)
LEFT = {"bbox": [100, 50, 900, 450], "desc": ""}
RIGHT = {"bbox": [200, 500, 800, 1000], "desc": ""}


def edges(layout, target):
    box = layout.of(target).box
    return tuple(round(edge, 3) for edge in (box.left, box.top, box.right, box.bottom))


def test_there_and_back_through_every_form():
    layout = solve(TARGETS, 768, 512)
    for sent in (to_elements(layout), to_boxes(layout), json.dumps(to_elements(layout)), json.dumps(to_boxes(layout))):
        back = from_boxes(sent, TARGETS, 768, 512)
        assert [p.name for p in back.placements] == ["black car", "white clock"]
        assert back.relations == TARGETS.relations
        for target in (0, 1):
            assert edges(back, target) == pytest.approx(edges(layout, target), abs=2e-3)


def test_the_canvas_without_descriptions_goes_by_order():
    layout = from_boxes(
        [[{"x": 10, "y": 20, "width": 100, "height": 50}, {"x": 200, "y": 0, "width": 56, "height": 128}]],
        TARGETS,
        256,
        128,
    )
    assert edges(layout, 0) == pytest.approx((10 / 256, 20 / 128, 110 / 256, 70 / 128), abs=1e-3)
    assert edges(layout, 1) == pytest.approx((200 / 256, 0, 1, 1), abs=1e-3)


@pytest.mark.parametrize("name", ["white clock", "Clock", "the clocks", "a white clock"])
def test_a_described_box_goes_to_its_object(name):
    layout = from_boxes([{**LEFT, "desc": name}, RIGHT], TARGETS, 512, 512)
    assert edges(layout, 1) == (0.05, 0.1, 0.45, 0.9) and edges(layout, 0) == (0.5, 0.2, 1.0, 0.8)


def test_not_every_object_needs_a_place_and_no_box_is_no_layout():
    layout = from_boxes([LEFT], TARGETS, 512, 512)
    assert [p.target for p in layout.placements] == [0] and layout.of(1) is None
    assert from_boxes("  ", TARGETS, 512, 512).placements == from_boxes(None, TARGETS, 512, 512).placements == ()
    assert from_boxes({"x": 0, "y": 0, "width": 8, "height": 8}, TARGETS, 16, 16).of(0).box.right == 0.5


@pytest.mark.parametrize(
    "data, targets, sentence",
    [
        ([LEFT, RIGHT], ONE, "2 boxes but only 1 object.*white clock"),
        ([{**LEFT, "desc": "dog"}], TARGETS, '"dog", which is not an object of the prompt.*black car, white clock'),
        ([{**LEFT, "desc": "car"}, {**RIGHT, "desc": "black car"}], TARGETS, 'two boxes for "black car"'),
        ([{"x": 300, "y": 0, "width": 300, "height": 10}], TARGETS, "outside the picture.*512 × 512"),
        ([{"x": -30, "y": 0, "width": 300, "height": 10}], TARGETS, "outside the picture"),
        ([{"x": 3, "y": 3, "width": 0, "height": 10, "metadata": {"desc": "car"}}], TARGETS, '"car".*is empty'),
        ([{"x": 3, "y": 3}], TARGETS, "no readable edges"),
        ([{"bbox": [1, 2, 3]}], TARGETS, "no readable edges"),
        (["car"], TARGETS, "not a box but 'car'"),
        ("[{]", TARGETS, "not valid JSON"),
        (7, TARGETS, "must be a list, not int"),
    ],
)
def test_a_mistake_in_boxes_has_its_sentence(data, targets, sentence):
    with pytest.raises(MethodError, match=sentence):
        from_boxes(data, targets, 512, 512)


def masks():
    both = torch.zeros(2, 32, 64)
    both[0, 8:16, 0:16] = 1.0
    both[1, 0:32, 32:48] = 0.5
    return both


def test_masks_give_boxes_around_them_and_stay_soft():
    layout = from_masks(masks(), TARGETS)
    assert (layout.width, layout.height) == (64, 32)
    assert edges(layout, 0) == (0.0, 0.25, 0.25, 0.5) and edges(layout, 1) == (0.5, 0.0, 0.75, 1.0)
    assert float(layout.of(1).mask.max()) == 0.5
    named = from_masks(masks(), TARGETS, "clock, car")
    for comma in "，、；;\n":
        assert from_masks(masks(), TARGETS, f"clock{comma}car").placements[0].name == named.placements[0].name
    assert edges(named, 1) == edges(layout, 0)
    assert edges(from_masks(masks()[0], TARGETS, "clock"), 1) == edges(layout, 0)


@pytest.mark.parametrize(
    "change, targets, names, sentence",
    [
        (lambda m: m, ONE, "", "2 masks but only 1 object"),
        (lambda m: m * torch.tensor([1.0, 0.0])[:, None, None], TARGETS, "", r'Mask 2 \("white clock"\) is empty'),
        (lambda m: m, TARGETS, "clock, dog", '"dog", which is not an object'),
        (lambda m: m, TARGETS, "clock", "1 name for 2 masks"),
        (lambda m: m, TARGETS, "clock, clock", 'two masks for "clock"'),
    ],
)
def test_a_mistake_in_masks_has_its_sentence(change, targets, names, sentence):
    with pytest.raises(MethodError, match=sentence):
        from_masks(change(masks()), targets, names)
