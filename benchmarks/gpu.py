"""What the methods cost on a graphics card, and whether gradients are right however the weights get there.

    python3 dev.py run benchmarks/gpu.py                         a table in Markdown; under six minutes
    python3 dev.py run benchmarks/gpu.py --networks sd15 --json --out FOLDER
    python3 dev.py run benchmarks/gpu.py --small                 a dry run with tiny networks, on the CPU too

Networks of the published widths with random weights (SD1.5 at 512 x 512, SDXL at 1024 x 1024): nothing to download, and
pictures of nothing, but every sum is done. The host is started anew in each of its ways to keep weights (all on the
card; its default, which streams; --lowvram; --novram), and its own loader reads the weights from a file. For each:
seconds and peak memory of a picture, plain and with the methods, and the cosine of one update of the latent to the
resident float32 network's. What does not fit the card or the time is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring.loaders import LOADERS

TRIAL = Path(__file__).resolve().parent / "gpu_trial.py"
ROOM = {"sd15": 1.5, "sdxl": 4.0}  # GB that "little room" leaves: less than the weights and what a picture needs
DTYPES = ("float32", "float16", "bfloat16")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=ROOM, default=list(ROOM))
    parser.add_argument("--loaders", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--methods", nargs="+", help="only these (default: all)")
    parser.add_argument("--steps", type=int, default=20, help="of a picture")
    parser.add_argument("--size", type=int, help="a picture's side in pixels, instead of the network's own")
    parser.add_argument("--minutes", type=float, default=5.5, help="what is not begun by then is left out")
    parser.add_argument("--small", action="store_true", help="tiny networks, 64 x 64 pixels: does everything run?")
    parser.add_argument("--out", type=Path, help="a folder for gpu.md and gpu.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path, memory: float) -> dict:
    """network -> loader -> what its process found, or {"error": why nothing was}. `memory` is the card's, in GB."""
    until = time.monotonic() + 60 * options.minutes
    results: dict = {network: {} for network in options.networks}
    for network in options.networks:
        for loader in options.loaders:
            left = (until - time.monotonic()) / 60
            if left <= 0:
                results[network][loader] = {"error": "left out: no time"}
                continue
            command = [sys.executable, str(TRIAL), network, loader, str(folder), "--steps", str(options.steps)]
            command += ["--minutes", str(left), "--reserve", str(max(0.0, memory - ROOM[network]))]
            command += ["--size", str(options.size)] if options.size else []
            command += ["--small"] * options.small + (["--methods", *options.methods] if options.methods else [])
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ)
            lines = done.stdout.strip().splitlines()
            good = done.returncode == 0 and lines
            results[network][loader] = json.loads(lines[-1]) if good else {"error": f"failed ({done.returncode})"}
        (folder / f"{network}.safetensors").unlink(missing_ok=True)
        _compare(results[network], network, folder)
    return results


def _compare(found: dict, network: str, folder: Path) -> None:
    """Add each update's cosine to the resident float32 network's, and its greatest difference from the resident one
    of the same type, in units of the greatest change.
    """
    import torch

    moves = {file.stem.removeprefix(f"{network}-"): torch.load(file) for file in folder.glob(f"{network}-*.pt")}
    for loader, result in found.items():
        for name in DTYPES:
            moved = moves.get(f"{loader}-{name}")
            exact, same = moves.get("resident-float32"), moves.get(f"resident-{name}")
            if moved is None:
                continue
            if exact is not None:
                cosine = torch.nn.functional.cosine_similarity(moved.flatten(), exact.flatten(), dim=0)
                result[f"cosine {name}"] = float(cosine)
            if same is not None:
                result[f"difference {name}"] = float((moved - same).abs().max() / same.abs().max())


def card() -> tuple[str, float]:
    """The card's name with PyTorch's version, and its memory in GB, asked in a process of its own: this one leaves the
    card alone.
    """
    code = (
        "import json, torch; c = torch.cuda; known = c.is_available(); "
        "print(json.dumps([c.get_device_name() if known else 'no card: the CPU', torch.__version__, "
        "c.mem_get_info()[1] / 1024**3 if known else 0]))"
    )
    name, version, memory = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    return f"{name} ({memory:.0f} GB), PyTorch {version}", memory


def markdown(results: dict, name: str, steps: int) -> str:
    """The tables."""
    lines = [f"Measured on: {name}; {steps} steps, euler, guidance 7, float16, batch 1.", ""]
    lines += ["| network | loader | cosine to float32 | largest difference from resident |", "|---|---|---|---|"]
    for network, loaders in results.items():
        for loader, found in loaders.items():
            for dtype in DTYPES:
                if f"cosine {dtype}" not in found or (loader, dtype) == ("resident", "float32"):
                    continue
                difference = found.get(f"difference {dtype}")
                shown = "" if difference is None or loader == "resident" else f"{difference:.1e}"
                dynamic = " (dynamic VRAM)" if found.get("dynamic_vram") else ""
                lines.append(f"| {network} | {loader}{dynamic}, {dtype} | {found[f'cosine {dtype}']:.5f} | {shown} |")
            if "error" in found:
                lines.append(f"| {network} | {loader} | {found['error']} | |")
    lines += ["", "| network | loader | picture | seconds | × plain | peak GB |", "|---|---|---|---|---|---|"]
    for network, loaders in results.items():
        for loader, found in loaders.items():
            pictures = found.get("pictures", {})
            for title, cost in pictures.items():
                ratio = cost["seconds"] / pictures["plain"]["seconds"]
                lines.append(
                    f"| {network} | {loader} | {title} | {cost['seconds']:.2f} | {ratio:.2f} | "
                    f"{cost['peak_bytes'] / 1e9:.2f} |"
                )
    return "\n".join(lines)


def main() -> None:
    options = arguments()
    name, memory = card()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder), memory)
    answer = {"card": name, "steps": options.steps, "small": options.small, "networks": results}
    text = markdown(results, name, options.steps)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "gpu.md").write_text(text + "\n")
        (options.out / "gpu.json").write_text(json.dumps(answer, indent=1) + "\n")
    if options.json:
        print(json.dumps(answer))
    errors = [
        f"{n}, {loader}: {r['error']}" for n, found in results.items() for loader, r in found.items() if "error" in r
    ]
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
