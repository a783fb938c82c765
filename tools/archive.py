"""The archive that the registry hands out: what git tracks, less what .comfyignore names, as `comfy node pack` does it.

python3 tools/archive.py [FILE]     # writes it (output/prompt-fidelity.zip) and says how large its parts are
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def files() -> list[str]:
    """What the archive holds, as paths from the pack's folder. Raises CalledProcessError outside a git repository."""
    # git's own reading of the patterns, which are git's: comfy-cli reads them with the package pathspec.
    ignored = set(_tracked("--cached", "--ignored", "--exclude-from=.comfyignore"))
    return [file for file in _tracked() if file not in ignored and (ROOT / file).is_file()]


def _tracked(*options: str) -> list[str]:
    found = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, check=True, capture_output=True, text=True)
    return [file for file in found.stdout.split("\0") if file]


def build(target: Path) -> Counter[str]:
    """Write the archive; returns the compressed bytes of each folder and loose file at its top."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files():
            archive.write(ROOT / file, file)
        sizes: Counter[str] = Counter()
        for entry in archive.infolist():
            sizes[entry.filename.split("/")[0]] += entry.compress_size
    return sizes


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "output" / "prompt-fidelity.zip"
    for part, size in build(target).most_common():
        print(f"{size:>10,}  {part}")
    print(f"{target.stat().st_size:>10,}  {target}")
