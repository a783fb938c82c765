"""Virtual environments and pip, with sentences instead of tracebacks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import CACHE, ROOT, Problem, say

VENV = ROOT / ".venv"
PYTHONS = ((3, 10), (3, 14))  # oldest that the host takes, newest that the pinned torch has a wheel for
DISK_GB = 10  # 6.5 GB stay; the rest is what pip downloads, removed at the end
EXTRA_DISK_GB = 2  # for an environment that only adds to another one


def python_in(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def site_packages(venv: Path) -> Path:
    return venv / "Lib/site-packages" if os.name == "nt" else next(venv.glob("lib/python3*/site-packages"))


def check_python(version: Sequence[int]) -> None:
    """Raises Problem if a Python of this version cannot carry the host, and names one on this machine that can."""
    oldest, newest = PYTHONS
    if oldest <= tuple(version[:2]) <= newest:
        return
    names = [f"python3.{minor}" for minor in range(newest[1], oldest[1] - 1, -1)]
    found = next((name for name in names if shutil.which(name)), None)
    advice = f"This machine has one: `{found} dev.py`." if found else f"Install one of {', '.join(names)}."
    wrong = f"Python {version[0]}.{version[1]} does not work here"
    raise Problem(f"{wrong}: ComfyUI and PyTorch need 3.{oldest[1]} to 3.{newest[1]}. {advice}")


def check_disk(need_gb: float) -> None:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < need_gb:
        raise Problem(
            f"The set-up needs {need_gb:.0f} GB of disk, and {ROOT} has {free:.1f} GB left. "
            "Free some space and run the command again."
        )


def make_venv(venv: Path, base: Path | None = None) -> None:
    """Create a virtual environment unless it works. With `base`, it sees that one's packages and adds what differs."""
    python = python_in(venv)
    if python.exists() and subprocess.run([str(python), "-c", "import pip"], capture_output=True).returncode == 0:
        return  # anything else, a broken-off creation or a Python that was removed, is made anew
    check_disk(EXTRA_DISK_GB if base else DISK_GB)
    if base is None:
        check_python(sys.version_info)
    say(f"Creating {venv.name} ...")
    starter = [str(python_in(base)), "-m", "venv", "--without-pip"] if base else [sys.executable, "-m", "venv"]
    done = subprocess.run([*starter, "--clear", str(venv)], capture_output=True, text=True)
    if done.returncode:
        raise Problem(
            "Python could not create a virtual environment; on Debian and Ubuntu `apt install python3-venv` helps.\n"
            f"{done.stdout}{done.stderr}"
        )
    if base:
        # Searched after the environment's own packages, so those win; pip never removes what lies outside its own.
        # Relative, so that the folder may be moved.
        own = site_packages(venv)
        (own / "base.pth").write_text(os.path.relpath(site_packages(base), own))


def install(venv: Path, base: Path | None, stamp: str, key: str, title: str, requirements: Sequence[str]) -> None:
    """Install into `venv`, made if need be, unless its stamp says that just this was installed.

    The stamp is written last, so a run that was broken off is repeated.
    """
    file = venv / f".stamp-{stamp}"
    if file.is_file() and file.read_text() == key and python_in(venv).exists():
        return
    make_venv(venv, base)
    say(title)
    pip(venv, "install", *requirements)
    file.write_text(key)
    for leftover in ("tmp", "pip"):
        shutil.rmtree(CACHE / leftover, ignore_errors=True)


def pip(venv: Path, *args: str) -> None:
    """Run pip, print its large downloads, keep its words in .cache/pip.log. Raises Problem with what to do."""
    scratch = CACHE / "tmp"  # wheels are large and /tmp is often small
    scratch.mkdir(parents=True, exist_ok=True)
    own = {"TMPDIR": str(scratch), "PIP_CACHE_DIR": str(CACHE / "pip"), "PIP_USER": "0", "PYTHONNOUSERSITE": "1"}
    command = [str(python_in(venv)), "-m", "pip", *args, "--progress-bar", "off", "--disable-pip-version-check"]
    log = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **own}
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line)
            step = re.match(r"\s*Downloading (?:\S*/)?([^/\s-]+)-\S+ \((\d{2,}\.\d MB)\)", line)
            if step:
                say(f"  {step.group(1)}, {step.group(2)}")
            elif line.startswith("Installing collected packages"):
                say(f"  installing {line.count(',') + 1} packages")
    (CACHE / "pip.log").write_text("".join(log))
    if process.returncode:
        raise Problem(explain_pip("".join(log)))


UNREACHABLE = "NewConnectionError|NameResolutionError|ConnectTimeout|Failed to establish a new connection|ProxyError"
CAUSES = {  # what pip prints: what it means for the person
    "No space left on device": f"The disk filled up; {DISK_GB} GB are needed. Free some space, then run this again.",
    "DO NOT MATCH THE HASHES": "What arrived has another SHA-256 than expected and was not used. Run this again.",
    UNREACHABLE: "The package index cannot be reached, and the first set-up needs it. Connect, then run this again.",
}


def explain_pip(log: str) -> str:
    """One sentence on why pip failed, from what it printed, and the last lines of that."""
    unknown = "pip failed; .cache/pip.log has all it said. If it stays so, delete .venv and run this again."
    cause = next((sentence for signs, sentence in CAUSES.items() if re.search(signs, log)), unknown)
    return "\n  ".join([cause, *log.strip().splitlines()[-6:]])
