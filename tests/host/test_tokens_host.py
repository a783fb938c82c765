"""Words at their places on the token axis, with the host's own CLIP tokenizer (no weights needed)."""

import comfy.sd1_clip
import pytest
import torch
from prompt_fidelity.core.prompt import extract, find_words, parse_weights
from readings import targets_in


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    """A folder with the embeddings "two" and "three", of so many vectors."""
    folder = tmp_path_factory.mktemp("embeddings")
    for name, vectors in (("two", 2), ("three", 3)):
        torch.save({"string_to_param": {"*": torch.randn(vectors, 768)}}, folder / f"{name}.pt")
    return str(folder)


@pytest.fixture(scope="module")
def tokenizer(embeddings):
    return comfy.sd1_clip.SD1Tokenizer(embedding_directory=embeddings)


def chunks_of(tokenizer, typed: str):
    """The host's tokens with vocabulary strings for ids, None for an embedding's vector."""
    vocabulary = tokenizer.clip_l.inv_vocab
    tokens = tokenizer.tokenize_with_weights(typed, return_word_ids=True)["l"]
    return [
        [(None if torch.is_tensor(token) else vocabulary[token], weight, word) for token, weight, word in chunk]
        for chunk in tokens
    ]


def spelled(chunks, positions) -> str:
    """What the tokens at absolute positions spell, without spaces."""
    flat = [token for chunk in chunks for token in chunk]
    return bytes_of("".join(flat[p][0].removesuffix("</w>") for p in positions)).decode("utf-8")


