"""The pack works on every ComfyUI it names, not only on the one that the rest of the suite runs in."""

import os
import sys
from pathlib import Path

import pytest
from patience import finished
from prompt_fidelity.tools.hosts import HOSTS, host_version, pinned_host

ROOT = Path(__file__).resolve().parent.parent
# What leans on the host's internals: encoding, the gradient, other packs' patches, refusals, the nodes' schemas, CLIP,
# and the sampling inside which weights are optimised.
NAMES = (
    "text",
    "encoders",
    "text_attention",
    "tokens_host",
    "gradient",
    "coordinates",
    "other_packs",
    "bad_input",
    "nodes",
    "scoring",
    "optimise",
)
FILES = [f"tests/host/test_{name}.py" for name in NAMES]

OTHERS = [version for version in HOSTS if version != host_version(Path(os.environ["COMFYUI_PATH"]))]


@pytest.mark.parametrize("version", OTHERS)
def test_the_host_tests_pass_in(version, tmp_path):
    environment = {**os.environ, "COMFYUI_PATH": str(pinned_host(version))}
    log = tmp_path / "log.txt"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FILES]
    ended = finished(command, f"the tests in ComfyUI {version}", log, cwd=ROOT, env=environment)
    assert ended == 0, log.read_text()[-6000:]
