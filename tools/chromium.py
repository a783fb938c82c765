"""A browser for the tests that open ComfyUI's own page: this machine's, or one unpacked into .cache, not installed.

On Debian the packages are fetched with apt's own tools into a private folder, which needs no root and changes nothing
outside this repository. Elsewhere Playwright downloads its build.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from . import CACHE, Problem, say
from .venvs import VENV, python_in

UNPACKED = CACHE / "chromium"
DOWNLOADED = CACHE / "playwright"
PACKAGES = ["chromium-headless-shell", "fonts-dejavu-core"]
NAMES = ["chromium", "google-chrome", "google-chrome-stable", "chromium-browser", "chrome"]
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


class Chromium(NamedTuple):
    """A Chromium that starts, and the variables that it has to be started with."""

    program: Path
    variables: dict[str, str]

    def starts(self) -> bool:
        if not self.program.is_file():
            return False
        command = [str(self.program), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "about:blank"]
        try:
            done = subprocess.run(command, env={**os.environ, **self.variables}, capture_output=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0 and b"<html>" in done.stdout


def get_chromium() -> Chromium:
    """A browser that starts: one from an earlier run, one of this machine, or a new one in .cache. Raises Problem."""
    chosen = CACHE / "chromium.path"  # what started once needs no trial again
    if chosen.is_file():
        for known in candidates():
            if str(known.program) == chosen.read_text() and known.program.is_file():
                return known
    for fetch in (None, fetch_with_apt, fetch_with_playwright):
        if fetch:
            fetch()
        for found in candidates():
            if found.starts():
                chosen.write_text(str(found.program))
                return found
    raise Problem(
        "The browser tests need Chromium or Chrome, and none could be fetched. "
        "Install one (on Debian: `apt install chromium`) and run the command again."
    )


def candidates() -> list[Chromium]:
    own = [Chromium(UNPACKED / "usr/lib/chromium/chromium-headless-shell", unpacked_variables())]
    downloaded = [Chromium(shell, {}) for shell in DOWNLOADED.glob("*/*/*headless*shell*") if os.access(shell, os.X_OK)]
    installed = [Chromium(Path(path), {}) for path in map(shutil.which, NAMES) if path]
    return own + downloaded + installed + [Chromium(MAC, {})]


def unpacked_variables() -> dict[str, str]:
    """Where the unpacked browser's libraries and fonts are."""
    folders = sorted(UNPACKED.glob("usr/lib/*-linux-gnu"))
    libraries = [str(folder) for parent in folders for folder in (parent, parent / "pulseaudio")]
    return {"LD_LIBRARY_PATH": os.pathsep.join(libraries), "FONTCONFIG_FILE": str(UNPACKED / "fonts.conf")}


def fetch_with_apt() -> None:
    """Unpack Debian's headless Chromium, and what it needs that is not installed here, into .cache/chromium."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return
    say("Fetching Chromium for the browser tests (100 MB) ...")
    apt = CACHE / "apt"
    for folder in ("lists/partial", "cache/archives/partial", "log"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    places = {"Dir::State::Lists": apt / "lists", "Dir::Cache": apt / "cache", "Dir::Log": apt / "log"}
    settings = {**places, "Debug::NoLocking": "1", "APT::Sandbox::User": "root"}
    command = ["apt-get", *(f"-o{name}={value}" for name, value in settings.items())]
    install = ["install", "--yes", "--no-install-recommends", "--reinstall", "--download-only", *PACKAGES]
    for step in (["update"], install):
        done = subprocess.run([*command, *step], capture_output=True, text=True)
        if done.returncode:
            say(f"  apt-get: {done.stderr.strip()[-300:]}")
            return
    partial = CACHE / "chromium.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg", "--extract", str(package), str(partial)], check=True)
    (partial / "fonts.conf").write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>/usr/share/fonts</dir>'
        f"<dir>{UNPACKED}/usr/share/fonts</dir><cachedir>{UNPACKED}/fontcache</cachedir></fontconfig>\n"
    )
    shutil.rmtree(UNPACKED, ignore_errors=True)
    partial.rename(UNPACKED)
    shutil.rmtree(apt)


def fetch_with_playwright() -> None:
    """Let Playwright download its own build; where its server cannot be reached this ends without one."""
    say("Letting Playwright download a Chromium ...")
    python = python_in(VENV) if python_in(VENV).exists() else sys.executable
    command = [str(python), "-m", "playwright", "install", "--only-shell", "chromium"]
    variables = {**os.environ, "PLAYWRIGHT_BROWSERS_PATH": str(DOWNLOADED)}
    try:
        subprocess.run(command, env=variables, capture_output=True, timeout=300)
    except subprocess.TimeoutExpired:
        say("  that took more than five minutes; going on without it")
