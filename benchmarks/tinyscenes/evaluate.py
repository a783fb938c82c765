"""How well TinyScenes draws what a prompt says, sampled through the host and judged by the detector.

    python3 dev.py run benchmarks/tinyscenes/evaluate.py --count 64 --json
    python3 dev.py run benchmarks/tinyscenes/evaluate.py --count 200 --write --sheet output/tinyscenes/sheet.png

Prompts of one object, and of the three kinds of the Attend-and-Excite set ("a cat and a dog", "a cat and a red
backpack", "a green backpack and a yellow bowl"). For each kind the share of pictures with everything right (success),
of wanted nouns that are there (presence), of wanted objects there in their colour (binding), of pictures with something
nobody asked for (extra). And for each block of the network: how often a noun's attention (mean over the heads and the
first half of the steps) peaks inside the object that it names, where there is one, and how often a random cell would.
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
import comfy.samplers  # noqa: E402
from prompt_fidelity.host.models import demo_scenes  # noqa: E402
from tinyscenes import data, detector  # noqa: E402

SIDE = data.SIZE // data.CELL  # the latent's and the maps' side
BATCH = 16  # prompts sampled together; each keeps its own noise, so the size changes nothing but rounding
KINDS = ("one", "animal_animal", "animal_object", "object_object")


def names_of(kind: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The (noun, colour) pairs of a random prompt of a kind."""
    first, second = (str(colour) for colour in rng.permutation(list(data.COLOURS))[:2])
    animals, objects = ([str(noun) for noun in rng.permutation(nouns)[:2]] for nouns in (data.ANIMALS, data.OBJECTS))
    if kind == "one":
        return [(str(rng.choice(list(data.NOUNS))), first if rng.random() < 0.7 else data.OWN)]
    if kind == "animal_animal":
        return [(noun, data.OWN) for noun in animals]
    if kind == "animal_object":
        return [(animals[0], data.OWN), (objects[0], first)]
    if kind == "object_object":
        return [(objects[0], first), (objects[1], second)]
    raise ValueError(f"unknown kind {kind!r}; the kinds are {', '.join(KINDS)}")


