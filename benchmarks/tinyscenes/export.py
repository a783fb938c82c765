"""Turn a training checkpoint into the files that the pack ships: assets/tinyscenes.safetensors, .json and .log.csv.

python3 dev.py run benchmarks/tinyscenes/export.py FOLDER          FOLDER is train.py's --output
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _pack import load_pack  # noqa: E402

load_pack()
from prompt_fidelity.host.models import demo_scenes  # noqa: E402
from prompt_fidelity.host.models.assets import DIGEST  # noqa: E402
from tinyscenes import data  # noqa: E402

TABLE = "text.text_model.embeddings.token_embedding.weight"
SAMPLING = {"steps": 20, "cfg": 3.0, "sampler": "euler", "scheduler": "simple", "width": 128, "height": 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=demo_scenes.WEIGHTS, help="where the weights go")
    args = parser.parse_args()
    state = torch.load(args.folder / "last.pt", weights_only=True)
    write(state, args.weights)
    shutil.copyfile(args.folder / "log.csv", args.weights.with_suffix(".log.csv"))
    print(f"{args.weights.name}: {args.weights.stat().st_size / 1e6:.1f} MB, {state['samples']} samples")


def write(state: dict, weights: Path) -> None:
    """The weights' file, and its card beside it, of a checkpoint of train.py."""
    stored: dict[str, torch.Tensor] = {}
    for name, value in state["averaged"].items():
        if name == TABLE:
            stored[demo_scenes.TOKEN_ROWS] = value
        elif name.startswith("flux."):
            stored[demo_scenes.FLUX_PREFIX + name.removeprefix("flux.")] = value
        else:
            stored[demo_scenes.TEXT_PREFIX + "transformer." + name.removeprefix("text.")] = value
    stored = {name: value.to(torch.float16).contiguous() for name, value in stored.items()}
    stored[demo_scenes.TOKEN_IDS] = torch.tensor(state["vocabulary"], dtype=torch.int32)
    for name in ("mean", "basis", "scale"):
        stored[demo_scenes.VAE_PREFIX + name] = state[name].float().contiguous()
    save_file(stored, weights)
    weights.chmod(0o644)  # save_file makes it readable by its owner only

    card = {
        DIGEST: hashlib.sha256(weights.read_bytes()).hexdigest(),
        "what": "TinyScenes: tinted Fluent emoji (Microsoft, MIT), trained from scratch by benchmarks/tinyscenes",
        "vocabulary": {"nouns": list(data.NOUNS), "colours": list(data.COLOURS)},
        "sampling": SAMPLING,
        "trained_steps": state["step"],
        "trained_samples": state["samples"],
        "cpu_hours": round(state["seconds"] / 3600, 2),
        "recipe": state["phases"],
        "flux": demo_scenes.FLUX_CONFIG,
        "text_encoder": demo_scenes.CLIP_CONFIG,
    }
    weights.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
