"""Emphasis, escapes and embeddings, as the host reads them. (tests/host compares with the host itself.)"""

import random

import pytest
from prompt_fidelity.core.prompt import parse_weights
from prompt_fidelity.core.prompt.syntax import find_embeddings


@pytest.mark.parametrize(
    "typed, runs",
    [
        ("a cat", [("a cat", 1.0)]),
        ("a (cat)", [("a ", 1.0), ("cat", 1.1)]),
        ("a (cat:1.3) here", [("a ", 1.0), ("cat", 1.3), (" here", 1.0)]),
        ("((cat))", [("cat", 1.21)]),
        ("(a (cat:0.5) b:1.2)", [("a ", 1.2), ("cat", 0.5), (" b", 1.2)]),
        ("(a: b)", [("a: b", 1.1)]),
        ("(a:b:2)", [("a:b", 2.0)]),
        ("(:2)", [(":2", 1.1)]),
        ("a:1.5", [("a:1.5", 1.0)]),
        (r"a \(cat\)", [("a (cat)", 1.0)]),
        (r"(a \(cat\):1.5)", [("a (cat)", 1.5)]),
        ("(a cat", [("(a cat", 1.0)]),
        ("a cat)", [("a cat)", 1.0)]),
        ("(cat)(dog:2)", [("cat", 1.1), ("dog", 2.0)]),
        ("", []),
        ("()", []),
    ],
)
def test_runs_of_equal_weight(typed, runs):
    prompt = parse_weights(typed)
    found = [(prompt.text[start:end], weight) for (start, end), weight in prompt.weights]
    assert [text for text, _ in found] == [text for text, _ in runs]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in runs])


def test_the_runs_cover_the_clean_text_in_order():
    random.seed(1)
    for _ in range(500):
        typed = "".join(
            random.choice(["(", ")", ":", "1.2", "cat ", "\\(", "\\)", " ", "embedding:x"])
            for _ in range(random.randint(0, 20))
        )
        prompt = parse_weights(typed)
        assert prompt.typed == typed
        assert "".join(prompt.text[start:end] for (start, end), _ in prompt.weights) == prompt.text
        assert all(0 <= start < end <= len(prompt.text) for start, end in prompt.embeddings)


def test_weight_of_a_character():
    prompt = parse_weights("a (cat:1.3) b")
    assert [prompt.weight_at(prompt.text.index(word)) for word in ("a", "cat", "b")] == [1.0, 1.3, 1.0]


@pytest.mark.parametrize(
    "typed, words",
    [
        ("embedding:foo", ["embedding:foo"]),
        ("a cat, embedding:foo, b", ["embedding:foo"]),
        ("a cat,embedding:foo", []),
        ("(embedding:foo:1.2), embedding:bar-v2.pt,,", ["embedding:foo", "embedding:bar-v2.pt"]),
        ("cat(embedding:foo)", ["embedding:foo"]),
        ("embedding:foo<lora:x:1> embedding:", ["embedding:foo"]),
        ("embedding: foo", []),
    ],
)
def test_embeddings_are_words_of_their_own(typed, words):
    prompt = parse_weights(typed)
    assert [prompt.text[start:end] for start, end in prompt.embeddings] == words


def test_embeddings_in_plain_text_need_a_space_before_them():
    assert find_embeddings("xembedding:a embedding:b") == [(13, 24)]


def test_many_brackets_do_not_exhaust_the_stack():
    assert parse_weights("(" * 3000 + "cat" + ")" * 3000).text == "cat"
