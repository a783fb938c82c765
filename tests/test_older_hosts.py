"""The pack works on every ComfyUI it names, not only on the one that the rest of the suite runs in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prompt_fidelity.tools.hosts import HOSTS, host_version, pinned_host

ROOT = Path(__file__).resolve().parent.parent
# What leans on the host's internals: encoding, the gradient, other packs' patches, refusals, the nodes' schemas, CLIP,
# and the sampling inside which weights are optimised.
NAMES = ("text", "tokens_host", "gradient", "coordinates", "other_packs", "bad_input", "nodes", "scoring", "optimise")
FILES = [f"tests/host/test_{name}.py" for name in NAMES]

OTHERS = [version for version in HOSTS if version != host_version(Path(os.environ["COMFYUI_PATH"]))]


@pytest.mark.parametrize("version", OTHERS)
def test_the_host_tests_pass_in(version):
    environment = {**os.environ, "COMFYUI_PATH": str(pinned_host(version)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FILES],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
