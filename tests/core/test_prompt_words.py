"""Objects that the artist lists."""

import pytest
from prompt_fidelity.core.prompt import WordNotFound, find_words

PROMPT = "a black car and a white clock, two cats and another cat with a tennis racket"


def found(text: str, words: str) -> list[tuple[str, tuple[str, ...], int]]:
    """(name, attributes, first character) of each object."""
    return [(o.name, tuple(a.text for a in o.attributes), o.spans[0][0]) for o in find_words(text, words).objects]


@pytest.mark.parametrize(
    "words, expected",
    [
        ("car", [("car", (), 8)]),
        ("clock, car", [("clock", (), 24), ("car", (), 8)]),
        ("black car\nwhite clock", [("car", ("black",), 8), ("clock", ("white",), 24)]),
        (" CAR ,, \n", [("car", (), 8)]),
        ("a black car", [("car", ("black",), 8)]),
        ("tennis racket", [("tennis racket", (), 63)]),
        ("racket", [("racket", (), 70)]),
        ("(car:1.3)", [("car", (), 8)]),
        ("clocks", [("clock", (), 24)]),
        ("black", [("black", (), 2)]),
        ("", []),
    ],
)
def test_entries_are_found(words, expected):
    assert found(PROMPT, words) == expected


def test_a_word_listed_twice_takes_successive_occurrences():
    assert found("cat and cat", "cat, cat") == [("cat", (), 0), ("cat", (), 8)]


def test_a_phrase_chooses_before_a_single_word():
    assert found("a black cat and a cat", "cat, black cat") == [("cat", (), 18), ("cat", ("black",), 8)]


def test_attributes_that_stand_elsewhere():
    assert found("a shiny black old car; the clock is white", "black car, white clock") == [
        ("car", ("black",), 18),
        ("clock", ("white",), 27),
    ]


def test_other_scripts_and_embeddings():
    assert found("一只猫在桌子上", "猫, 桌子") == [("猫", (), 2), ("桌子", (), 4)]
    assert found("a photo of embedding:my-cat, happy", "embedding:my-cat") == [("embedding:my-cat", (), 11)]


def test_relations_of_the_prompt_between_listed_things():
    scene = find_words("a cat left of a black dog, under a tree", "tree, dog, cat")
    assert {(r.subject, r.predicate, r.object) for r in scene.relations} == {(2, "left of", 1), (2, "below", 0)}


@pytest.mark.parametrize(
    "text, words, says",
    [
        (PROMPT, "dog", r'The word "dog" is not in the prompt\. The prompt has: black, car, white, clock'),
        (PROMPT, "car, blue clock", r'The word "blue" \(of "blue clock"\) is not in the prompt'),
        (PROMPT, "red dog", r'The words "red", "dog" \(of "red dog"\) are not in the prompt'),
        (PROMPT, "white car", r'"white car" are in the prompt, but not together'),
        ("a cat", "cat, cat", '"cat" is listed 2 times, more often than it is in the prompt'),
        ("", "cat", "no words"),
        ("cat", "ca", '"ca" is not in the prompt'),
    ],
)
def test_what_is_not_there_is_named(text, words, says):
    with pytest.raises(WordNotFound, match=says) as error:
        find_words(text, words)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    "text, words, names",
    [
        ("a cat and a dog", "the cat, dogs", ["cat", "dog"]),
        ("a cat and two dogs", "a cat、one dog", ["cat", "dogs"]),
        ("cat，dog；bird", "bird；cat，dog", ["bird", "cat", "dog"]),
        ("a red ball and a blue ring", "blue ring、red ball", ["ring", "ball"]),
        ("a red ball and a blue ring", "，ball，，ring；", ["ball", "ring"]),
        ("a red embedding:x and a dog", "red embedding:x; dog", ["embedding:x", "dog"]),
        ("a cat's toy", "the cat's toy", ["toy"]),
        ("two cats and another cat", "another cat, cats", ["cat", "cats"]),
    ],
)
def test_articles_numbers_and_other_commas(text, words, names):
    assert [thing.name for thing in find_words(text, words).objects] == names
