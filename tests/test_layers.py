"""The rules that keep the pack readable: which layer may import what, and that no file is tied to one machine."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("core", "host", "nodes")
HOST_MODULES = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "nodes", "execution", "server", "folder_paths"}
HOST_MODULES |= {"node_helpers", "latent_preview", "app", "utils", "middleware", "main", "protocol"}


def modules(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imports(path: Path) -> list[tuple[str, ...]]:
    """What a file imports, anywhere in it: ("torch", "nn") for absolute names, (".", "core", "losses") for relative."""
    found: list[tuple[str, ...]] = []
    package = (".", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = (*start, *(node.module.split(".") if node.module else ()))
            # `from . import x` names its layer only in what it imports
            found += [(*module, alias.name) for alias in node.names]
    return found


def offenders(layer: str, forbidden) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {'.'.join(name)}"
        for path in modules(layer)
        for name in imports(path)
        if forbidden(name)
    ]


def layer_of(name: tuple[str, ...]) -> str | None:
    return name[1] if name[0] == "." and len(name) > 1 else None


def test_there_is_something_to_check():
    assert all(modules(layer) for layer in LAYERS)
    assert any(layer_of(name) == "core" for path in modules("host") for name in imports(path))


def test_core_knows_neither_the_host_nor_the_nodes():
    assert offenders("core", lambda name: layer_of(name) in ("host", "nodes") or name[0] in HOST_MODULES) == []


def test_the_host_layer_knows_no_nodes():
    assert offenders("host", lambda name: layer_of(name) == "nodes") == []


def test_only_the_host_layer_imports_comfy():
    """The nodes may use `comfy_api`, which is made for them."""
    assert offenders("nodes", lambda name: name[0] in HOST_MODULES - {"comfy_api"}) == []


def test_nodes_do_no_arithmetic():
    assert offenders("nodes", lambda name: name[0] in ("torch", "numpy", "scipy")) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_own_folders_are_imported_relatively(layer: str):
    """`from core import x` would find another pack's or the host's module of that name."""
    own = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"} - {"nodes"}
    assert offenders(layer, lambda name: name[0] in own | {"prompt_fidelity"}) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_is_printed(layer: str):
    """An artist's console belongs to the host: the pack logs."""
    printing = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules(layer)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert printing == []


def test_no_module_of_the_prompt_reader_imports_itself_round_a_corner():
    """A circle of imports can't be read from any end."""
    folder = (".", "core", "prompt")
    files = {(*folder, *path.relative_to(ROOT / "core" / "prompt").with_suffix("").parts): path
             for path in (ROOT / "core" / "prompt").rglob("*.py")}  # fmt: skip
    known = {name[:-1] if name[-1] == "__init__" else name: path for name, path in files.items()}

    def module_of(used: tuple[str, ...]) -> tuple[str, ...] | None:
        return next((used[:n] for n in range(len(used), 3, -1) if used[:n] in known), None)

    needs = {name: set(map(module_of, imports(path))) - {name} for name, path in known.items() if name != folder}
    while free := [name for name, used in needs.items() if not used & needs.keys()]:
        for name in free:
            del needs[name]
    assert sorted(needs) == []


def test_the_pack_can_be_loaded_without_the_host():
    """Importing `__init__.py` and all of core needs no ComfyUI: tests and researchers use core alone."""
    code = """
import importlib, importlib.util, pathlib, sys
root = sys.argv[1]
spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for path in sorted(pathlib.Path(root, "core").rglob("*.py")):
    parts = path.relative_to(root).with_suffix("").parts
    importlib.import_module(".".join(("pack", *parts)).removesuffix(".__init__"))
assert "comfy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


HOME = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|opt|srv|tmp)/\w")
TEXT = {".py", ".md", ".json", ".toml", ".txt", ".yml", ".yaml", ".sh", ".js", ".cfg", ".csv", ""}


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    names = listed.stdout.splitlines()
    if listed.returncode:  # an unpacked archive without git
        names = [
            str(path.relative_to(ROOT))
            for top in (*LAYERS, "tests", "tools", "benchmarks")
            for path in (ROOT / top).rglob("*")
        ]
    return [ROOT / name for name in names if (ROOT / name).is_file() and Path(name).suffix in TEXT]


def test_no_file_names_a_place_on_one_machine():
    found = [
        f"{path.relative_to(ROOT)}: {match.group(0)}"
        for path in tracked_files()
        if path != Path(__file__)
        for match in HOME.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []
