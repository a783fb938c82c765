"""Long and hostile prompts: what reading one costs, in steps of Python, as seconds say more about the machine."""

import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_fidelity.core.prompt import Scene, WordNotFound, extract, find_words, parse_weights
from prompt_fidelity.core.prompt.limits import MOST_RELATIONS, MOST_THINGS, MOST_WORDS
from prompt_fidelity.core.prompt.split import split_words
from readings import targets_in

# What prompts are made of, hostile ones too.
PIECES = [
    *"cat |a red cat |and |left of |with |not |of |by klimt |a blue, |who |holding |its |the dog is |'s |, |. ".split(
        "|"
    ),
    *"left: |_|1girl, |猫|e\u0301|50mm |embedding:x |<lora:|<a:1> |-|a-|BREAK |1.1|(|)|((|))|(a:|:1.2)|\\(|:".split(
        "|"
    ),
    *("\n", "\n\n", " " * 40, '"'),
]


def steps(function, *arguments) -> int:
    """How many lines of Python a call runs, and how many functions it calls."""
    count = Counter()

    def trace(frame, event, argument):
        count[event] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return count["line"] + count["call"]


def locate(typed: str, scene: Scene | None = None) -> None:
    text = parse_weights(typed).text
    pieces = [f"{word}</w>" for word in text.split()]
    targets_in(typed, scene or Scene(text), [[(piece, 1.0, i + 1) for i, piece in enumerate(pieces)]])


def read(typed: str) -> None:
    locate(typed, extract(parse_weights(typed)))


COLOURS = ("red", "blue", "green", "white", "black", "pink", "brown", "grey", "purple")
extract("a cat")  # the tagger's model loads once
UNITS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(UNITS)
def test_twice_the_prompt_is_at_most_twice_the_work(unit):
    """What looks at each character; what reads words stops at a limit."""
    repeats = 1500 // len(unit)
    short, long = unit * repeats, unit * (2 * repeats)
    assert steps(parse_weights, long) < 2.2 * steps(parse_weights, short) + 2000
    assert steps(split_words, long) < 2.2 * steps(split_words, short) + 2000
    assert steps(locate, long) < 2.2 * steps(locate, short) + 2000


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(st.lists(UNITS, min_size=1, max_size=40).map("".join))
def test_reading_costs_a_bounded_number_of_steps(typed):
    words = len(split_words(parse_weights(typed).text))
    assert steps(read, typed) < 60_000 + 4_000 * words + 40 * len(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "cat dog tree house " * 1000,
        "(" * 10_000 + "cat" + ")" * 10_000,
        " " * 20_000,
        "cat and " * 2000,
        " and ".join(["a cat"] * 200) + " left of " + " and ".join(["a dog"] * 200),
        "a cat, " * 1000,
    ],
)
def test_the_prompts_that_once_took_minutes(typed):
    assert steps(read, typed) < 6_000_000


def test_the_artist_is_told_what_was_not_read():
    long = extract("cat dog " * MOST_WORDS)
    assert any(f"only the first {MOST_WORDS} were read" in note for note in long.notes)
    full = extract("a cat and " * (MOST_THINGS + 1))
    assert len(full.objects) == MOST_THINGS
    assert any(f"more than {MOST_THINGS} objects" in note for note in full.notes)
    assert extract("a cat").notes == ()


def test_the_notes_reach_the_summary():
    scene = extract("ein Hund auf einem Sofa")
    assert scene.objects == ()
    assert "not in English" in targets_in("", scene, []).summary()


def test_relations_are_bounded_and_the_artist_is_told():
    things = [f"a {one} {two} car" for one in COLOURS for two in COLOURS if one != two]
    scene = extract(" and ".join(things[:30]) + " are left of " + " and ".join(things[30:60]))
    assert len(scene.relations) == MOST_RELATIONS
    assert any(f"only the first {MOST_RELATIONS} count" in note for note in scene.notes)
    assert extract("a cat left of a dog").notes == ()


def test_a_list_of_too_many_objects_is_refused_in_words():
    with pytest.raises(WordNotFound, match="3000 objects are listed: at most 100"):
        find_words("cat", ",".join(["cat"] * 3000))
