"""The rules that keep the pack readable: which layer may import what, and that no file is tied to one machine."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("core", "host", "nodes")
# The floors of the house, from the top: a room may use those below it and its own, never those above. Files that stand
# loose in a layer are rooms too; rooms on one floor do not know each other.
FLOORS = {
    "core": [
        ("show",), ("control",), ("search", "check"), ("methods",), ("layout",), ("maps",), ("prompt",),
        ("drawing", "settings", "copies"), ("fonts",), ("errors", "keeping"),
    ],
    "host": [
        ("layout", "known_conditioning"), ("optimise", "seeds"), ("sampling",), ("text",), ("networks", "encoders"),
        ("models", "scoring"), ("progress", "errors"),
    ],
}  # fmt: skip
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


def rooms(layer: str) -> set[str]:
    return {path.relative_to(ROOT / layer).parts[0].removesuffix(".py") for path in modules(layer)} - {"__init__"}


@pytest.mark.parametrize("layer", FLOORS)
def test_every_room_has_its_floor(layer: str):
    assert sorted(rooms(layer)) == sorted(room for floor in FLOORS[layer] for room in floor)


@pytest.mark.parametrize("layer", FLOORS)
def test_no_arrow_runs_up(layer: str):
    """Inside a layer too, imports go one way: from what is built to what it is built of."""
    floor = {room: number for number, floor in enumerate(FLOORS[layer]) for room in floor}
    upward = []
    for path in modules(layer):
        own = path.relative_to(ROOT / layer).parts[0].removesuffix(".py")
        for name in imports(path):
            if own == "__init__" or layer_of(name) != layer or len(name) < 3:
                continue
            if name[2] != own and floor[name[2]] <= floor[own]:
                upward.append(f"{path.relative_to(ROOT)} imports {'.'.join(name)}")
    assert upward == []


def test_no_two_files_of_core_import_each_other():
    """A circle means that neither can be read without the other (imports for type checkers count)."""
    arrows: dict[str, set[str]] = {}
    for path in modules("core"):
        module = ".".join((".", *path.relative_to(ROOT).with_suffix("").parts))
        targets = arrows.setdefault(module, set())
        for name in imports(path):
            for end in (len(name), len(name) - 1):
                file = ROOT.joinpath(*name[1:end]).with_suffix(".py")
                if name[0] == "." and file.is_file():
                    targets.add(".".join(name[:end]))
                    break
    while leaves := [module for module, targets in arrows.items() if not targets & arrows.keys() - {module}]:
        for module in leaves:
            del arrows[module]
    assert arrows == {}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_folder_says_what_lives_there(layer: str):
    folders = {path.parent for path in modules(layer)}
    silent = [str(folder.relative_to(ROOT)) for folder in folders if not _says(folder / "__init__.py")]
    assert silent == []


def _says(file: Path) -> bool:
    """Whether a package opens with a sentence of its contents, and of what stays out."""
    text = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "") if file.is_file() else ""
    return len(text) > 40 and any(word in text for word in ("No ", "no ", "Never", "never", "Nothing", "nothing"))


def test_the_readme_shows_every_folder():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    folders = {str(path.parent.relative_to(ROOT)) for layer in LAYERS for path in modules(layer)}
    assert [folder for folder in sorted(folders) if f"`{folder}/`" not in text] == []


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
