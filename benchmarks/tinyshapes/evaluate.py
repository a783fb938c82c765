"""How well TinyShapes draws what a prompt says, sampled through the host and judged by the detector.

    python3 dev.py run benchmarks/tinyshapes/evaluate.py --json
    python3 dev.py run benchmarks/tinyshapes/evaluate.py --count 200 --write --sheet output/tinyshapes/sheet.png

For prompts with one, two and three objects: the share of pictures with everything right (success), of wanted nouns that
are there (presence), of wanted objects that are there in their own colour (binding), of pictures with something nobody
asked for (extra). And for the nouns' cross-attention at 16 x 16 (mean over the layers and heads, first half of the
steps): how often its peak lies inside the object it names, where there is one, and how often a random cell would.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _pack import load_pack  # noqa: E402

load_pack()
import comfy.sample  # noqa: E402
from prompt_fidelity.host.models import demo_model  # noqa: E402
from tinyshapes import data, detector  # noqa: E402

SIDE = data.SIZE // 8  # the latent's and the maps' side
BATCH = 16  # prompts sampled together; each keeps its own noise, so the size changes nothing but rounding


class MapMean:
    """The mean cross-attention at 16 x 16 over layers, heads and the steps of a run's first half,
    [rows, 256, tokens].
    """

    def __init__(self, half_sigma: float):
        self.half_sigma = half_sigma
        self.total, self.count = 0.0, 0

    def __call__(self, original, q, k, v, heads, *args, transformer_options=None, **kwargs):
        """`optimized_attention_override`: look at the cross-attention of the conditional rows, change nothing."""
        tokens = k.shape[1]
        if (
            q.shape[1] == SIDE * SIDE
            and tokens != q.shape[1]
            and float(transformer_options["sigmas"][0]) >= self.half_sigma
        ):
            chunks = transformer_options["cond_or_uncond"]
            at = chunks.index(0) * (len(q) // len(chunks))
            rows = slice(at, at + len(q) // len(chunks))
            split = [
                t[rows].unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k)
            ]  # [b, heads, cells or tokens, d]
            scores = split[0] @ split[1].transpose(-1, -2) * split[0].shape[-1] ** -0.5
            self.total = self.total + scores.softmax(-1).mean(1)
            self.count += 1
        return original(q, k, v, heads, *args, transformer_options=transformer_options, **kwargs)

    def mean(self) -> Tensor:
        return self.total / self.count


def sample_prompts(model, clip, prompts: list[str], seeds: list[int], sampling: dict) -> tuple[Tensor, Tensor]:
    """Draw one picture a prompt through the host's sampler: latents [b, 4, 16, 16] and mean maps [b, 256, tokens]."""
    empty = torch.zeros(1, 4, SIDE, SIDE)
    noise = torch.cat([comfy.sample.prepare_noise(empty, seed) for seed in seeds])
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0] for prompt in prompts]
    positive = [[torch.cat([tokens for tokens, _ in encoded]), {}]]
    negative = [[clip.encode_from_tokens_scheduled(clip.tokenize(""))[0][0], {}]]
    sigmas = comfy.samplers.calculate_sigmas(
        model.get_model_object("model_sampling"), sampling["scheduler"], sampling["steps"]
    )
    maps = MapMean(float(sigmas[sampling["steps"] // 2]))
    watched = model.clone()
    watched.model_options["transformer_options"]["optimized_attention_override"] = maps
    latents = comfy.sample.sample(
        watched, noise, sampling["steps"], sampling["cfg"], sampling["sampler"], sampling["scheduler"],
        positive, negative, empty.expand(len(prompts), -1, -1, -1), disable_pbar=True, seed=seeds[0],
    )  # fmt: skip
    return latents, maps.mean()


def noun_positions(clip, prompt: str, nouns: list[str]) -> list[int]:
    """Where each noun's token stands on the token axis."""
    tokens = [token for token, _ in clip.tokenize(prompt)["l"][0]]
    return [tokens.index(clip.tokenize(noun)["l"][0][1][0]) for noun in nouns]


def peak_inside(values: Tensor, box: tuple[float, ...]) -> tuple[bool, float]:
    """Whether the map's largest cell [256] touches the box (pixels), and the share of cells that do."""
    row, column = divmod(int(values.argmax()), SIDE)
    left, top, right, bottom = (side / 8 for side in box)
    first_column, last_column, first_row, last_row = (
        int(left),
        int(np.ceil(right)) - 1,
        int(top),
        int(np.ceil(bottom)) - 1,
    )
    inside = first_column <= column <= last_column and first_row <= row <= last_row
    return inside, (last_column - first_column + 1) * (last_row - first_row + 1) / (SIDE * SIDE)


def evaluate(objects: int, count: int, sampling: dict, loaded, first_seed: int = 0) -> tuple[dict, list[np.ndarray]]:
    """Figures for `count` random prompts of so many objects, and the pictures."""
    model, clip, vae = loaded
    rng = np.random.default_rng([objects, first_seed])
    wanted = [data.sample_names(rng, objects) for _ in range(count)]
    prompts = [data.enumerate_caption(names) for names in wanted]
    scores, pictures, peaks = [], [], []
    for start in range(0, count, BATCH):
        part = range(start, min(start + BATCH, count))
        latents, maps = sample_prompts(
            model, clip, [prompts[i] for i in part], [first_seed + i for i in part], sampling
        )
        for i, picture, mean_map in zip(part, vae.decode(latents).numpy(), maps):
            found = detector.detect(picture)
            scores.append(detector.score(found, wanted[i]))
            pictures.append(picture)
            positions = noun_positions(clip, prompts[i], [noun for noun, _ in wanted[i]])
            for name, position in zip(wanted[i], positions):
                boxes = [item.box for item in found if (item.noun, item.colour) == name]
                if len(boxes) == 1:
                    peaks.append(peak_inside(mean_map[:, position], boxes[0]))
    figures = {
        "prompts": count,
        "success": float(np.mean([s.success for s in scores])),
        "presence": float(np.mean([s.presence for s in scores])),
        "binding": float(np.mean([s.binding for s in scores])),
        "extra": float(np.mean([s.extra > 0 for s in scores])),
        "peak_inside": float(np.mean([inside for inside, _ in peaks])) if peaks else None,
        "peak_chance": float(np.mean([share for _, share in peaks])) if peaks else None,
        "maps": len(peaks),
    }
    return figures, pictures


def contact_sheet(rows: list[list[np.ndarray]], path: Path) -> None:
    """Rows of pictures side by side as one PNG."""
    from PIL import Image

    width = max(len(row) for row in rows)
    blank = np.ones((data.SIZE, data.SIZE, 3), dtype=np.float32)
    sheet = np.concatenate([np.concatenate(row + [blank] * (width - len(row)), axis=1) for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((sheet * 255).round().astype(np.uint8)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64, help="prompts for each number of objects")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, default=demo_model.WEIGHTS)
    parser.add_argument("--steps", type=int, help="instead of the card's")
    parser.add_argument("--cfg", type=float, help="instead of the card's")
    parser.add_argument("--sheet", type=Path, help="write the first sixteen pictures of each row to this PNG")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    parser.add_argument("--write", action="store_true", help="put the figures into the model's card")
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)
    torch.set_num_threads(1)

    card_path = args.weights.with_suffix(".json")
    card = json.loads(card_path.read_text())
    sampling = dict(card["sampling"])
    sampling.update({key: value for key in ("steps", "cfg") if (value := getattr(args, key)) is not None})
    metrics, rows = {}, []
    started = time.monotonic()
    with torch.inference_mode():
        loaded = demo_model.load_demo_model(args.weights)
        for objects in args.objects:
            figures, pictures = evaluate(objects, args.count, sampling, loaded, args.first_seed)
            metrics[str(objects)] = figures
            rows.append(pictures[:16])
            print(
                f"{objects} object(s): "
                + ", ".join(f"{key} {value:.3g}" for key, value in figures.items() if value is not None),
                flush=True,
            )
    if args.sheet:
        contact_sheet(rows, args.sheet)
    if args.write:
        card["metrics"] = {"sampling": sampling, "first_seed": args.first_seed, "objects": metrics}
        card_path.write_text(json.dumps(card, indent=2) + "\n")
    if args.json:
        print(json.dumps({"sampling": sampling, "objects": metrics, "seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    main()
