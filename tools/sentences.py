"""What nodes say while they run, in other languages: every sentence and its translations.

    python3 dev.py run tools/sentences.py           # says what the translations lack, and which sentences have none

The code says its sentences in English, and its English is the key: locales/en/main.json repeats the sentences that
are translated, each under a name, with {holes} where the code puts in a word or a number; the other languages have the
same names and holes. ComfyUI serves these files to the page, where web/said.js recognises a sentence by its English and
shows the page's language. What isn't in the files is shown in English. So an error that the host carries as bare text
is translated like the rest, and nothing about languages is known to the code that runs. A sentence whose English
changes is found here: it is no longer the code's.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "locales"
LANGUAGES = ("en", *sorted(folder.name for folder in LOCALES.iterdir() if folder.is_dir() and folder.name != "en"))
_LAYERS = ("core", "host", "nodes")
_ERRORS = {"MethodError", "HostError", "WordNotFound"}
_HOLE = re.compile(r"\{(\w*)\}")


def read(language: str) -> dict[str, str]:
    """{name: sentence with {holes}}"""
    return json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))["promptFidelity"]


def holes(sentence: str) -> list[str]:
    return sorted(_HOLE.findall(sentence))


def in_code() -> dict[str, str]:
    """Every text of the code with {} for what it puts in, and where it stands."""
    found: dict[str, str] = {}
    for place, tree in _files():
        for text, line in _texts(tree):
            found.setdefault(text, f"{place}:{line}")
    return found


def _files() -> Iterator[tuple[str, ast.Module]]:
    for layer in _LAYERS:
        for file in sorted((ROOT / layer).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def _texts(node: ast.AST) -> Iterator[tuple[str, int]]:
    """The texts below a node of the code, docstrings left out, and their lines."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value, node.lineno
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values), node.lineno
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _texts(part.value)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def problems() -> list[str]:
    """What is wrong with the translations, a line each."""
    english, code = read("en"), in_code()
    found = [
        f'{name}: the code does not say "{sentence}"'
        for name, sentence in english.items()
        if _HOLE.sub("{}", sentence) not in code
    ]
    for language in LANGUAGES[1:]:
        other = read(language)
        found += [f"locales/{language} lacks {name}: {english[name]}" for name in english if not other.get(name)]
        found += [f"locales/{language} has {name}, which English has not" for name in other if name not in english]
        found += [
            f"locales/{language}: {name} has the holes {holes(other[name])}, in English {holes(english[name])}"
            for name in english
            if other.get(name) and holes(other[name]) != holes(english[name])
        ]
    return found


def untranslated() -> dict[str, str]:
    """Errors for the artist (core/errors.py) that are in English only, and where they are raised."""
    known = [re.compile(".+".join(map(re.escape, _HOLE.split(text)[::2]))) for text in read("en").values()]
    found: dict[str, str] = {}
    for place, tree in _files():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and getattr(getattr(node.exc, "func", None), "id", "") in _ERRORS:
                said = [one for argument in node.exc.args for one in _texts(argument)]
                found |= {text: f"{place}:{line}" for text, line in said if " " in text.strip()}
    return {text: where for text, where in found.items() if not any(one.fullmatch(text) for one in known)}


def main() -> int:
    found = problems()
    print("\n".join(found) or "Every language has every sentence.")
    for text, where in untranslated().items():
        print(f"in English only, {where}: {text}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
