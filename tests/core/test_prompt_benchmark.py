"""The extraction's figures on sentences of known meaning, and the metrics themselves on a file written by hand."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "prompts"


def load_benchmark():
    spec = importlib.util.spec_from_file_location("extraction_benchmark", ROOT / "benchmarks" / "extraction.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()


@pytest.mark.parametrize("half", [slice(0, None, 2), slice(1, None, 2), slice(None)])
def test_gpt_sentences(half):
    result = benchmark.run(benchmark.read_examples((DATA / "gpt.txt").read_text(encoding="utf-8"))[half])
    assert result["object_recall"] >= 0.97
    assert result["object_precision"] >= 0.90
    assert result["attribute_binding"] >= 0.95
    assert result["relation_recall"] >= (0.85 if half == slice(None) else 0.83)


def figures(name: str, part=lambda examples: examples) -> dict:
    return benchmark.run(part(benchmark.read_examples((DATA / name).read_text(encoding="utf-8"))))


def test_prompts_as_users_type_them():
    """Wanted were .85 of cases.txt. The third of users.txt that nobody looked at says what new prompts may expect."""
    assert figures("cases.txt")["right"] >= 0.95
    assert figures("users.txt", lambda examples: benchmark.third(examples, held_out=False))["right"] >= 0.95
    assert figures("users.txt", lambda examples: benchmark.third(examples, held_out=True))["right"] >= 0.88


STATED = "a red cat on a mat and a dog || cat[red], mat, dog || cat on mat || photo || dog on mat"


@pytest.mark.parametrize(
    "typed, faults",
    [
        ("a red cat on a mat and a dog", []),
        ("a mat below a red cat, a dog", ["cat on mat: not found"]),
        ("a blue cat on a mat and a dog", ["cat: other attributes"]),
        ("a red blue cat on a mat and a dog", ["cat: other attributes"]),
        ("a red cat on a mat", ["dog: not found"]),
        ("a red cat on a mat and a dog and a dog", ["dog: once too often"]),
        ("a red cat and a dog on a mat", ["dog on mat: is no relation"]),
        ("a girl holding a photo, a dog, a red cat on a mat", ["photo: is no object"]),
    ],
)
def test_what_is_wrong_with_a_scene(typed, faults):
    prompt, lexicon = benchmark.load_core()
    stated = benchmark.read_stated(STATED)
    assert list(benchmark.judge(stated, prompt.extract(typed), lexicon.singular, benchmark.COLOURS).faults) == faults


def test_stated_prompts_are_counted(tmp_path):
    result = benchmark.run(benchmark.read_examples("# A\n" + STATED + "\n\na cat || dog ||  ||  ||\n"))
    assert (result["prompts"], result["right"], result["object_recall"], result["relation_recall"]) == (2, 0.5, 0.75, 1)
    assert result["counts"]["stated"] == 2


def test_vsr_sentences_are_read_without_a_mistake():
    result = benchmark.run(benchmark.read_examples((DATA / "vsr.txt").read_text(encoding="utf-8")))
    assert [
        result[name] for name in ("object_recall", "object_precision", "relation_recall", "relation_precision")
    ] == [1, 1, 1, 1]


def test_every_caption_has_an_object():
    result = benchmark.run(benchmark.read_examples((DATA / "mscoco.txt").read_text(encoding="utf-8")))
    assert result["judged"] == 0 and result["prompts"] == 250
    assert result["prompts_without_objects"] == 0
    assert 2 < result["objects_per_prompt"] < 4


HAND_WRITTEN = """Objects: black car, dog, white orange
Relation: black car left of dog, dog above white orange
Sentence: SENTENCE
"""


@pytest.mark.parametrize(
    "sentence, figures",
    [
        # recall, precision, binding, relation recall, relation precision
        ("The dog is to the right of the black car and above the white orange.", (1, 1, 1, 1, 1)),
        ("The dog is to the left of the black car and above the white orange.", (1, 1, 1, 0.5, 0.5)),
        ("The dog is right of the white car and on the orange.", (1, 1, 0, 1, 1)),
        ("The dog is right of the black white car.", (0.6667, 1, 0, 0.5, 1)),
        ("The black dog is on the lamp.", (0.3333, 0.5, 0, 0, None)),
        ("Nothing here.", (0, None, 0, 0, None)),
    ],
)
def test_the_metrics_count_as_described(sentence, figures):
    result = benchmark.run(benchmark.read_examples(HAND_WRITTEN.replace("SENTENCE", sentence)))
    names = ("object_recall", "object_precision", "attribute_binding", "relation_recall", "relation_precision")
    assert tuple(result[name] for name in names) == figures


def test_two_things_of_one_name_are_matched_by_colour():
    block = "Objects: red car, blue car\nRelation: red car above blue car\nSentence: A blue car is under a red car."
    result = benchmark.run(benchmark.read_examples(block))
    assert (result["object_recall"], result["attribute_binding"], result["relation_recall"]) == (1, 1, 1)


def test_the_last_line_is_json(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(HAND_WRITTEN.replace("SENTENCE", "A dog."), encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks" / "extraction.py"), "--prompts", str(prompts), "--json"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    result = json.loads(lines[-1])
    assert result["object_recall"] == pytest.approx(1 / 3, abs=1e-4) and result["counts"]["listed"] == 3
    assert set(result["even"]) == set(benchmark.FIGURES) and result["odd"]["object_recall"] is None
    assert any("object_recall" in line for line in lines[:-1])
