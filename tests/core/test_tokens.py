"""Pieces of any tokenizer -> characters -> positions. (tests/host does the same with the host's own tokenizer.)"""

import random

import pytest
import torch
from prompt_fidelity.core.maps.recorder import word_map
from prompt_fidelity.core.methods.attention_regulation.method import kept_columns
from prompt_fidelity.core.prompt import Scene, extract, find_words, parse_weights
from prompt_fidelity.core.prompt.targets import Attribute, Relation, Stretch, Target, Targets
from prompt_fidelity.core.prompt.tokens import Reading, align, build_targets, readable
from readings import targets_in

VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
HIDDEN = [byte for byte in range(256) if byte not in VISIBLE]
LETTER = {**{b: chr(b) for b in VISIBLE}, **{b: chr(256 + i) for i, b in enumerate(HIDDEN)}}


def bpe(text: str, rng: random.Random | None = None) -> list[str]:
    """Pieces such as CLIP's: lower case, words cut at random bytes (not at all without `rng`), "</w>" at their ends."""
    pieces = []
    for word in text.lower().split():
        data = word.encode()
        cuts = (
            sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randint(0, 3))))
            if rng and len(data) > 1
            else []
        )
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            pieces.append("".join(LETTER[byte] for byte in data[start:end]))
        pieces[-1] += "</w>"
    return pieces


def covered(text: str, pieces, **more) -> list[str | None]:
    return [None if span is None else text[slice(*span)] for span in align(text, pieces, **more)]


@pytest.mark.parametrize(
    "text, pieces, expected",
    [
        ("A Cat", ["a</w>", "cat</w>"], ["A", "Cat"]),
        ("tooth brush", ["too", "th</w>", "brush</w>"], ["too", "th", "brush"]),
        ("a cat, don't", ["a</w>", "cat</w>", ",</w>", "don</w>", "'t</w>"], ["a", "cat", ",", "don", "'t"]),
        ("  a \n\t cat ", ["a</w>", "cat</w>"], ["a", "cat"]),
        ("a cat", ["▁a", "▁c", "at"], ["a", "c", "at"]),
        ("Une tasse", ["▁", "une", "▁tasse"], [None, "Une", "tasse"]),
        ("a cat", ["a", "Ġcat"], ["a", "cat"]),
        ("e\u0301 x", bpe("\u00e9 x"), ["e\u0301", "x"]),
        ("\u00e9 x", ["<0xC3>", "<0xA9>", "▁x"], ["\u00e9", "\u00e9", "x"]),
        ("ΟΔΟΣ x", bpe("οδοσ x"), ["ΟΔΟΣ", "x"]),
        ("🐱x", ["ðŁĲ", "±x</w>"], ["🐱", "🐱x"]),
        ("", [], []),
        ("a cat", [], []),
    ],
)
def test_pieces_cover_the_characters_they_spell(text, pieces, expected):
    assert covered(text, pieces) == expected


@pytest.mark.parametrize(
    "text, pieces, expected",
    [
        (
            "a “cat” and a dog",
            ["a</w>", '"</w>', "cat</w>", '"</w>', "and</w>", "a</w>", "dog</w>"],
            ["a", None, "cat", None, "and", "a", "dog"],
        ),
        ("a cat dropped dog", ["a</w>", "cat</w>", "dog</w>"], ["a", "cat", "dog"]),
        ("a cat", ["a</w>", "zebra</w>", "cat</w>"], ["a", None, "cat"]),
        ("a cat", ["a</w>", "cat</w>", "cat</w>"], ["a", "cat", None]),
        ("a c", ["", "a</w>", "c</w>"], [None, "a", "c"]),
    ],
)
def test_what_does_not_agree_is_passed_over(text, pieces, expected):
    assert covered(text, pieces) == expected


@pytest.mark.parametrize(
    "text, pieces, words, expected",
    [
        ("embedding:x cat", [None, None, "cat</w>"], None, ["embedding:x", "embedding:x", "cat"]),
        ("cat embedding:x, dog", ["cat</w>", None, ",</w>", "dog</w>"], None, ["cat", "embedding:x", ",", "dog"]),
        (
            "embedding:x embedding:y cat",
            [None, None, None, "cat</w>"],
            [1, 2, 2, 3],
            ["embedding:x", "embedding:y", "embedding:y", "cat"],
        ),
        ("embedding:gone cat", ["cat</w>"], None, ["cat"]),
        ("cat", [None, "cat</w>"], None, [None, "cat"]),
    ],
)
def test_vectors_belong_to_their_embedding(text, pieces, words, expected):
    assert covered(text, pieces, word_ids=words) == expected


