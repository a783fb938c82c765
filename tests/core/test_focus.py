"""FOCUS: the paper's formula written out in NumPy, and what it promises."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from prompt_fidelity.core.control.parts import RunningParts
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.core.methods.focus import Focus, FocusSettings, divergence
from prompt_fidelity.core.prompt.targets import Attribute, Target
from toy import OBJECTS, ToyNetwork, latents, make_targets

TENNIS = Target("tennis racket", "tennis racket", (4, 5))
DOG = Target("dog", "brown dog", (7,), (Attribute("brown", (6,)),))


def blurred(picture: np.ndarray) -> np.ndarray:
    """3 × 3 Gaussian of σ = 1, mirrored beyond the border."""
    taps = np.exp(-0.5 * np.array([-1.0, 0.0, 1.0]) ** 2)
    taps /= taps.sum()
    wide, out = np.pad(picture, 1, mode="reflect"), np.zeros_like(picture)
    h, w = picture.shape
    for i, down in enumerate(taps):
        for j, across in enumerate(taps):
            out += down * across * wide[i : i + h, j : j + w]
    return out


def jsd(maps: list[np.ndarray]) -> float:
    """Of n maps, cubed and normalised over the pixels, divided by log n."""
    shares = [each**3 / (each**3).sum() for each in maps]
    mean = sum(shares) / len(shares)
    return float(np.mean([(q * (np.log(q) - np.log(mean))).sum() for q in shares]) / np.log(len(maps)))


def written_out(maps: np.ndarray, words: list[list[int]]) -> float:
    """maps [h, w, tokens]; the tokens of each subject."""
    subjects = [[blurred(maps[..., token]) for token in tokens] for tokens in words]
    within = [jsd(own) for own in subjects if len(own) > 1]
    between = jsd([np.mean(own, axis=0) for own in subjects])
    return 0.5 * ((np.mean(within) if within else 0.0) + 1.0 - between)


@pytest.mark.parametrize(
    "objects", [OBJECTS, (TENNIS, DOG), (OBJECTS[0], TENNIS, DOG), (Target("a", "a", (1,)), TENNIS)]
)
def test_the_loss_is_the_papers_formula(objects):
    targets = make_targets(objects)
    maps = ToyNetwork(9, 14)(latents(2, 9, 14)).double()
    words = [list(target.all_positions) for target in objects]
    expected = [written_out(one.numpy(), words) for one in maps]
    assert Focus().loss(maps, targets).per_image.tolist() == pytest.approx(expected, rel=1e-9)
    assert Focus().loss(maps.float(), targets).per_image.tolist() == pytest.approx(expected, rel=1e-4)


def test_small_probabilities_of_joint_attention_lose_no_digits():
    maps = ToyNetwork(16, 16)(latents(1, 16, 16))
    small = Focus().loss(1e-6 * maps, make_targets()).per_image
    torch.testing.assert_close(small, Focus().loss(maps, make_targets()).per_image, rtol=1e-4, atol=0)


def corner(row: int, column: int) -> torch.Tensor:
    map_ = torch.zeros(8, 8)
    map_[row : row + 4, column : column + 4] = 1.0
    return map_


def test_the_divergence_is_nought_for_equal_maps_and_one_for_those_apart():
    apart = torch.stack([corner(0, 0), corner(0, 4), corner(4, 0)])[None]
    assert divergence(apart)[0].tolist() == pytest.approx([1.0] * 3, abs=1e-6)
    assert divergence(apart[:, :1].repeat(1, 3, 1, 1))[0].tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert divergence(apart[:, :1]).tolist() == [[0.0]]


def test_the_loss_is_nought_where_words_agree_and_objects_differ():
    maps = torch.full((1, 8, 8, 77), 1e-9)
    for token in (2, 3):
        maps[..., token] = corner(0, 0)
    for token in (6, 7):
        maps[..., token] = corner(4, 4)
    sharp, targets = Focus(FocusSettings(smoothing=False)), make_targets()
    assert sharp.loss(maps, targets).per_image.item() == pytest.approx(0.0, abs=1e-5)
    maps[..., [2, 3]] = maps[..., [6, 7]]
    assert sharp.loss(maps, targets).per_image.item() == pytest.approx(0.5, abs=1e-5)
    maps[..., 2] = corner(0, 0)  # and the colour has left its object
    assert sharp.loss(maps, targets).per_target[0, 0] > sharp.loss(maps, targets).per_target[0, 1]


def test_one_object_alone_is_kept_together():
    lone = make_targets(OBJECTS[:1])
    maps = ToyNetwork()(latents(1)).double()
    expected = 0.5 * jsd([blurred(maps[0, ..., token].numpy()) for token in (2, 3)])
    assert float(Focus().loss(maps, lone).per_image) == pytest.approx(expected, rel=1e-9)
    assert Focus().applies(lone) and Focus().check(lone) == []
    single = make_targets((replace(OBJECTS[0], attributes=()),))
    assert not Focus().applies(single) and "several objects" in Focus().check(single)[0]
    assert not Focus(FocusSettings(attributes=False)).applies(lone)


def test_it_acts_in_the_prediction_on_the_maps_of_the_whole_softmax():
    """A pixel that looks at the picture rather than at words counts less; over the text all would count alike."""
    method, targets = Focus(), make_targets()
    (part,) = RunningParts(method, targets, PREDICTION, 1.0, 0.0, 1.0, joint=True).all
    words = ToyNetwork()(latents(1))
    share = torch.rand(1, 16, 16, 1, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        part.loss(words * share, targets).per_image, method.loss(words * share, targets).per_image
    )
    assert not torch.allclose(method.loss(words * share, targets).per_image, method.loss(words, targets).per_image)
    assert method.window == (0.0, 1.0) and method.schedule.size_at(0.0) == 4.0 / 50
