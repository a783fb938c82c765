"""Loads the pack the way the host does: by path, as a package named `prompt_fidelity`."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load_pack() -> None:
    place = ROOT / "__init__.py"
    spec = importlib.util.spec_from_file_location("prompt_fidelity", place, submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules["prompt_fidelity"] = module
    spec.loader.exec_module(module)


load_pack()
# The helpers of the tests in tests/host; behind everything else, so that they hide nothing of the host's.
sys.path.append(str(ROOT / "tests" / "host"))

import torch  # noqa: E402
from live_server import server  # noqa: E402, F401  (a fixture: one server for the whole session)

# The tensors of the tests are so small that threads only wait for each other: one is twenty times as fast on a busy
# machine. The small models decide that for themselves (host/models/threads.py), in other programs too.
torch.set_num_threads(1)

# Takes minutes, as a part of the suite runs again in each older host: begun last, it would keep one of two workers
# waiting for the other.
LONGEST = "test_older_hosts.py"


def pytest_collection_modifyitems(items) -> None:
    items.sort(key=lambda item: item.path.name != LONGEST)
