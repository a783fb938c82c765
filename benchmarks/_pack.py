"""What every benchmark script starts with: find the host, choose its device, load the pack as `prompt_fidelity`."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
NAME = "prompt_fidelity"


def find_host() -> Path:
    """The ComfyUI folder: COMFYUI_PATH, or the one this pack is installed in. Raises RuntimeError if there is none."""
    candidates = [Path(os.environ["COMFYUI_PATH"])] if "COMFYUI_PATH" in os.environ else []
    candidates.append(ROOT.parent.parent)  # ComfyUI/custom_nodes/<this pack>
    for folder in candidates:
        if (folder / "comfy" / "model_patcher.py").is_file():
            return folder
    raise RuntimeError(
        "ComfyUI was not found: set COMFYUI_PATH to its folder, or start this through `python3 dev.py run`."
    )


def load_pack(host_arguments: Sequence[str] = ()) -> ModuleType:
    """Import the host, started with `host_arguments`, and then the pack by path, the way the host does it; without a
    CUDA device on the CPU.

    Safe to call more than once. Returns the pack's module; its parts are then `prompt_fidelity.core.x` and so on.
    """
    if NAME in sys.modules:
        return sys.modules[NAME]
    import torch

    sys.path.insert(0, str(find_host()))
    import comfy.options

    own, sys.argv = sys.argv, [sys.argv[0], *host_arguments]  # the script's own arguments are not the host's
    comfy.options.enable_args_parsing(True)
    try:
        from comfy.cli_args import args
    finally:
        sys.argv = own
        comfy.options.enable_args_parsing(False)

    if not torch.cuda.is_available():
        args.cpu = True
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module
