"""How the host's server is started with this pack in it and without writing into the host; the tests do the same."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

from . import ROOT


def private_base(folder: Path, host: Path, pack: Path = ROOT) -> Path:
    """Make `folder` a place for the server to write to, with the pack and the host's own models in it."""
    for name in ("custom_nodes", "input", "user"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for other in (folder / "custom_nodes").iterdir():  # the pack under the name of an earlier version
        if other.is_symlink() and other.name != pack_name() and other.resolve() == pack:
            other.unlink()
    link(folder / "custom_nodes" / pack_name(), pack)
    link(folder / "models", host / "models")
    return folder


def pack_name() -> str:
    """The name in the registry: that of the folder that ComfyUI Manager makes, and so in the help pages' addresses."""
    return re.search(r'^name = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)


def link(place: Path, target: Path) -> None:
    if place.exists() and place.resolve() == target.resolve():
        return
    if place.is_symlink():
        place.unlink()
    if os.name == "nt":  # a junction needs no administrator's rights
        subprocess.run(["cmd", "/c", "mklink", "/J", str(place), str(target)], check=True, stdout=subprocess.DEVNULL)
    else:
        place.symlink_to(target, target_is_directory=True)


def server_arguments(host: Path, base: Path, output: Path, port: int, cpu: bool) -> list[str]:
    """What follows `python` to start the host's server with the nodes in `base` and no look-ups on the network."""
    places = {
        "base-directory": base,
        "output-directory": output,
        "temp-directory": base,
        "database-url": f"sqlite:///{base / 'user' / 'comfyui.db'}",
    }
    arguments = [str(host / "main.py"), "--port", str(port), "--disable-api-nodes", "--disable-auto-launch"]
    for name, value in places.items():
        arguments += [f"--{name}", str(value)]
    return arguments + (["--cpu"] if cpu else [])


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
