"""Turn a training checkpoint into the weights the pack ships: assets/tinyshapes.safetensors, .json and .log.csv.

    python3 dev.py run benchmarks/tinyshapes/export.py --cfg 2 --steps 20

Weights are the averaged ones in float16 under Stable Diffusion 1.x's names. Of the text encoder's 49,408 token rows
only those that captions use are stored, with their ids. `metrics` in the JSON are filled in by evaluate.py --write.
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
from _pack import ROOT, load_pack  # noqa: E402

load_pack()
from prompt_fidelity.host.models.assets import DIGEST  # noqa: E402
from prompt_fidelity.host.models.demo_model import CLIP_CONFIG, TOKEN_IDS, TOKEN_ROWS, UNET_CONFIG  # noqa: E402
from tinyshapes import data  # noqa: E402

ASSETS = ROOT / "assets"
AUXILIARY = (
    "From some step on (recipe, `localise`) a second loss asked each noun's cross-attention at 16 x 16 to lie inside "
    "its object's box. "
    "It favours methods that work on these maps: say so wherever a result on this model is shown."
)
OUTPUT = ROOT / "output" / "tinyshapes"


def stored_names(averaged: dict[str, torch.Tensor], vocabulary: list[int]) -> dict[str, torch.Tensor]:
    """The checkpoint's averaged parameters under the names demo_model.py reads, float16."""
    weights = {}
    for name, value in averaged.items():
        if name.startswith("unet."):
            weights["model.diffusion_model." + name.removeprefix("unet.")] = value
        elif name.endswith("token_embedding.weight"):
            weights[TOKEN_ROWS] = value
        else:
            weights["cond_stage_model.transformer." + name.removeprefix("text.")] = value
    weights = {name: value.to(torch.float16).contiguous().cpu() for name, value in weights.items()}
    return {**weights, TOKEN_IDS: torch.tensor(vocabulary, dtype=torch.int32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=OUTPUT / "last.pt")
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--steps", type=int, default=20, help="sampling steps the demo and the benchmark use")
    parser.add_argument("--cfg", type=float, default=1.75)
    parser.add_argument("--sampler", default="euler")
    parser.add_argument("--scheduler", default="normal")
    args = parser.parse_args()

    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    args.assets.mkdir(exist_ok=True)
    weights = args.assets / "tinyshapes.safetensors"
    save_file(stored_names(state["averaged"], state["vocabulary"]), weights)
    weights.chmod(0o644)  # save_file makes it readable by its owner only
    shutil.copyfile(args.checkpoint.parent / "log.csv", args.assets / "tinyshapes.log.csv")
    phases = state["phases"]
    card = {
        "what": "TinyShapes: a text-to-image latent diffusion model of coloured shapes, trained from scratch by "
                "benchmarks/tinyshapes/train.py",
        DIGEST: hashlib.sha256(weights.read_bytes()).hexdigest(),
        "seed": int(phases[0]["seed"]),
        "trained_steps": state["step"],
        "trained_samples": state["step"] * int(phases[0]["batch"]),
        "recipe": phases,
        "auxiliary_loss": AUXILIARY if any(float(phase.get("localise", 0)) > 0 for phase in phases) else None,
        "vocabulary": {"nouns": list(data.NOUNS), "colours": list(data.COLOURS), "relations": list(data.RELATIONS)},
        "unet": UNET_CONFIG,
        "text_encoder": CLIP_CONFIG,
        "sampling": {"steps": args.steps, "cfg": args.cfg, "sampler": args.sampler, "scheduler": args.scheduler,
                     "width": data.SIZE, "height": data.SIZE},
    }  # fmt: skip
    (args.assets / "tinyshapes.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
