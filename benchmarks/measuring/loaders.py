"""The host started with one of its ways to keep weights, and networks loaded that way."""

from __future__ import annotations

import gc
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from _pack import find_host, load_pack

# Our name -> the host's flags. "resident" keeps everything on the card; the others may move weights while sampling:
# dynamic VRAM, the host's default on NVIDIA cards, and the older way, each also with room for RESERVE alone.
LOADERS: dict[str, list[str]] = {
    "resident": ["--highvram"],
    "default": [],
    "default, little room": ["--reserve-vram", "RESERVE"],
    "lowvram, little room": ["--lowvram", "--disable-dynamic-vram", "--reserve-vram", "RESERVE"],
    "novram": ["--novram"],
}


def start_host(loader: str, reserve: float) -> bool:
    """Import host and pack as its main.py would with the loader's flags; `reserve` is in GB. Whether dynamic VRAM runs.

    To be called before anything imports torch: dynamic VRAM has to be there first.
    """
    arguments = [f"{reserve:.2f}" if part == "RESERVE" else part for part in LOADERS[loader]]
    control = _dynamic_vram(arguments)
    load_pack(arguments)
    import comfy.model_management as management

    if control is None or not management.is_nvidia():
        return False
    import comfy.memory_management
    import comfy.model_patcher

    if not control.init_devices((device.index, 0) for device in management.get_all_torch_devices()):
        return False
    control.set_log_warning()
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True
    return True


def _dynamic_vram(arguments: list[str]):
    """The host's library for it, made ready; None where the host has none or the flags say no."""
    sys.path.insert(0, str(find_host()))
    try:
        import comfy_aimdo.control as control
    except ImportError:
        return None
    if {"--highvram", "--novram", "--disable-dynamic-vram"} & set(arguments):
        return None
    reserve = arguments[arguments.index("--reserve-vram") + 1] if "--reserve-vram" in arguments else None
    control.init(simple_vram_headroom=None if reserve is None else int(float(reserve) * 1024**3))
    return control


def load_network(file: Path, dtype):
    """The diffusion model in `file`, through the host's own loader, in `dtype`."""
    import comfy.sd

    return comfy.sd.load_diffusion_model(str(file), model_options={"dtype": dtype})


def drop_models() -> None:
    """Let the host forget what it has loaded."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    gc.collect()
    comfy.model_management.soft_empty_cache()


class Peak:
    """The most memory in use at once while it watches, in bytes: of the card, all programs' taken together, less what
    was in use before `baseline`; without a card, nothing.
    """

    INTERVAL = 0.01  # seconds

    def __init__(self) -> None:
        import torch

        self.card = torch.cuda if torch.cuda.is_available() else None
        self.baseline = self._used()
        self.bytes = 0

    def _used(self) -> int:
        if self.card is None:
            return 0
        free, total = self.card.mem_get_info()
        return total - free

    @contextmanager
    def watching(self):
        """Sets `bytes` to the peak of what runs inside."""
        self.bytes, done = 0, threading.Event()
        if self.card is not None:
            self.card.empty_cache()

        def watch() -> None:
            while not done.is_set():
                self.bytes = max(self.bytes, self._used() - self.baseline)
                time.sleep(self.INTERVAL)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()
