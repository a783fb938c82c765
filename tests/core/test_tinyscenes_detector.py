"""The emoji detector: fresh renders, and what the model's own code and some noise leave of them."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tinyscenes import components, data, detector  # noqa: E402
from tinyscenes.detector import Found  # noqa: E402

PICTURES = 240  # of one, two and three objects


@pytest.fixture(scope="module")
def examples() -> list[tuple[list[data.Thing], np.ndarray]]:
    rng = np.random.default_rng(2026)
    scenes = [data.sample(rng, (0.35, 0.4, 0.25), 0.35)[0] for _ in range(PICTURES)]
    return [(things, data.render(things, data.ground(rng))) for things in scenes]


@pytest.fixture(scope="module")
def code() -> components.Components:
    return components.fit(count=300)


def read(picture: np.ndarray) -> set:
    return {(item.noun, item.colour, item.box) for item in detector.detect(picture)}


def share_read_exactly(examples, prepare) -> float:
    """How many pictures are read without a mistake: every noun, colour and box, and nothing else."""
    right = [read(prepare(picture)) == {(t.noun, t.colour, t.box) for t in things} for things, picture in examples]
    return float(np.mean(right))


def test_at_least_99_percent_of_fresh_renders_are_read_exactly(examples):
    assert share_read_exactly(examples, lambda picture: picture) >= 0.99


def test_at_least_97_percent_are_read_exactly_at_the_models_own_blur(examples, code):
    rng = np.random.default_rng(1)

    def blurred(picture: np.ndarray) -> np.ndarray:
        latent = code.encode(picture[None])
        return code.decode(latent + rng.normal(0.0, 0.15, latent.shape).astype(np.float32))[0]

    assert share_read_exactly(examples, blurred) >= 0.97


def test_every_noun_in_every_colour_and_size_is_told_from_all_others(code):
    wrong = []
    for noun in data.NOUNS:
        for colour in (data.OWN, *data.COLOURS):
            for size in data.SIZES:
                thing = data.Thing(noun, colour, 40, 32, size)
                picture = code.decode(code.encode(data.render([thing])[None]))[0]
                if read(picture) != {(noun, colour, thing.box)}:
                    wrong.append((noun, colour, size))
    assert len(wrong) <= 3, wrong  # of 506


def test_the_same_picture_is_always_read_the_same(examples):
    picture = examples[7][1]
    assert detector.detect(picture) == detector.detect(picture.copy())


def test_a_picture_takes_at_most_50_milliseconds(examples):
    detector.detect(examples[0][1])
    started = time.process_time()
    for _, picture in examples[:20]:
        detector.detect(picture)
    assert (time.process_time() - started) / 20 <= 0.05


@pytest.mark.parametrize("ground", data.GROUNDS)
def test_an_empty_picture_holds_nothing(ground):
    assert detector.detect(data.render([], ground)) == []


def test_noise_and_a_blot_hold_nothing_that_counts_as_a_noun():
    noise = np.random.default_rng(0).uniform(0.0, 1.0, (128, 128, 3)).astype(np.float32)
    assert all(item.noun is None for item in detector.detect(noise))
    blot = data.render([])
    blot[16:80, 24:40] = (0.1, 0.9, 0.9)
    assert all(item.noun is None for item in detector.detect(blot))


def test_a_speck_is_ignored():
    picture = data.render([])
    picture[60:66, 60:66] = np.array(data.COLOURS["blue"]) / 255.0
    assert detector.detect(picture) == []


def test_half_an_animal_and_half_another_is_not_both():
    picture = data.render([data.Thing("frog", data.OWN, 40, 40, 56)])
    picture[:, 68:] = data.render([data.Thing("lion", data.OWN, 40, 40, 56)])[:, 68:]
    assert len([item for item in detector.detect(picture) if item.noun is not None]) <= 1


@pytest.mark.parametrize(
    ("found", "presence", "binding", "extra", "success"),
    [
        ([("cat", "own"), ("bowl", "red")], 1.0, 1.0, 0, True),
        ([("cat", "own"), ("bowl", "blue")], 1.0, 0.5, 0, False),
        ([("cat", "own")], 0.5, 0.5, 0, False),
        ([("cat", "own"), ("bowl", "red"), ("dog", "own")], 1.0, 1.0, 1, True),
        ([("cat", "own"), ("cat", "own")], 0.5, 0.5, 0, False),
        ([("cat", "own"), (None, "red")], 0.5, 0.5, 0, False),
        ([], 0.0, 0.0, 0, False),
    ],
)
def test_score_compares_with_what_was_wanted(found, presence, binding, extra, success):
    items = [Found(noun, colour, (0.0, 0.0, 48.0, 48.0), 0.1) for noun, colour in found]
    assert detector.score(items, [("cat", "own"), ("bowl", "red")]) == detector.Score(presence, binding, extra, success)
