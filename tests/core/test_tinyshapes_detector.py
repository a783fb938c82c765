"""The shapes detector: rendered pictures, sharp and softened the way the demo model's VAE softens them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tinyshapes import data, detector  # noqa: E402
from tinyshapes.detector import Found  # noqa: E402

PICTURES = 330  # of one, two and three objects in turn


def soften(picture: np.ndarray) -> np.ndarray:
    """One mean per 8 x 8 pixels, then linear interpolation: softer than the VAE, which sharpens a little."""
    means = picture.reshape(16, 8, 16, 8, 3).mean((1, 3))
    return np.clip(ndimage.zoom(means, (8, 8, 1), order=1, mode="nearest", grid_mode=True), 0.0, 1.0)


@pytest.fixture(scope="module")
def examples() -> list[tuple[list[data.Shape], np.ndarray]]:
    rng = np.random.default_rng(2024)
    made = []
    for index in range(PICTURES):
        shapes = data.place(rng, data.sample_names(rng, 1 + index % 3))
        tint = rng.normal(0.0, 0.03, (len(shapes), 3)).astype(np.float32)
        made.append((shapes, data.render(shapes, ground=data.GROUND + float(rng.uniform(-0.06, 0.06)), tint=tint)))
    return made


@pytest.mark.parametrize("prepare", [lambda picture: picture, soften], ids=["sharp", "soft"])
def test_at_least_99_percent_of_renders_are_read_exactly(examples, prepare):
    right = 0
    for shapes, picture in examples:
        names = sorted((shape.noun, shape.colour) for shape in shapes)
        right += sorted((item.noun or "", item.colour) for item in detector.detect(prepare(picture))) == names
    assert right >= 0.99 * PICTURES


def test_boxes_lie_where_the_shapes_were_drawn(examples):
    for shapes, picture in examples[:30]:
        found = {item.colour: item for item in detector.detect(picture)}
        for shape in shapes:
            assert np.allclose(found[shape.colour].box, shape.box, atol=3.5)
            assert found[shape.colour].centre == pytest.approx((shape.x, shape.y), abs=3.0)


def test_an_empty_picture_holds_nothing():
    assert detector.detect(data.render([])) == []


def test_noise_holds_nothing_that_counts_as_a_noun():
    noise = np.random.default_rng(0).uniform(0.0, 1.0, (128, 128, 3)).astype(np.float32)
    assert all(item.noun is None for item in detector.detect(soften(noise)))


def test_a_blot_is_found_but_is_no_noun():
    picture = data.render([])
    picture[20:100, 20:110] = data.COLOURS["red"]
    (blot,) = detector.detect(picture)
    assert blot.noun is None and blot.colour == "red" and blot.residual > detector.LIMIT


def test_a_speck_is_ignored():
    picture = data.render([])
    picture[60:66, 60:66] = data.COLOURS["blue"]
    assert detector.detect(picture) == []


def test_half_of_each_colour_is_not_one_object_of_either():
    picture = data.render([data.Shape("ball", "red", 64, 64)])
    other = data.render([data.Shape("ball", "blue", 64, 64)])
    picture[:, 64:] = other[:, 64:]
    assert ("ball", "red") not in [(item.noun, item.colour) for item in detector.detect(picture)]


def at(noun: str | None, colour: str, x: float, y: float) -> Found:
    return Found(noun, colour, (x - 10, y - 10, x + 10, y + 10), 0.1)


WANTED = [("ball", "red"), ("ring", "blue")]


def test_everything_there_is_a_success():
    score = detector.score([at("ball", "red", 30, 30), at("ring", "blue", 90, 90)], WANTED)
    assert (score.presence, score.binding, score.relation, score.extra, score.success) == (1.0, 1.0, 1.0, 0, True)


def test_swapped_colours_are_present_but_not_bound():
    score = detector.score([at("ball", "blue", 30, 30), at("ring", "red", 90, 90)], WANTED)
    assert (score.presence, score.binding, score.success) == (1.0, 0.0, False)


def test_a_missing_object_halves_both():
    score = detector.score([at("ring", "blue", 90, 90)], WANTED)
    assert (score.presence, score.binding, score.success) == (0.5, 0.5, False)


def test_one_object_does_not_count_twice():
    score = detector.score([at("ball", "red", 30, 30)], [("ball", "red"), ("ball", "red")])
    assert score.presence == 0.5 and not score.success


def test_what_nobody_asked_for_is_counted():
    found = [at("ball", "red", 30, 30), at("ring", "blue", 90, 90), at(None, "green", 30, 90)]
    score = detector.score(found, WANTED)
    assert score.extra == 1 and score.success


@pytest.mark.parametrize(
    ("relation", "holds"), [("to the left of", True), ("to the right of", False), ("above", True), ("below", False)]
)
def test_relations_compare_centres(relation, holds):
    found = [at("ball", "red", 30, 40), at("ring", "blue", 90, 80)]
    score = detector.score(found, WANTED, [(0, relation, 1)])
    assert score.relation == float(holds) and score.success == holds


def test_a_relation_with_a_missing_object_does_not_hold():
    score = detector.score([at("ball", "red", 30, 40)], WANTED, [(0, "above", 1)])
    assert score.relation == 0.0


def test_captions_name_every_object_and_true_relations():
    rng = np.random.default_rng(5)
    for _ in range(200):
        shapes, caption = data.sample(rng, (0.2, 0.6, 0.2), relations=0.5)
        assert all(f"{shape.colour} {shape.noun}" in caption for shape in shapes)
        said = [relation for relation in data.RELATIONS if f" {relation} " in caption]
        if said:
            first, second = shapes
            assert detector.relation_holds(
                Found(first.noun, first.colour, first.box, 0.0),
                said[0],
                Found(second.noun, second.colour, second.box, 0.0),
            )


def test_the_same_seed_draws_the_same_picture():
    first, second = (data.sample(np.random.default_rng([3, 7]), (0.4, 0.4, 0.2), 0.2) for _ in range(2))
    assert first == second


def test_objects_do_not_overlap():
    rng = np.random.default_rng(11)
    for _ in range(100):
        shapes = data.place(rng, data.sample_names(rng, 3))
        assert sum(data.coverage(shape) for shape in shapes).max() <= 1.0 + 1e-6


def test_an_unknown_noun_is_named_in_the_error():
    with pytest.raises(ValueError, match="teapot"):
        data.distance("teapot", np.zeros(1), np.zeros(1))
