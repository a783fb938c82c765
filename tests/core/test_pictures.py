"""The maps over the picture: legible in any size, every object in its own colour, told apart by the colour-blind."""

from itertools import combinations

import numpy as np
import pytest
import torch
from prompt_fidelity.core.fonts import face_for, lacking, writable
from prompt_fidelity.core.prompt.naming import told_apart
from prompt_fidelity.core.prompt.targets import Attribute, Target
from prompt_fidelity.core.show.colours import NAMED, PALETTE, colours_of, oklab
from prompt_fidelity.core.show.pictures import before_and_after, filmstrip, object_sheets
from toy import make_targets

RED, BLUE = NAMED["red"], NAMED["blue"]


def is_picture(image):
    return image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1 and image.shape[-1] == 3


def spots(batch=1):
    """Two objects, one in the upper left, one in the lower right."""
    maps = torch.full((batch, 2, 8, 8), 0.01)
    maps[:, 0, 1:3, 1:3], maps[:, 1, 5:7, 5:7] = 0.4, 0.2
    return maps


def thing(name, *attributes):
    return Target(name, " ".join([*attributes, name]), (1,), tuple(Attribute(text, (2,)) for text in attributes))


def objects(*things):
    return make_targets(objects=tuple(things))


@pytest.mark.parametrize(("height", "width"), [(128, 128), (96, 400), (513, 511), (16, 16)])
def test_all_objects_together_and_then_each_alone(height, width):
    sheets = object_sheets(
        torch.rand(2, height, width, 3), spots(2), ["red ball", "a very long name " * 9], [RED, BLUE]
    )
    assert len(sheets) == 2 * 3 and is_picture(sheets)
    assert min(sheets.shape[1:3]) >= 384, "small pictures are enlarged, so that the words can be read"


def test_the_picture_keeps_its_colours_and_every_object_has_its_own():
    ground = torch.tensor([0.5, 0.55, 0.5]).expand(1, 400, 400, 3)
    both, red, blue = object_sheets(ground, spots(), ["red ball", "blue ring"], [RED, BLUE])
    above = both.shape[0] - 400 - int(min(max(400 / 22, 15), 64) * 1.9)

    def at(sheet, y, x):
        return sheet[above + y * 50 - 25 :][0, x * 50 - 25]

    assert torch.allclose(at(both, 2, 7), ground[0, 0, 0], atol=0.15), "where no object is, nothing is tinted"
    for own, other in ((at(red, 3, 3), at(red, 7, 7)), (at(blue, 7, 7), at(blue, 3, 3))):
        assert (own.max() - own.min()) > 3 * (other.max() - other.min()), "one object alone on its sheet"
    assert at(both, 3, 3)[0] > 0.6 > at(both, 3, 3)[2], "the red one is red"
    assert at(both, 7, 7)[2] > at(both, 7, 7)[0], "the blue one is blue"


def test_one_scale_for_all():
    weak = spots()
    weak[:, 1] *= 0.1
    ground = torch.full((1, 400, 400, 3), 0.5)
    strong_sheet, weak_sheet = (object_sheets(ground, maps, ["a", "b"], [RED, BLUE])[2] for maps in (spots(), weak))
    assert float(strong_sheet[:, :, 2].mean() - strong_sheet[:, :, 0].mean()) > 2 * float(
        weak_sheet[:, :, 2].mean() - weak_sheet[:, :, 0].mean()
    ), "a weak map looks weak"


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="maps of 2 image.* but 1 came in"):
        object_sheets(torch.rand(1, 64, 64, 3), torch.rand(2, 1, 8, 8), ["car"], [RED])
    with pytest.raises(ValueError, match="2 maps per image but 1 names"):
        object_sheets(torch.rand(1, 64, 64, 3), torch.rand(1, 2, 8, 8), ["car"], [RED])


def test_without_objects_the_picture_passes_through():
    images = torch.rand(2, 64, 48, 3)
    assert torch.equal(object_sheets(images, torch.zeros(2, 0, 1, 1), [], []), images)


def test_steps_and_two_runs_beside_each_other():
    image = torch.rand(64, 96, 3)
    frames = [(step, spots().half()) for step in range(1, 9)]
    strip = filmstrip(frames, image, ["a", "b"], [RED, BLUE])
    assert is_picture(strip) and strip.shape[2] > 6 * 192
    assert torch.equal(filmstrip([], image, [], []), image[None])
    pair = before_and_after((image, spots()[0]), (torch.rand(128, 128, 3), spots()[0] / 2), ["a", "b"], [RED, BLUE])
    assert is_picture(pair) and pair.shape[0] == 1


def test_an_object_has_the_colour_that_the_prompt_gives_it():
    ball, ring, second, plain = thing("ball", "red"), thing("ring", "dark", "blue"), thing("car", "red"), thing("dog")
    colours = colours_of(objects(ball, ring, second, plain))
    assert colours[:2] == [RED, BLUE]
    assert len(set(colours)) == 4, "a second red one, and one of no colour, are told apart"
    assert len(set(colours_of(objects(*(thing(f"dog{i}") for i in range(12)))))) == 12


# Machado, Oliveira, Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009:
# severity 1, on linear RGB.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.mark.parametrize("kind", BLIND)
def test_the_palette_stays_apart_for_the_colour_blind(kind):
    srgb = np.array(PALETTE) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(BLIND[kind]).T).clip(0, 1)
    seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055) * 255
    assert min(np.linalg.norm(oklab(a) - oklab(b)) for a, b in combinations(seen, 2)) > 0.07


def test_names_are_told_apart():
    assert told_apart([thing("ball", "red"), thing("ball", "blue"), thing("cat")]) == (
        "ball (red)",
        "ball (blue)",
        "cat",
    )
    assert told_apart([thing("cat"), thing("cat")]) == ("cat (1)", "cat (2)")


def test_no_letter_becomes_a_box():
    assert lacking((None, 0), "red ball") == ""
    for text in ("café", "猫", "красный мяч", "naïve"):
        drawn = writable(text, "object 1")
        assert lacking(face_for(drawn), drawn) == "" and any(letter.isalnum() for letter in drawn)
    assert lacking(("no such font.ttf", 0), "a") == "a"
