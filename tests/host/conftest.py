"""Puts the host on the path, on the CPU where there is no GPU, for every test in this folder."""

import os
import sys
from pathlib import Path

import pytest

HOST = os.environ.get("COMFYUI_PATH")
if not HOST or not (Path(HOST) / "comfy" / "samplers.py").is_file():
    pytest.exit(
        "These tests run in the real ComfyUI, and COMFYUI_PATH does not name one. Run `python3 dev.py test`.",
        returncode=4,
    )

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.insert(0, HOST)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing(False)

import torch  # noqa: E402
from comfy.cli_args import args  # noqa: E402

if not torch.cuda.is_available():
    args.cpu = True


@pytest.fixture(scope="module", autouse=True)
def no_encoders_stay():
    """The small text encoders have whole vocabularies; those of all files together would fill gigabytes."""
    yield
    if "small_encoders" in sys.modules:
        sys.modules["small_encoders"].small_clip.cache_clear()
