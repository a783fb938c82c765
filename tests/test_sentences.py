"""What nodes say while they run is said in every language (tests/browser/test_languages.py sees it on the page)."""

import json

import pytest
from prompt_fidelity.tools import sentences


def test_every_sentence_is_the_codes_and_stands_in_every_language_with_the_same_holes():
    assert sentences.problems() == []
    assert len(sentences.read("en")) > 80


@pytest.mark.parametrize(
    ("language", "name", "text", "problem"),
    [
        ("en", "word_not_in_prompt", "No word {words} is in the prompt.", "the code does not say"),
        ("ja", "try_seed_or_strength", "強度を試してください", "has the holes"),
        ("ko", "attached", "", "lacks attached"),
        ("zh", "left_over", "还在", "which English has not"),
    ],
)
def test_a_sentence_that_went_astray_is_found(tmp_path, monkeypatch, language, name, text, problem):
    for each in sentences.LANGUAGES:
        (tmp_path / "locales" / each).mkdir(parents=True)
        said = sentences.read(each) | ({name: text} if each == language else {})
        (tmp_path / "locales" / each / "main.json").write_text(json.dumps({"promptFidelity": said}), encoding="utf-8")
    monkeypatch.setattr(sentences, "LOCALES", tmp_path / "locales")
    (found,) = sentences.problems()
    assert problem in found


def test_an_error_without_a_translation_is_told():
    assert all(where.split(":")[0].endswith(".py") for where in sentences.untranslated().values())
    assert not any("is not in the prompt" in text for text in sentences.untranslated())
