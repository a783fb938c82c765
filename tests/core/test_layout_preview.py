"""The picture of a layout: its shape, its colours where the boxes are, and text that is large enough."""

import pytest
import torch
from prompt_fidelity.core.drawing import LINE_COLOURS
from prompt_fidelity.core.layout import Layout, from_masks, solve
from prompt_fidelity.core.layout.preview import preview
from prompt_fidelity.core.prompt.targets import Relation, Target, Targets

NAMES = ("black car", "white clock", "very large dog with a long description")
TARGETS = Targets(
    "",
    tuple(Target(n, n, (i,)) for i, n in enumerate(NAMES)),
    (Relation(0, "left of", 1), Relation(2, "on", 1)),
    (),
    (),
    77,
    77,
)


@pytest.mark.parametrize("size", [(512, 512), (1024, 256), (256, 1024), (4096, 256), (64, 64)])
def test_any_aspect_ratio_is_drawn_with_room_for_the_relations(size):
    picture = preview(solve(TARGETS, *size))
    bare = preview(Layout(solve(TARGETS, *size).placements, *size))
    assert picture.shape[0] == 1 and picture.shape[3] == 3 and 0 <= float(picture.min()) and float(picture.max()) <= 1
    _, height, width, _ = bare.shape
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02) and min(width, height) >= 256
    # Two lines of text at least 15 pixels high, below the same boxes.
    assert picture.shape[2] == width and picture.shape[1] >= height + 2 * 15


def test_boxes_are_where_they_are_said_to_be():
    layout = solve(TARGETS, 512, 512)
    picture = preview(Layout(layout.placements, 512, 512))[0]
    side = picture.shape[0]
    for placement in layout.placements:
        colour = torch.tensor(LINE_COLOURS[placement.target]) / 255
        row, column = round(placement.box.centre[1] * side), round(placement.box.right * side) - 2
        assert torch.allclose(picture[row, column], colour, atol=0.02)
        inside = picture[round((placement.box.bottom - 0.02) * side), round(placement.box.centre[0] * side)]
        assert not torch.allclose(inside, picture[-1, -1], atol=0.02)


def test_masks_are_shown_as_they_are_over_the_picture():
    mask = torch.zeros(1, 64, 64)
    mask[0, 16:48, 16:48] = torch.eye(32)
    layout = from_masks(mask, TARGETS)
    plain, over = preview(layout), preview(layout, torch.zeros(32, 32, 3))
    assert plain.shape == over.shape and float(over[0, -200, 5].mean()) < float(plain[0, -200, 5].mean())