class Maps:
    """Each block's mean attention of the picture's rows to the words, over heads and the steps of a run's first half:
    [rows, cells, tokens]."""

    def __init__(self, half_sigma: float):
        self.half_sigma = half_sigma
        self.totals: dict[tuple[str, int], Tensor] = {}
        self.counts: dict[tuple[str, int], int] = {}

    def __call__(self, original, q, k, v, heads, *args, transformer_options=None, **kwargs):
        """`optimized_attention_override`: look at the conditional rows, change nothing."""
        if float(transformer_options["sigmas"][0]) >= self.half_sigma:
            chunks = transformer_options["cond_or_uncond"]
            at = chunks.index(0) * (len(q) // len(chunks))
            rows = slice(at, at + len(q) // len(chunks))
            scores = q[rows, :, -SIDE * SIDE :] @ k[rows].transpose(-1, -2) * q.shape[-1] ** -0.5
            block = transformer_options["block_type"], transformer_options["block_index"]
            words = scores.softmax(-1)[..., : -SIDE * SIDE].mean(1)
            self.totals[block] = self.totals.get(block, 0.0) + words
            self.counts[block] = self.counts.get(block, 0) + 1
        return original(q, k, v, heads, *args, transformer_options=transformer_options, **kwargs)

    def means(self) -> dict[str, Tensor]:
        return {f"{kind} {index}": total / self.counts[kind, index] for (kind, index), total in self.totals.items()}


def sample_prompts(model, clip, prompts: list[str], seeds: list[int], sampling: dict) -> tuple[Tensor, dict]:
    """Draw one picture a prompt through the host's sampler: latents [b, 16, 16, 16] and each block's mean maps."""
    empty = torch.zeros(1, 16, SIDE, SIDE)
    noise = torch.cat([comfy.sample.prepare_noise(empty, seed) for seed in seeds])
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0] for prompt in prompts]
    positive = [[torch.cat([tokens for tokens, _ in encoded]), {}]]
    negative = [[clip.encode_from_tokens_scheduled(clip.tokenize(""))[0][0], {}]]
    sigmas = comfy.samplers.calculate_sigmas(
        model.get_model_object("model_sampling"), sampling["scheduler"], sampling["steps"]
    )
    maps = Maps(float(sigmas[sampling["steps"] // 2]))
    watched = model.clone()
    watched.model_options["transformer_options"]["optimized_attention_override"] = maps
    latents = comfy.sample.sample(
        watched, noise, sampling["steps"], sampling["cfg"], sampling["sampler"], sampling["scheduler"],
        positive, negative, empty.expand(len(prompts), -1, -1, -1), disable_pbar=True, seed=seeds[0],
    )  # fmt: skip
    return latents, maps.means()


def noun_position(clip, prompt: str, noun: str) -> int:
    """Where a noun's token stands on the token axis."""
    tokens = [token for token, _ in clip.tokenize(prompt)["l"][0]]
    return tokens.index(clip.tokenize(noun)["l"][0][1][0])


def peak_inside(values: Tensor, box: tuple[float, ...]) -> bool:
    """Whether the largest cell of a map [256] lies in a box (pixels)."""
    row, column = divmod(int(values.argmax()), SIDE)
    left, top, right, bottom = (side / data.CELL for side in box)
    return left <= column < right and top <= row < bottom


def evaluate(kind: str, count: int, sampling: dict, loaded, first_seed: int = 0) -> tuple[dict, list[np.ndarray]]:
    """Figures for `count` random prompts of a kind, and the pictures."""
    model, clip, vae = loaded
    rng = np.random.default_rng([KINDS.index(kind), first_seed])
    wanted = [names_of(kind, rng) for _ in range(count)]
    prompts = [data.caption_of(names) for names in wanted]
    scores, pictures, chances = [], [], []
    inside: dict[str, list[bool]] = {}
    for start in range(0, count, BATCH):
        part = range(start, min(start + BATCH, count))
        latents, maps = sample_prompts(
            model, clip, [prompts[i] for i in part], [first_seed + i for i in part], sampling
        )
        for row, (i, picture) in enumerate(zip(part, vae.decode(latents).numpy())):
            found = detector.detect(picture)
            scores.append(detector.score(found, wanted[i]))
            pictures.append(picture)
            for name in wanted[i]:
                boxes = [item.box for item in found if (item.noun, item.colour) == name]
                if len(boxes) != 1:
                    continue
                position = noun_position(clip, prompts[i], name[0])
                chances.append(((boxes[0][2] - boxes[0][0]) / data.SIZE) ** 2)
                for block, mean in maps.items():
                    inside.setdefault(block, []).append(peak_inside(mean[row, :, position], boxes[0]))
    figures = {
        "prompts": count,
        "success": float(np.mean([s.success for s in scores])),
        "presence": float(np.mean([s.presence for s in scores])),
        "binding": float(np.mean([s.binding for s in scores])),
        "extra": float(np.mean([s.extra > 0 for s in scores])),
        "peak_inside": {block: round(float(np.mean(values)), 3) for block, values in inside.items()},
        "peak_chance": round(float(np.mean(chances)), 3) if chances else None,
        "maps": len(chances),
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
    parser.add_argument("--count", type=int, default=64, help="prompts of each kind")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, default=demo_scenes.WEIGHTS)
    parser.add_argument("--steps", type=int, help="instead of the card's")
    parser.add_argument("--cfg", type=float, help="instead of the card's")
    parser.add_argument("--shift", type=float, help="of the schedule, instead of the model's own")
    parser.add_argument("--sheet", type=Path, help="write the first sixteen pictures of each kind to this PNG")
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
        loaded = demo_scenes.load_demo_scenes(args.weights)
        if args.shift:
            loaded[0].get_model_object("model_sampling").set_parameters(shift=args.shift, multiplier=1.0)
        for kind in args.kinds:
            figures, pictures = evaluate(kind, args.count, sampling, loaded, args.first_seed)
            metrics[kind] = figures
            rows.append(pictures[:16])
            print(f"{kind}: " + ", ".join(f"{key} {value}" for key, value in figures.items()), flush=True)
    if args.sheet:
        contact_sheet(rows, args.sheet)
    if args.write:
        card["metrics"] = {"sampling": sampling, "first_seed": args.first_seed, "kinds": metrics}
        card_path.write_text(json.dumps(card, indent=2) + "\n")
    if args.json:
        print(json.dumps({"sampling": sampling, "kinds": metrics, "seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    main()
