"""The nodes' words in other languages: English is written from the schemas, the others are held against it.

    python3 dev.py run tools/locales.py             # writes locales/en and says what the translations lack
    python3 dev.py run tools/locales.py --followed  # once they are mended: they follow the English as it is now

The format is ComfyUI's, which serves locales/<language>/nodeDefs.json to the page (app/custom_node_manager.py). The
page looks an input up by its name with dots turned into underscores, so what a choice brings along
("method.preset.start") has one entry for all choices. Only its name can be translated there: the page prefers the
schema's own tooltip, and the choices themselves are values, the same in every language.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "locales"
TRANSLATED = ("zh", "ja", "ko")
# Of which English each entry was translated: a digest for each, so that a tooltip that says something new is noticed.
FOLLOWED = LOCALES / "followed.json"
# What the page's message compiler takes for syntax (vue-i18n) in names and descriptions; tooltips it shows as they are.
_SYNTAX = re.compile(r"[{}@|]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\{\}")


def file_of(language: str) -> Path:
    return LOCALES / language / "nodeDefs.json"


def read(language: str) -> dict:
    return json.loads(file_of(language).read_text(encoding="utf-8"))


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def english(nodes: Sequence) -> dict:
    """What locales/en/nodeDefs.json has to hold for these nodes."""
    return {schema.node_id: _definition(schema) for schema in (node.GET_SCHEMA() for node in nodes)}


def _definition(schema) -> dict:
    inputs = {
        name.replace(".", "_"): _texts(one.display_name or one.id, None if "." in name else one.tooltip)
        for name, one in _inputs(schema.inputs)
    }
    # An output without a name of its own has that of its type, for which the page has its own words.
    outputs = {str(index): _texts(one.display_name, one.tooltip) for index, one in enumerate(schema.outputs)}
    parts = {"inputs": inputs, "outputs": outputs}
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        **{part: entries for part, entries in parts.items() if any(entries.values())},
    }


def _texts(name: str | None, tooltip: str | None) -> dict[str, str]:
    return {kind: text for kind, text in (("name", name), ("tooltip", tooltip)) if text}


def _inputs(inputs: Sequence, before: str = "") -> Iterator[tuple[str, object]]:
    """Every input by the name that it has on the page, those that a choice brings along behind it."""
    for one in inputs:
        yield before + one.id, one
        for option in getattr(one, "options", None) or ():
            yield from _inputs(getattr(option, "inputs", ()), f"{before}{one.id}.")


def flat(definitions: dict, before: str = "") -> dict[str, str]:
    """{"FidelityApply.inputs.model.tooltip": text, ...}"""
    found = {}
    for key, value in definitions.items():
        found.update(flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value})
    return found


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def problems(nodes: Sequence) -> list[str]:
    """What is missing, left over or out of date in the translations, a line for each, with the English to translate."""
    source = flat(english(nodes))
    followed = json.loads(FOLLOWED.read_text(encoding="utf-8"))
    new = [key for key, text in source.items() if key in followed and followed[key] != digest(text)]
    found = [f'The English of {key} has changed since it was translated: "{source[key]}"' for key in new]
    for language in TRANSLATED:
        found += [f"locales/{language}: {line}" for line in _lacks(nodes, source, flat(read(language)))]
    return found


def _lacks(nodes: Sequence, source: dict[str, str], translated: dict[str, str]) -> Iterator[str]:
    yield from (f'{key} is missing: "{text}"' for key, text in source.items() if not translated.get(key))
    yield from (f"{key} belongs to no node any more" for key in translated if key not in source)
    names = {schema.display_name: schema.node_id for schema in (node.GET_SCHEMA() for node in nodes)}
    options = _options(nodes)
    for key in (key for key in source if translated.get(key)):
        text, other = source[key], translated[key]
        if not key.endswith(".tooltip") and _SYNTAX.search(other):
            yield f"{key} holds a character that the page takes for syntax: {other}"
        for number in set(_NUMBER.findall(text)) - set(_NUMBER.findall(other)):
            yield f"{key} does not say {number}: {other}"
        for option in options.get(key, ()):
            if re.search(rf"\b{re.escape(option)}\b", text) and option not in other:
                yield f"{key} does not say {option}, which is a choice: {other}"
        for name, node in names.items():
            own = translated.get(f"{node}.display_name")
            if own and name in text and own not in other and not key.endswith("name"):
                yield f"{key} does not call {name} {own}: {other}"


def _options(nodes: Sequence) -> dict[str, list[str]]:
    """The choices of an input, by the key of its tooltip."""
    return {
        f"{schema.node_id}.inputs.{one.id}.tooltip": [getattr(option, "key", option) for option in one.options]
        for schema in (node.GET_SCHEMA() for node in nodes)
        for one in schema.inputs
        if getattr(one, "options", None)
    }


def main(arguments: Sequence[str]) -> int:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from _pack import load_pack

    load_pack()
    from prompt_fidelity.nodes import NODES

    write(file_of("en"), english(NODES))
    if "--followed" in arguments:
        write(FOLLOWED, {key: digest(text) for key, text in flat(english(NODES)).items()})
    found = problems(NODES)
    print("\n".join(found) or "Every language is complete.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