def bytes_of(pieces: str) -> bytes:
    """CLIP's visible characters back to bytes: the inverse of GPT-2's table, written out for the test."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    table = {**{chr(b): b for b in visible}, **{chr(256 + i): b for i, b in enumerate(hidden)}}
    return bytes(table[c] for c in pieces)


def targets_of(tokenizer, typed: str, words: str = ""):
    text = parse_weights(typed).text
    chunks = chunks_of(tokenizer, typed)
    return targets_in(typed, find_words(text, words) if words else extract(text), chunks), chunks


def check(targets, chunks):
    for target in targets.objects:
        assert spelled(chunks, target.positions) == target.name.lower().replace(" ", "")
        for attribute in target.attributes:
            assert spelled(chunks, attribute.positions) == attribute.text.lower().replace(" ", "")


@pytest.mark.parametrize(
    "typed, names",
    [
        ("a black car and a white clock", ["car", "clock"]),
        ("a (black:1.3) car and a ((white)) clock", ["car", "clock"]),
        ("a (black car:1.3) and (a (white:0.5) clock)", ["car", "clock"]),
        (r"a car \(black\) and a \(white clock", ["car", "clock"]),
        ("A BLACK CAR\nand\ta  White   Clock!!", ["CAR", "Clock"]),
        ("a rhinoceros and a hippopotamus playing a xylophone", ["rhinoceros", "hippopotamus", "xylophone"]),
        ("a man's t-shirt, the dog's frisbee, don't care", ["man", "t-shirt", "dog", "frisbee"]),
        ("a caf\u00e9 chair 🐱 and a 🚲 lamp", ["caf\u00e9 chair", "lamp"]),
        ("1girl, red dress, long_hair, best quality", ["girl", "dress", "hair"]),
        ("half-eaten apple, 3 dogs, a cup of coffee", ["apple", "dogs", "cup"]),
        (":) (a cat:1.2) (: and a dog", ["cat", "dog"]),
        ("(((a cat)) and a dog", ["cat", "dog"]),
        ("a cat) and (a dog) (a bird)", ["cat", "dog", "bird"]),
    ],
)
def test_the_tokens_of_a_word_spell_the_word(tokenizer, typed, names):
    targets, chunks = targets_of(tokenizer, typed)
    assert [target.name for target in targets.objects] == names
    check(targets, chunks)
    for target in targets.objects:
        assert target.positions == tuple(range(target.positions[0], target.positions[-1] + 1))


def test_a_decomposed_letter_is_found_as_the_composed_one(tokenizer):
    targets, chunks = targets_of(tokenizer, "a jalapen\u0303o on a plate")
    assert spelled(chunks, targets.objects[0].positions) == "jalape\u00f1o"


def test_several_pieces_a_word_are_all_taken(tokenizer):
    targets, _ = targets_of(tokenizer, "a xylophonist with a theremin")
    assert [len(target.positions) > 1 for target in targets.objects] == [True, True]


def test_an_embedding_shifts_what_follows_by_its_vectors(tokenizer):
    targets, chunks = targets_of(tokenizer, "embedding:two a black car, embedding:three, embedding:two a clock")
    check(targets, chunks)
    car, clock = targets.objects
    assert car.positions == (5,) and clock.positions == (14,)  # start + 2 + "a black car" ...
    assert len(targets.content) == 14
    assert targets.pieces.count("embedding:two") == 4 and targets.pieces.count("embedding:three") == 3


def test_neighbouring_and_missing_embeddings(tokenizer):
    targets, chunks = targets_of(tokenizer, "embedding:two embedding:three (embedding:two:1.2) embedding:missing a cat")
    check(targets, chunks)
    assert targets.pieces[:7] == ("embedding:two",) * 2 + ("embedding:three",) * 3 + ("embedding:two",) * 2
    assert [target.name for target in targets.objects] == ["cat"]


def test_an_embedding_can_be_named_as_a_target(tokenizer):
    targets, _ = targets_of(tokenizer, "a photo of embedding:three with a dog", "embedding:three, dog")
    assert [target.positions for target in targets.objects] == [(4, 5, 6), (9,)]


def test_an_embedding_without_a_folder_is_read_as_words():
    tokenizer = comfy.sd1_clip.SD1Tokenizer()
    targets, chunks = targets_of(tokenizer, "embedding:two and a cat")
    check(targets, chunks)
    assert [target.name for target in targets.objects] == ["cat"]


@pytest.mark.parametrize("filler", ["a tree, ", "(a tree:1.2), ", "a rhododendron, "])
def test_positions_run_on_over_chunks(tokenizer, filler):
    targets, chunks = targets_of(tokenizer, filler * 40 + "a black car")
    check(targets, chunks)
    assert len(chunks) > 1 and targets.length == 77 * len(chunks) and targets.chunk == 77
    car = next(target for target in targets.objects if target.name == "car")
    assert car.positions[0] > 77 and car.positions[0] % 77 not in (0, 76)
    assert all(position % 77 for position in targets.content)


def test_a_word_cut_in_two_by_the_chunks_keeps_both_parts(tokenizer):
    # A group of 8 or more tokens is filled up to the chunk's end, so a word of several pieces can straddle it.
    for length in range(68, 76):
        targets, chunks = targets_of(tokenizer, "x " * length + "a hippopotamuses")
        check(targets, chunks)
        last = targets.objects[-1].positions
        if last[0] < 76 < last[-1]:
            return
    pytest.fail("no prompt cut the word")


def test_an_embedding_and_a_word_moved_to_the_next_chunk(tokenizer):
    targets, chunks = targets_of(tokenizer, "tree " * 74 + "embedding:three a cat")
    check(targets, chunks)
    assert targets.objects[-1].name == "cat" and targets.objects[-1].positions[0] > 77


def test_nothing_typed_gives_no_targets(tokenizer):
    targets, _ = targets_of(tokenizer, "")
    assert targets.objects == () and targets.content == () and targets.length == 77


def test_content_is_every_token_that_the_host_counts_as_a_word(tokenizer):
    typed = "a (black:1.3) car, embedding:two, 🐱 and " + "a clock, " * 30
    targets, chunks = targets_of(tokenizer, typed)
    expected = [77 * c + i for c, chunk in enumerate(chunks) for i, token in enumerate(chunk) if token[2]]
    assert list(targets.content) == expected and len(targets.pieces) == len(expected)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "()",
        "((",
        "))",
        "a) b (c) d",
        "(a (b)",
        "(a:1.5) (b:x) (:2) (c:)",
        "(a:1.2:1.4)",
        r"\(a\) (b\):1.3)",
        "((a:1.2) b:0.5) c",
        "(a:nan)",
        "a:1.5",
        ")(a)(",
        "(((x",
        "(a:-1)",
    ],
)
def test_weights_are_the_hosts(typed):
    pairs = comfy.sd1_clip.token_weights(comfy.sd1_clip.escape_important(typed), 1.0)
    theirs = [(comfy.sd1_clip.unescape_important(text), weight) for text, weight in pairs if text]
    prompt = parse_weights(typed)
    ours = [(prompt.text[start:end], weight) for (start, end), weight in prompt.weights if end > start]
    assert [text for text, _ in ours] == [text for text, _ in theirs]
    assert [weight for _, weight in ours] == pytest.approx([weight for _, weight in theirs], nan_ok=True)
