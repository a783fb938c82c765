"""The stream of training data puts the same latents and captions together as rendering and encoding do."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tinyscenes import components, data  # noqa: E402
from tinyscenes.stream import Stream  # noqa: E402

WORDS = ["<start>", "<end>", ",", "and", "a", "an", *data.COLOURS, *data.NOUNS]


def rows_of(captions: list[str]) -> torch.Tensor:
    """A tokenizer of one token a word."""
    rows = []
    for caption in captions:
        words = ["<start>", *caption.replace(",", " ,").split(), *["<end>"] * 16][:16]
        rows.append([WORDS.index(word) for word in words])
    return torch.tensor(rows)


@pytest.fixture(scope="module")
def code() -> components.Components:
    return components.fit(count=150)


@pytest.fixture(scope="module")
def stream(code) -> Stream:
    return Stream(code, rows_of, "cpu")


@pytest.mark.parametrize(("side", "counts"), [(16, (0.3, 0.4, 0.3)), (8, (1.0,))])
def test_latents_are_those_of_the_rendered_picture_and_captions_those_of_its_objects(code, stream, side, counts):
    seen = []
    ground = np.array([0.7, 0.6, 0.5], dtype=np.float32)
    generator = torch.Generator().manual_seed(3)
    drawn = stream._draw(generator, side, 60, counts, 0.3)
    rows, words = stream._captions(drawn)
    latents = stream._latents(drawn, torch.from_numpy(ground).repeat(60, 1), side)
    for i in range(60):
        things = [
            data.Thing(
                list(data.NOUNS)[drawn.noun[i, o]], (data.OWN, *data.COLOURS)[drawn.colour[i, o]],
                *(data.CELL * int(value[i, o]) for value in (drawn.x, drawn.y, drawn.size)),
            )
            for o in range(int(drawn.there[i].sum()))
        ]  # fmt: skip
        picture = data.render(things, tuple(255 * ground), side * data.CELL)
        assert np.abs(code.encode(picture[None])[0] - latents[i].numpy()).max() < 1e-3
        caption = data.caption_of([(thing.noun, thing.colour) for thing in things])
        assert torch.equal(rows[i], rows_of([caption])[0])
        assert [WORDS[rows[i, words[i, o]]] for o in range(len(things))] == [thing.noun for thing in things]
        boxes = np.zeros((side * data.CELL,) * 2, dtype=int)
        for thing in things:
            boxes[thing.y : thing.y + thing.size, thing.x : thing.x + thing.size] += 1
        assert boxes.max() == 1 and boxes.sum() == sum(thing.size**2 for thing in things)
        seen.append(len(things))
    assert set(seen) == set(range(1, len(counts) + 1))


def test_a_step_is_the_same_every_time_and_unlike_others(stream):
    first, again, other = (stream.batch(0, step, 16, 40, (0.5, 0.5, 0.0), 0.3, 0.2) for step in (5, 5, 6))
    assert torch.equal(first.latents, again.latents) and torch.equal(first.rows, again.rows)
    assert not torch.equal(first.latents, other.latents)


def test_empty_captions_name_nothing(stream):
    batch = stream.batch(0, 1, 16, 200, (0.5, 0.5, 0.0), 0.3, 0.25)
    silent = (batch.rows == stream.silence).all(1)
    assert 0.15 < silent.float().mean() < 0.35
    assert torch.equal(batch.named.any(1), ~silent)
