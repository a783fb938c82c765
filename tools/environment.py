"""Host and Python environment together: `set_up` makes them, and finds them in a fraction of a second after that."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import CACHE, ROOT, say
from .hosts import DEFAULT, find_host, host_version
from .venvs import VENV, install, python_in, site_packages

# Three that fit: newer torch and torchaudio refuse each other, torchvision does not import with a CPU-only torch.
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]
TOOLS = ["pytest>=9,<10", "pytest-xdist>=3,<4", "playwright>=1.60,<2", "hypothesis>=6,<7"]


class Environment(NamedTuple):
    """A host, its version, and the Python environment that has what it requires."""

    host: Path
    version: str
    venv: Path

    def variables(self) -> dict[str, str]:
        """What a child process gets: the host's place, the golden vectors' place, and no look-ups on the network."""
        golden = Path(os.environ.get("GOLDEN_DIR", ROOT / "tests" / "golden")).absolute()
        own = {"COMFYUI_PATH": str(self.host), "GOLDEN_DIR": str(golden), "PYTHONNOUSERSITE": "1"}
        return {**os.environ, **own, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}

    def run(self, *command: str, cwd: Path | None = None) -> int:
        """Run Python in the environment; returns the exit status."""
        return subprocess.run([str(python_in(self.venv)), *command], env=self.variables(), cwd=cwd).returncode


def set_up(path: str | None = None, version: str | None = None) -> Environment:
    """Make or find the host (see hosts.find_host) and an environment for it. Raises Problem with what to do."""
    with only_one():
        host = find_host(path, version)
        found = host_version(host)
        pack = ROOT / "requirements.txt"
        key = digest(*TORCH, *TOOLS, pack.read_text())
        title = "Installing PyTorch and the tools (about 2 GB to download) ..."
        install(VENV, None, "base", key, title, ["setuptools", "wheel", *TORCH, *TOOLS, "-r", str(pack)])
        # The default host's requirements go into .venv itself; another host's few differing packages beside it.
        venv, base = (VENV, None) if found == DEFAULT else (ROOT / f".venv-{found}", VENV)
        needs = host / "requirements.txt"
        key = digest(key, found, needs.read_text(), site_packages(VENV).parent.name)
        title = f"Installing what ComfyUI {found} requires ..."
        install(venv, base, "host", key, title, [*TORCH, "-r", str(needs), "-r", str(pack)])
    return Environment(host, found, venv)


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Two set-ups at once would install over each other: the second waits. The lock goes when its process ends."""
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / "setup.lock", "w") as file:
        try:
            import fcntl
        except ImportError:  # Windows has no such lock
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another set-up is under way in this folder; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
