"""What is said to be in the picture, and why not; what would go unnoticed."""

import re
from dataclasses import replace

import pytest
import torch
from prompt_fidelity.core.check.evidence import Evidence
from prompt_fidelity.core.control.record import RunLog
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.maps.words import WordMaps, spelled_words
from prompt_fidelity.core.methods.space_time import SpaceTime
from prompt_fidelity.core.methods.t_sam import TSAM
from prompt_fidelity.core.prompt.targets import Attribute, Target
from prompt_fidelity.core.show.colours import NAMED
from prompt_fidelity.core.show.ignored import unnoticed
from prompt_fidelity.core.show.verdict import Seen, summary, verdicts
from prompt_fidelity.core.show.viewed import viewed
from toy import make_targets

UPPER, LOWER = (slice(1, 6), slice(1, 6)), (slice(10, 15), slice(10, 15))
ALL = (slice(0, 16), slice(0, 16))
OBJECTS = (
    Target("ball", "red ball", (3,), (Attribute("red", (2,)),)),
    Target("ring", "blue ring", (7,), (Attribute("blue", (6,)),)),
)


def targets():
    return replace(make_targets(objects=OBJECTS), prompt="a red ball and a blue ring", relations=())


def run_with(*places, strong=(0.3, 0.3, 0.3, 0.3)):
    """A run in which ball, red, ring and blue were each looked for at a place of their own."""
    maps = torch.full((1, 16, 16, 77), 0.01)
    for position, place, value in zip((3, 2, 7, 6), places, strong, strict=True):
        maps[0, place[0], place[1], position] = value
    run = RunLog(TSAM(), targets())
    for _ in range(3):
        run.maps.add(maps, run.targets)
    return run


def picture(upper="red", lower="blue"):
    image = torch.full((1, 128, 128, 3), 0.72)
    for (rows, columns), colour in ((UPPER, upper), (LOWER, lower)):
        image[0, rows.start * 8 : rows.stop * 8, columns.start * 8 : columns.stop * 8] = (
            torch.tensor(NAMED[colour]) / 255
        )
    return image


RIGHT = (UPPER, UPPER, LOWER, LOWER)


def test_what_has_attention_a_place_and_its_colour_is_there():
    seen = verdicts(run_with(*RIGHT), picture())
    assert seen == [[Seen("red ball", True), Seen("blue ring", True)]]
    assert summary(seen) == "✓ red ball  ✓ blue ring"


@pytest.mark.parametrize(
    ("run", "image", "reason"),
    [
        (run_with(*RIGHT, strong=(0.3, 0.3, 0.011, 0.3)), picture(), "the model hardly looked for it"),
        (
            run_with(UPPER, UPPER, UPPER, LOWER, strong=(0.5, 0.3, 0.15, 0.3)),
            picture(),
            "looked for it on the red ball",
        ),
        (run_with(UPPER, ALL, LOWER, UPPER, strong=(0.3, 0.3, 0.3, 0.1)), picture(), "looked for it on the red ball"),
        (run_with(*RIGHT), picture(lower="green"), "where the model looked for it, the picture is not blue"),
    ],
)
def test_why_an_object_is_held_for_missing(run, image, reason):
    (((ball, ring),),) = (verdicts(run, image),)
    assert ball.there and not ring.there and re.search(reason, ring.reason), ring
    line = summary([[ball, ring]])
    assert line.startswith("✓ red ball  ✗ blue ring: ") and line.endswith("try another seed, or strength 1.5")


@pytest.mark.parametrize(
    ("places", "gains", "there", "reason"),
    [
        (RIGHT, (0.4, -0.2), (True, False), "the model does not see it in the picture"),
        ((UPPER, UPPER, UPPER, LOWER), (0.4, 0.4), (True, True), ""),
        ((UPPER, UPPER, UPPER, LOWER), (0.4, -0.2), (True, False), "the model looked for it on the red ball"),
        (RIGHT, (float("nan"), 0.4), (True, True), ""),
        ((UPPER, UPPER, UPPER, LOWER), (0.4, float("nan")), (True, False), "the model looked for it on the red ball"),
    ],
)
def test_what_the_model_sees_in_the_picture_overrules_the_maps(places, gains, there, reason):
    """The maps give the reason where they have one, and the verdict on what the model wasn't asked about."""
    run = run_with(*places, strong=(0.5, 0.3, 0.15, 0.3))
    run.evidence = Evidence(torch.tensor([gains]), looks=2, passes=14, seconds=0.1)
    (seen,) = verdicts(run, picture())
    assert tuple(one.there for one in seen) == there
    assert seen[1].reason == reason


