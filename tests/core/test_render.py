import numpy as np
import pytest
import torch
from prompt_fidelity.core.control.record import Record
from prompt_fidelity.core.drawing import font, shortened
from prompt_fidelity.core.methods.attend_and_excite import AttendAndExcite
from prompt_fidelity.core.methods.t_sam import TSAM
from prompt_fidelity.core.show.plot import ticks
from prompt_fidelity.core.show.render import loss_plot, masks, side_by_side
from toy import make_targets, sample


def is_picture(image, *shape):
    return tuple(image.shape) == shape and image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1


def bright_spot(h=8, w=8, y=2, x=5):
    maps = torch.full((1, 1, h, w), 0.01)
    maps[0, 0, y, x] = 0.2
    return maps


@pytest.mark.parametrize(("h", "w"), [(8, 8), (5, 13), (1, 7), (1, 1)])
def test_masks_span_zero_to_one(h, w):
    result = masks(torch.rand(2, 3, h, w) * 0.02 + 0.4, (60, 44))
    assert result.shape == (6, 60, 44)
    assert result.min() >= 0 and result.max() <= 1
    if h * w > 1:
        assert (result.amax((1, 2)) > 0.9).all() and (result.amin((1, 2)) < 0.1).all()


def test_masks_are_where_the_map_is():
    mask = masks(bright_spot(y=2, x=5), (80, 80))[0]
    y, x = divmod(int(mask.argmax()), 80)
    assert (y // 10, x // 10) == (2, 5)
    assert mask[60:, :30].max() < 0.05
    assert not masks(torch.full((1, 1, 8, 8), 0.3), (80, 80)).any(), "a flat map is no mask"


@pytest.mark.parametrize(
    ("method", "batch", "steps"), [(TSAM, 1, 10), (AttendAndExcite, 3, 25), (TSAM, 1, 1), (TSAM, 1, 2)]
)
def test_loss_plot_draws_a_line_per_target(method, batch, steps):
    record = sample(method(), batch=batch, steps=steps)
    picture = loss_plot(record)
    assert is_picture(picture, 1, 540, 960, 3)
    for t in range(len(record.steps[0].names)):
        assert near(picture, LINES[t]) > 20


def test_loss_plot_size_and_line_height_follow_the_data():
    """A loss that falls to nothing ends at the axis; the line of one that stays does not."""
    record = sample(AttendAndExcite(), steps=20)
    for entry in record.steps:
        share = 1 - entry.index / (len(record.steps) - 1)
        entry.first = entry.last = torch.tensor([[share, 1.0]])
        entry.after = None
    picture = loss_plot(record, width=800, height=400)
    assert is_picture(picture, 1, 400, 800, 3)
    falling, staying = ((picture[0] - torch.tensor(colour)).abs().sum(-1) < 0.4 for colour in LINES[:2])
    ys = [float(falling[:, x].nonzero().float().mean()) for x in (150, 350, 550)]
    assert ys[0] < ys[1] < ys[2]
    rows = staying[:, 60:600].nonzero()[:, 0]
    assert rows.max() - rows.min() < 12


LINES = [np.array(rgb) / 255 for rgb in ((0, 114, 178), (213, 94, 0), (0, 158, 115))]


def near(picture, colour):
    return int(((picture[0] - torch.tensor(colour)).abs().sum(-1) < 0.1).sum())


def test_loss_plot_says_so_when_there_is_nothing_to_draw():
    picture = loss_plot(Record())
    assert is_picture(picture, 1, 540, 960, 3)
    assert picture.min() < 0.4, "there is text"
    assert all(near(picture, colour) == 0 for colour in LINES)


def test_where_nothing_was_moved_the_attention_itself_is_drawn():
    picture = loss_plot(sample(TSAM(), strength=0.0))
    assert all(near(picture, colour) > 20 for colour in LINES[:2])


def test_loss_plot_of_negative_huge_and_twin_targets():
    twin = make_targets((make_targets().objects[0],) * 2)
    record = sample(AttendAndExcite(), targets=twin)
    for scale in (-5.0, 1e4, 0.0):
        for entry in record.steps:
            entry.first = entry.last = torch.full((1, 2), scale)
        assert is_picture(loss_plot(record), 1, 540, 960, 3)
    assert near(loss_plot(record), LINES[1]) > 20, "two targets of one name have a line each"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 0.031, [0, 0.01, 0.02, 0.03]),
        (-3, 61, [0, 20, 40, 60]),
        (0.63, 0.67, [0.63, 0.64, 0.65, 0.66, 0.67]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_side_by_side():
    row = [("plain", torch.zeros(64, 64, 3)), ("T-SAM", torch.ones(64, 96, 3))]
    sheet = side_by_side([row, row[:1]], ["a black car", "a very long prompt " * 30], height=128)
    assert is_picture(sheet, 1, *sheet.shape[1:])
    assert sheet.shape[1] > 2 * 128 and sheet.shape[2] >= 128 + 192
    assert (sheet[0] == 0).all(-1).sum() >= 2 * 128 * 128 * 0.95, "both black pictures are there at full height"
    assert side_by_side([]).shape[-1] == 3


def test_text_is_cut_to_its_room():
    face = font(16)
    assert shortened("car", face, 200) == "car"
    cut = shortened("a very long name of a target", face, 80)
    assert cut.endswith("…") and face.getlength(cut) <= 80
    assert shortened("car", face, 1) == ""
