"""The nodes' words in other languages: complete, up to date with the schemas, and served by the host's own manager."""

import json
import shutil

import pytest
from prompt_fidelity.nodes import NODES
from prompt_fidelity.tools import ROOT, locales, sentences
from prompt_fidelity.tools.server import link, pack_name

LANGUAGES = ("en", *locales.TRANSLATED)


def test_english_is_what_the_schemas_say():
    assert locales.read("en") == locales.english(NODES), "Run `python3 dev.py run tools/locales.py`."


def test_every_language_says_it_all_and_nothing_else():
    found = locales.problems(NODES)
    assert not found, "\n".join(["Translations to mend (tools/locales.py tells how):", *found])


def test_all_of_the_english_was_there_to_be_translated():
    """Otherwise a change of it would go unnoticed."""
    assert json.loads(locales.FOLLOWED.read_text()).keys() == locales.flat(locales.read("en")).keys()


def test_choices_bring_their_names_along():
    inputs = locales.english(NODES)["FidelitySelectMethod"]["inputs"]
    assert inputs["method_preset_step_size"] == {"name": "step_size"} and "tooltip" in inputs["method"]


@pytest.fixture
def spoiled(tmp_path, monkeypatch):
    """Spoils one Japanese entry of a copy of the translations, and tells what is said to that."""
    copy = tmp_path / "locales"
    shutil.copytree(locales.LOCALES, copy)
    monkeypatch.setattr(locales, "LOCALES", copy)
    monkeypatch.setattr(locales, "FOLLOWED", copy / "followed.json")

    def spoil(key: str, text: str | None) -> list[str]:
        words = locales.read("ja")
        *path, last = key.split(".")
        place = words
        for part in path:
            place = place.setdefault(part, {})
        place.pop(last, None) if text is None else place.update({last: text})
        locales.write(locales.file_of("ja"), words)
        return locales.problems(NODES)

    return spoil


@pytest.mark.parametrize(
    "key, text, says",
    [
        ("FidelityApply.inputs.strength.tooltip", None, 'is missing: "Multiplies the method'),
        ("FidelityApply.inputs.strength.tooltip", "", "is missing"),
        ("FidelityGone.display_name", "過去", "belongs to no node"),
        ("FidelityApply.inputs.strength.tooltip", "倍率", "does not say 0"),
        ("FidelityApply.inputs.recompute.tooltip", "on", "does not say auto"),
        ("FidelityApply.inputs.method.tooltip", "前のノードから。", "does not call Select Method"),
        ("FidelityApply.display_name", "適用@{x}", "for syntax"),
    ],
)
def test_a_gap_is_named(spoiled, key, text, says):
    assert any(f"locales/ja: {key}" in line and says in line for line in spoiled(key, text))


def test_english_that_changed_asks_for_a_new_translation(spoiled, monkeypatch):
    followed = json.loads(locales.FOLLOWED.read_text())
    key = "FidelityApply.inputs.strength.tooltip"
    locales.write(locales.FOLLOWED, followed | {key: locales.digest("Something else.")})
    assert [line for line in locales.problems(NODES) if "has changed" in line and key in line]


def test_the_host_serves_them_all(tmp_path, monkeypatch):
    import folder_paths
    from app.custom_node_manager import CustomNodeManager

    link(tmp_path / pack_name(), ROOT)
    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda kind: [str(tmp_path)])
    served = CustomNodeManager().build_translations()
    assert set(served) == set(LANGUAGES)
    for language in LANGUAGES:
        assert served[language] == {"nodeDefs": locales.read(language), "promptFidelity": sentences.read(language)}