def test_however_words_are_cut_the_pieces_cover_them_in_order():
    rng = random.Random(3)
    words = "Cat dog, “quote” caf\u00e9 naïve 🐱🚲 猫猫 Привет don't half-eaten x 1girl O'Neil ½ ± Ω".split()
    for _ in range(300):
        text = "  ".join(rng.choice(words) for _ in range(rng.randint(1, 12)))
        pieces = bpe(text, rng)
        spans = align(text, pieces)
        assert None not in spans
        assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in zip(spans, spans[1:], strict=False))
        assert {i for start, end in spans for i in range(start, end)} == {
            i for i, c in enumerate(text) if not c.isspace()
        }


def test_any_pieces_on_any_text_stay_within_bounds():
    rng = random.Random(4)
    alphabet = [
        "a",
        "b</w>",
        "cat</w>",
        None,
        "▁x",
        "ðŁ",
        "",
        "</w>",
        "<0xZZ>",
        "<0xE9>",
        "Ġ",
        "embedding",
        "\u0301",
        "\ud800",
    ]
    for _ in range(1000):
        text = "".join(rng.choice("ab cat\u0301🐱embedding:x \n\u200d\ud800") for _ in range(rng.randint(0, 20)))
        pieces = [rng.choice(alphabet) for _ in range(rng.randint(0, 12))]
        spans = align(text, pieces)
        assert len(spans) == len(pieces)
        assert all(span is None or 0 <= span[0] < span[1] <= len(text) for span in spans)


def chunks(pieces, size=77, content=75):
    """Chunks of one prompt as the host makes them: start, content, end and padding; word ids run over chunks."""
    result, word = [], 0
    for start in range(0, max(1, len(pieces)), content):
        tokens = [("<|startoftext|>", 1.0, 0)]
        for piece in pieces[start : start + content]:
            word += 1
            tokens.append((piece, 1.0, word))
        tokens += [("<|endoftext|>", 1.0, 0)] * (size - len(tokens))
        result.append(tokens)
    return result


def test_targets_of_a_short_prompt():
    typed = "a (black:1.2) car left of a clock"
    text = parse_weights(typed).text
    targets = targets_in(typed, extract(text), chunks(bpe(text)))
    assert targets == Targets(
        prompt=typed,
        objects=(Target("car", "black car", (3,), (Attribute("black", (2,)),)), Target("clock", "clock", (7,))),
        relations=(Relation(0, "left of", 1),),
        content=(1, 2, 3, 4, 5, 6, 7),
        pieces=("a", "black", "car", "left", "of", "a", "clock"),
        length=77,
        chunk=77,
    )


def test_positions_skip_the_ends_of_chunks():
    text = "x " * 80 + "a cat"
    targets = targets_in(text, extract(text), chunks(bpe(text)))
    assert targets.objects[-1].positions == (77 + 1 + 6,)
    assert targets.length == 154 and targets.content[74:77] == (75, 78, 79)


def test_a_neighbour_without_a_space_is_not_taken_along():
    targets = targets_in("1girl", extract("1girl"), chunks(["1", "girl</w>"]))
    assert [(target.name, target.positions) for target in targets.objects] == [("girl", (2,))]


def test_an_object_cut_off_by_the_encoder_is_left_out_with_its_relations():
    text = "a cat above a dog"
    targets = targets_in(text, extract(text), chunks(bpe("a cat above")))
    assert [target.name for target in targets.objects] == ["cat"] and targets.relations == ()


def test_repeated_words_keep_their_own_positions():
    text = "cat and cat"
    targets = targets_in(text, find_words(text, "cat, cat"), chunks(bpe(text)))
    assert [target.positions for target in targets.objects] == [(1,), (3,)]


def test_no_tokens_at_all():
    targets = targets_in("", Scene(""), [])
    assert targets.objects == () and targets.length == targets.chunk == 0


def test_half_an_emoji_reads_as_the_emoji():
    assert (
        readable("ðŁĲ", "🐱") == "🐱"
        and readable("cat</w>", "Cat") == "cat"
        and readable(None, "embedding:x") == "embedding:x"
    )


