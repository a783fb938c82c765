"""Loads the pack the way the host does: by path, as a package named `prompt_fidelity`."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load_pack() -> None:
    spec = importlib.util.spec_from_file_location("prompt_fidelity", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules["prompt_fidelity"] = module
    spec.loader.exec_module(module)


load_pack()