def test_advice_follows_the_strength_and_batches_are_counted():
    missing = [Seen("cat", False, "r"), Seen("dog", True)]
    assert summary([missing], 0.0).endswith("a strength above 0")
    assert summary([missing], 3.0).endswith("try another seed")
    two = summary([missing, [Seen("cat", True), Seen("dog", True)]])
    assert two.splitlines()[0].startswith("Picture 1: ✗ cat") and two.splitlines()[1] == "Picture 2: ✓ cat  ✓ dog"
    assert summary([missing] * 5).startswith("Everything is there in 0 of 5 pictures.\n  cat: in 0 of 5")
    assert summary([]) == "" and verdicts(RunLog(), picture()) == []


def test_the_view_has_every_object_with_its_colour():
    view = viewed(run_with(*RIGHT), targets(), picture())
    assert view.names == ("red ball", "blue ring") and view.colours == (NAMED["red"], NAMED["blue"])
    assert view.maps.shape == (1, 2, 16, 16) and len(view.frames) == 3 and view.marks == [["✓", "✓"]]
    more = viewed(run_with(*RIGHT), targets(), picture(), attributes=True)
    assert more.names == ("red ball", "red (ball)", "blue ring", "blue (ring)") and more.marks == []
    assert viewed(RunLog(), replace(targets(), objects=()), picture()).maps.shape == (1, 0, 1, 1)


def test_words_at_a_spot():
    prompt = replace(targets(), content=(1, 2, 3, 4, 5, 6, 7), pieces=("a", "red", "ba", "ll", "and", "blue", ","))
    assert spelled_words(prompt)[2] == ("ball", (3, 4))
    words = WordMaps(spelled_words(prompt))
    maps = torch.full((1, 8, 8, 77), 0.01)
    maps[0, 2:4, 2:4, 3:5] = 0.5
    words.add(maps, prompt)
    mask = torch.zeros(1, 64, 64)
    mask[0, 16:32, 16:32] = 1
    ((name, share, times), *_) = words.at(mask)[0]
    assert name == "ball" and share > 0.8 and times > 1.5
    with pytest.raises(MethodError, match="empty"):
        words.at(torch.zeros(1, 64, 64))


def layout(*boxes, width=512, height=512):
    return Layout(tuple(Placement(i, OBJECTS[i].phrase, Box(*box)) for i, box in enumerate(boxes)), width, height, ())


LEFT_HALF, RIGHT_HALF = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("method", "placed", "size", "sentence"),
    [
        (TSAM, layout(LEFT_HALF, RIGHT_HALF), (512, 512), "T-SAM takes no layout"),
        (
            SpaceTime,
            layout(LEFT_HALF, RIGHT_HALF),
            (768, 512),
            "made for a picture of 512 × 512, this one is 768 × 512",
        ),
        (SpaceTime, layout(LEFT_HALF, LEFT_HALF), (512, 512), "red ball and blue ring have the same place"),
        (SpaceTime, layout(LEFT_HALF), (512, 512), "no place for blue ring"),
        (SpaceTime, layout(LEFT_HALF, RIGHT_HALF), (512, 512), None),
        (TSAM, None, (512, 512), None),
    ],
)
def test_a_layout_without_effect_is_pointed_out(method, placed, size, sentence):
    notes = unnoticed(method(), targets(), placed, size)
    assert (sentence is None and not notes) or any(sentence in note for note in notes), notes


def test_prompts_that_cannot_be_read_are_pointed_out():
    empty = replace(targets(), prompt=" ", objects=())
    assert "empty" in unnoticed(TSAM(), empty, None)[0]
    words = "ein roter Ball neben einem Ring"
    whole = replace(targets(), prompt=words, objects=(Target("Ring", words, (3,)),))
    assert "one single object" in unnoticed(TSAM(), whole, None)[0]
    assert unnoticed(TSAM(), targets(), None) == []
