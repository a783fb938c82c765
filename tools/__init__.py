"""What `dev.py` is made of: host, Python environment, server, browser. Standard library only; no part of the pack."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
OUTPUT = ROOT / "output"


class Problem(Exception):
    """What went wrong and what to do about it, in a sentence for the person at the keyboard."""


def say(text: str) -> None:
    print(text, flush=True)
