"""Targets that the artist marks inside the prompt."""

import pytest
from prompt_fidelity.core.prompt import marked, parse_weights


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("a (black car:1) and a (clock:1.0)", ["black car", "clock"]),
        ("a (black car:1.2) and a ((clock)) by (a lake)", []),
        ("(cat:1)", ["cat"]),
        ("a cat: 1, a dog", []),
        (r"a \(cat:1\) and a (dog:1)", ["dog"]),
        ("(a (red ball:1) and a ring:1.3)", ["red ball"]),
        ("( :1) a cat", []),
        ("", []),
    ],
)
def test_a_weight_of_one_marks_a_target(typed, found):
    assert marked(parse_weights(typed)) == found
