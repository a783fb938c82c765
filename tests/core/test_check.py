"""Prompts without an object, and what the model's errors under them say."""

from dataclasses import replace

import pytest
import torch
from prompt_fidelity.core.check.contrasts import contrasts, whole
from prompt_fidelity.core.check.evidence import LEAST_NOISE, MOST_NOISE, gains, noise_levels
from prompt_fidelity.core.prompt.targets import Attribute, Target
from toy import make_targets


def of(prompt, *phrases):
    """Targets of a prompt whose last word is the object, the others its attributes."""
    objects = tuple(
        Target(phrase.split()[-1], phrase, (1 + t,), tuple(Attribute(word, ()) for word in phrase.split()[:-1]))
        for t, phrase in enumerate(phrases)
    )
    return replace(make_targets(objects=objects), prompt=prompt, relations=())


def texts(prompt, *phrases):
    found = contrasts(of(prompt, *phrases))
    return [[one.text for one in found if one.target == t] for t in range(len(phrases))]


def test_another_object_or_attribute_stands_in_the_place_of_its_own():
    assert texts("a black car and a white clock", "black car", "white clock") == [
        ["a white clock and a white clock", "a white car and a white clock"],
        ["a black car and a black car", "a black car and a black clock"],
    ]


def test_without_attributes_there_is_nothing_to_exchange():
    assert texts("a dog and an elephant", "dog", "elephant") == [["an elephant and an elephant"], ["a dog and a dog"]]
    assert texts("a dog and a white clock", "dog", "white clock") == [
        ["a white clock and a white clock"],
        ["a dog and a dog"],
    ]


@pytest.mark.parametrize(
    ("prompt", "phrase", "left"),
    [
        ("a cat", "cat", ""),
        ("A photo of a cat, 8k", "cat", "A photo of, 8k"),
        ("A photo of a cat and trees", "cat", "A photo of trees"),
        ("oil on canvas, a red cat.", "red cat", "oil on canvas."),
        ("two dogs with hats", "dogs", "hats"),
        ("Some Cats, asleep", "cats", "asleep"),
        ("a catalogue of a cat", "cat", "a catalogue of"),
        ("a sunny day; the cat and, asleep", "cat", "a sunny day; asleep"),
    ],
)
def test_what_is_left_without_a_single_object_reads_like_a_prompt(prompt, phrase, left):
    assert texts(prompt, phrase) == [[left]]


def test_of_two_equal_objects_each_loses_its_own_words():
    targets = of("a dog on a sofa, a dog on a bed", "dog", "dog")
    assert [one.text for one in contrasts(targets)] == ["on a sofa, a dog on a bed", "a dog on a sofa, on a bed"]


def test_brackets_and_weights_are_no_words():
    targets = of("a (black car:1.4) and a (clock:1)", "black car", "clock")
    assert whole(targets) == "a black car and a clock"
    assert contrasts(targets)[0].text == "a clock and a clock"


def test_words_that_do_not_stand_together_are_not_asked_for():
    targets = of("a car that is black and a clock", "black car", "clock")
    assert [one.text for one in contrasts(targets) if one.target == 0] == ["a clock that is black and a clock"]
    assert [one.target for one in contrasts(of("a car, black and shiny", "spaceship"))] == []


def test_an_object_is_seen_as_far_as_the_prompt_fits_better_than_its_best_contrast():
    # Two looks at two pictures; the prompt, two contrasts of object 0, one of object 2.
    errors = torch.tensor(
        [[[2.0, 1.0], [3.0, 1.5], [4.0, 0.5], [1.0, 2.0]], [[2.0, 1.0], [3.0, 1.5], [4.0, 0.5], [2.0, 3.0]]]
    )
    found = gains(errors, [0, 0, 2], 3)
    assert found[:, 0].tolist() == [0.5, -0.5]
    assert found[:, 1].isnan().all()
    assert found[:, 2].tolist() == [-0.25, 1.5]


def test_looks_share_the_noise_levels_between_them():
    assert noise_levels(1) == pytest.approx([(MOST_NOISE * LEAST_NOISE) ** 0.5])
    levels = noise_levels(4)
    assert levels[0] == pytest.approx(MOST_NOISE) and levels[-1] == pytest.approx(LEAST_NOISE)
    ratios = {round(a / b, 9) for a, b in zip(levels, levels[1:])}
    assert len(levels) == 4 and len(ratios) == 1