def test_relations_have_a_normal_form_and_an_axis():
    assert Relation(0, "right of", 1).normal == Relation(1, "left of", 0) == Relation(1, "left of", 0).normal
    assert Relation(0, "below", 1).normal == Relation(1, "above", 0)
    assert Relation(1, "next to", 0).normal == Relation(0, "next to", 1).normal == Relation(0, "next to", 1)
    assert Relation(0, "holding", 1).normal == Relation(0, "holding", 1)
    assert [Relation(0, p, 1).axis for p in ("left of", "right of", "above", "below", "on", "near")] == [
        ("x", -1),
        ("x", 1),
        ("y", -1),
        ("y", 1),
        ("y", -1),
        None,
    ]


def test_the_summary_tells_objects_tokens_and_relations():
    text = "a black car left of a clock"
    summary = targets_in(text, extract(text), chunks(["a</w>", "bl", "ack</w>", *bpe("car left of a clock")])).summary()
    assert "1. car (token 4), black (tokens 2-3)" in summary
    assert "black car – left of – clock" in summary and "8 tokens in 1 chunk of 77" in summary
    assert "No objects" in Targets("", (), (), (), (), 77, 77).summary()


def test_a_tokenizer_that_spells_weights_is_read_against_the_text_as_typed():
    typed = r"a (black:1.3) car \(old\)"
    pieces = ["a", "Ġ(", "black", ":", "1", ".", "3", ")", "Ġcar", "Ġ(", "old", ")"]
    reading = Reading(pieces, [1] * 12, range(20, 32), knows_weights=False)
    targets = build_targets(typed, extract(parse_weights(typed)), [reading], [Stretch(0, 40)])
    (car,) = targets.objects
    assert car.positions == (28,) and [a.positions for a in car.attributes if a.text == "black"] == [(22,)]
    assert targets.content == tuple(range(20, 32)) and targets.length == targets.chunk == 40


def test_a_word_stands_in_the_stretch_of_each_encoder():
    typed = "a cat and a dog"
    clip = Reading(bpe(typed), range(1, 6), range(1, 6))
    t5 = Reading(["▁", "a", "▁cat", "▁and", "▁", "a", "▁dog"], range(1, 8), range(77, 84))
    stretches = [Stretch(0, 77, encoder="l"), Stretch(77, 256, "further", "t5")]
    targets = build_targets(typed, extract(typed), [clip, t5], stretches)
    assert [target.positions for target in targets.objects] == [(2, 79), (5, 83)]
    assert targets.by_stretch(targets.objects[1].positions) == [[5], [83]]
    maps = torch.rand(1, 2, 2, 333)
    torch.testing.assert_close(word_map(maps, targets, (2, 3, 79)), maps[..., [2, 3]].mean(-1) + maps[..., 79])
    assert targets.length == 333 and targets.columns_of() == 77 and targets.columns_of("further") == 256
    assert targets.stretches == tuple(stretches) and "chunks of 77 and 256" in targets.summary()


def test_tokens_that_do_not_reach_the_attention_have_no_place():
    typed = "a cat and a dog"
    reading = Reading(bpe(typed), range(1, 6), [0, 1, 2, None, None])
    targets = build_targets(typed, extract(typed), [reading], [Stretch(0, 3)])
    assert [target.name for target in targets.objects] == ["cat"] and targets.content == (0, 1, 2)


def test_sentencepiece_spells_compatible_letters():
    assert covered("a ﬁsh, ＣＡＴ", ["▁a", "▁fi", "sh", ",", "▁cat"]) == ["a", "ﬁ", "sh", ",", "ＣＡＴ"]


def test_without_a_start_token_the_first_word_competes_and_is_edited():
    """Attention Regulation gives the start token back what it had: T5 has none, a template's first token is one."""
    t5 = Reading(["▁cat", "▁and", "▁dog"], [1, 2, 3], [0, 1, 2])
    chat = Reading(["cat", "Ġand", "Ġdog"], [1, 1, 1], [3, 4, 5])
    kept = [
        kept_columns(build_targets("cat and dog", extract("cat and dog"), [reading], [Stretch(0, 9)]))
        for reading in (t5, chat)
    ]
    assert kept == [[3], [0, 6]]
