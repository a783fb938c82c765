"""Reads the files that come with the pack (assets/), all of them through here. Never a file of the artist's.

A copy of the pack may lack them or hold something else in their place: a download that broke off, a clone without Git
LFS, an update that brought half of the files. Each ends in a sentence that names the file, before anything is built.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from ..errors import HostError

ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"
# The card's entry with the SHA-256 of the weights that it describes.
DIGEST = "sha256"

_LFS_POINTER = b"version https://git-lfs"


def read_weights(path: Path, what: str, script: str, needs: Collection[str] = ()) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, by name, on the CPU.

    `what` ("the demo model") and `script`, which trains it, are named in the HostError that is raised for a file that
    is missing, cannot be read, is not the one that the card beside it (.json) describes, or lacks one of `needs`.
    """
    content = _content(path, what, script)
    # Not through the host: its loaders map the file into memory, and an update of the pack while ComfyUI runs would
    # change the weights in use.
    try:
        stored = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise incomplete(path, what, script, f"damaged ({error})") from None
    known = _known_digest(path.with_suffix(".json"))
    if known is not None and hashlib.sha256(content).hexdigest() != known:
        raise incomplete(path, what, script, "not those that its card describes")
    lacking = sorted(set(needs) - stored.keys())
    if lacking:
        raise incomplete(path, what, script, f"of something else (they hold no {lacking[0]})")
    return stored


def read_card(path: Path, what: str, script: str) -> dict:
    """The card (.json) of one of the pack's models. Raises HostError as `read_weights` does."""
    try:
        return json.loads(_content(path, what, script))
    except ValueError as error:
        raise incomplete(path, what, script, f"damaged ({error})") from None


def _content(path: Path, what: str, script: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise incomplete(path, what, script, "missing") from None
    except OSError as error:
        raise incomplete(path, what, script, f"not readable ({error.strerror})") from None
    if not content.strip(b"\0"):
        raise incomplete(path, what, script, "empty")
    if content.startswith(_LFS_POINTER):
        raise incomplete(path, what, script, "not there, only a Git LFS pointer to them (`git lfs pull` fetches them)")
    return content


def _known_digest(card: Path) -> str | None:
    """What the card says of its weights; nothing where there is no card, as for weights under training."""
    try:
        return json.loads(card.read_bytes()).get(DIGEST)
    except (OSError, ValueError):
        return None


def incomplete(path: Path, what: str, script: str, state: str) -> HostError:
    """The error for a file of the pack that is not what it should be; `state` says what it is instead."""
    part = "card" if path.suffix == ".json" else "weights"
    verb = "is" if part == "card" else "are"
    return HostError(
        f"The pack is incomplete: install it again. {what[0].upper()}{what[1:]}'s {part} {verb} {state}: {path}. "
        f"(Developers: {script} makes them.)"
    )
