"""The registry's check that no workflow breaks (Comfy-Org/node-diff), for a pack whose nodes come from an extension.

    python3 dev.py run tools/node_diff.py VALIDATOR BASE

VALIDATOR is that repository's src/validate_nodes.py, BASE a checkout of the pack as it was. The check reads
NODE_CLASS_MAPPINGS from two folders' __init__.py, and a pack with `comfy_entrypoint` has none: so it gets two folders
that have them, each with the nodes of one version, under the ids of their schemas.
"""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_INIT = """import sys
sys.path.insert(0, {tools!r})
from node_diff import mappings
NODE_CLASS_MAPPINGS = mappings({pack!r}, {name!r})
"""


def mappings(pack: str, name: str) -> dict[str, type]:
    """The nodes of the pack in a folder by their ids; the pack is imported under `name`."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from _pack import load_pack

    load_pack()  # the host, set up as for every script
    place = Path(pack) / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, place, submodule_search_locations=[pack])
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    extension = asyncio.run(module.comfy_entrypoint())
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}


def compare(validator: Path, base: Path, now: Path = ROOT) -> subprocess.CompletedProcess:
    """Run the check on two versions of the pack."""
    with tempfile.TemporaryDirectory() as folder:
        for name, pack in (("base", base), ("now", now)):
            text = _INIT.format(tools=str(ROOT / "tools"), pack=str(pack.resolve()), name=f"pack_{name}")
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "__init__.py").write_text(text)
        command = [sys.executable, str(validator), f"{folder}/base", f"{folder}/now"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


if __name__ == "__main__":
    done = compare(Path(sys.argv[1]), Path(sys.argv[2]))
    print(done.stdout)
    sys.exit(done.returncode)
