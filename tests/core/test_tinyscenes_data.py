"""Scenes of emoji: what a picture holds and what its caption says."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tinyscenes import components, data  # noqa: E402


def test_the_sprites_are_small_and_hold_every_noun():
    assert data.SPRITES.stat().st_size <= 200_000
    for (_noun, size), sprite in data.sprites().items():
        assert sprite.shape == (size, size, 4)
        cover = sprite[..., 3] > 0.5
        rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
        assert max(np.ptp(rows), np.ptp(columns)) >= size - 5  # it fills its box one way ...
        assert not cover[0].any() and not cover[:, 0].any()  # ... and keeps off its edge
    assert len(data.sprites()) == len(data.NOUNS) * len(data.SIZES)


def test_the_nouns_are_those_of_the_attend_and_excite_prompts():
    assert len(data.ANIMALS) == 12 and len(data.OBJECTS) == 11 and len(data.COLOURS) == 10


def test_objects_stand_on_the_grid_apart_and_inside_the_picture():
    rng = np.random.default_rng(3)
    for _ in range(200):
        things, _ = data.sample(rng, (0.2, 0.4, 0.4), 0.3)
        covered = np.zeros((data.SIZE, data.SIZE), dtype=int)
        for thing in things:
            left, top, right, bottom = thing.box
            assert left % data.CELL == top % data.CELL == 0 and 0 <= left and right <= data.SIZE
            assert 0 <= top and bottom <= data.SIZE
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1


def test_captions_name_every_object_in_order_and_only_truly():
    names = [("cat", data.OWN), ("elephant", data.OWN), ("apple", "red"), ("clock", "orange")]
    assert data.caption_of(names[:1]) == "a cat"
    assert data.caption_of(names[:2]) == "a cat and an elephant"
    assert data.caption_of(names[2:]) == "a red apple and an orange clock"
    assert data.caption_of(names[:3]) == "a cat, an elephant and a red apple"
    rng = np.random.default_rng(4)
    for _ in range(100):
        things, caption = data.sample(rng, (0.2, 0.4, 0.4), 0.3)
        assert caption == data.caption_of([(thing.noun, thing.colour) for thing in things])


def test_the_shares_of_counts_and_plain_objects_are_kept():
    rng = np.random.default_rng(5)
    scenes = [data.sample(rng, (0.5, 0.3, 0.2), 0.35)[0] for _ in range(2000)]
    counts = np.bincount([len(things) for things in scenes], minlength=4)[1:] / 2000
    own = np.mean([thing.colour == data.OWN for things in scenes for thing in things])
    assert np.allclose(counts, (0.5, 0.3, 0.2), atol=0.04) and own == pytest.approx(0.35, abs=0.04)


def test_a_tint_is_seen_and_keeps_the_relief():
    for noun in ("lion", "car", "clock"):
        sprite = data.sprites()[noun, 56]
        cover = sprite[..., 3] > 0.9
        blue = data.tint(sprite[..., :3], sprite[..., 3], "blue")[cover]
        assert blue[:, 2].mean() > blue[:, 0].mean() + 0.2
        before, after = sprite[..., :3][cover] @ data.LUMINANCE, blue @ data.LUMINANCE
        assert np.corrcoef(before, after)[0, 1] > 0.9


def test_the_code_goes_there_and_back():
    code = components.fit(count=200)
    rng = np.random.default_rng(6)
    scenes = [data.sample(rng, (0.4, 0.4, 0.2), 0.3)[0] for _ in range(20)]
    pictures = np.stack([data.render(things, data.ground(rng)) for things in scenes])
    latents = code.encode(pictures)
    assert latents.shape == (20, 16, 16, 16) and 0.5 < latents.std() < 1.5
    assert np.allclose(code.basis @ code.basis.T, np.eye(16), atol=1e-4)
    assert np.sqrt(((code.decode(latents) - pictures) ** 2).mean()) < 0.05
