"""Train TinyCLIP, the small CLIP of the demo model, contrastively on pictures of coloured shapes. Run it with:

    python3 dev.py run benchmarks/tinyshapes/train_clip.py --steps 1000
    python3 dev.py run benchmarks/tinyshapes/train_clip.py --resume --steps 1000    # go on where it stopped
    python3 dev.py run benchmarks/tinyshapes/train_clip.py --export                 # write assets/tinyclip.safetensors

The text encoder starts as the demo model's; the vision tower starts from random weights. The loss is CLIP's, in both
directions, but with graded targets (graded.py): among a batch's captions, a picture's probability goes by how true each
is of it. Every step draws from (seed, step), so a resumed run sees the same data as one that was never stopped.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import logging
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _pack import ROOT, load_pack  # noqa: E402

load_pack()
from prompt_fidelity.host.models import demo_clip, demo_model  # noqa: E402
from prompt_fidelity.host.models.assets import DIGEST  # noqa: E402
from tinyshapes import data, graded  # noqa: E402
from tinyshapes.clip import TinyClip  # noqa: E402
from tinyshapes.train import host_tokenizer, save, vocabulary  # noqa: E402

log = logging.getLogger("tinyclip")
OUTPUT = ROOT / "output" / "tinyclip"
SCALE = 20.0  # of the cosine, fixed: CLIP's grows to 100 as it learns, which leaves nothing between right and wrong
SHARPNESS = 10.0  # of the graded targets: what is half true gets exp(-5) of the probability of what is true
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's, which the host applies
RECIPE = ("steps", "groups", "lr", "warmup", "counts", "near_captions", "seed")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="optimiser steps in all")
    parser.add_argument("--groups", type=int, default=20, help="scenes a step, each with two near misses and a crop")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--warmup", type=int, default=40)
    parser.add_argument(
        "--counts", type=float, nargs=3, default=(0.3, 0.45, 0.25), help="shares of scenes with 1, 2, 3 objects"
    )
    parser.add_argument("--near-captions", type=int, default=1, help="captions that are nearly true, for each that is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--half", action="store_true", help="bfloat16 inside the towers")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--export", action="store_true", help="write the last checkpoint into assets/ and stop")
    return parser.parse_args()


class Texts:
    """Captions as rows of the vocabulary; encodes each different one once."""

    def __init__(self, tokenizer, words: list[int]):
        self.tokenizer, self.rows = tokenizer, {token: row for row, token in enumerate(words)}
        self.end = demo_model.CLIP_CONFIG["eos_token_id"]

    def __call__(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """(rows [b, tokens], place of the first end token [b])."""
        ids = [[token for token, _ in self.tokenizer.tokenize_with_weights(caption)["l"][0]] for caption in captions]
        rows = torch.tensor([[self.rows[token] for token in line] for line in ids])
        return rows, torch.tensor([line.index(self.end) for line in ids])


def batch_of(
    step: int, groups: int, counts: tuple[float, ...], seed: int, near: int = 0
) -> tuple[Tensor, list[str], Tensor]:
    """(pictures [4 groups, side, side, 3], different captions, how true each caption is of each picture [pictures,
    captions]).
    """
    rng = np.random.default_rng([seed, step])
    pictures, seen, said = [], [], {}
    for _ in range(groups):
        drawn, shown, captions = graded.group(rng, tuple(counts))
        pictures += drawn
        seen += shown
        captions += [graded.near_caption(rng, caption) for caption in captions for _ in range(near)]
        said |= {caption.text: caption for caption in captions}
    truth = np.array([[graded.truth(scene, caption) for caption in said.values()] for scene in seen], dtype=np.float32)
    return torch.from_numpy(np.stack(pictures)), list(said), torch.from_numpy(truth)


def contrastive_loss(cosines: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy from the graded targets, [pictures, captions], over the captions and over the pictures.

    Rows (or columns) in which nothing is at least half true say nothing about which is right and are left out.
    """
    total = cosines.new_zeros(())
    for scores, grades in ((cosines, truth), (cosines.T, truth.T)):
        known = grades.amax(dim=1) > 0.5
        targets = (SHARPNESS * grades[known]).softmax(dim=1)
        logs = (SCALE * scores[known]).log_softmax(dim=1)
        total = total + (targets * (targets.clamp_min(1e-9).log() - logs)).sum(dim=1).mean()
    return total / 2


def new_model(seed: int) -> tuple[TinyClip, Texts]:
    """Random vision tower; the text encoder is the demo model's with a projection that starts as the identity."""
    tokenizer = host_tokenizer()
    photo = {token for token, _ in tokenizer.tokenize_with_weights("a photo of")["l"][0]}
    words = sorted({*vocabulary(tokenizer), *photo})
    net = TinyClip(demo_model.CLIP_CONFIG, demo_clip.VISION_CONFIG, words)
    net.initialise(seed)
    stored = demo_model.stored_weights()
    known = {token: row for row, token in enumerate(stored[demo_model.TOKEN_IDS].tolist())}
    weights = net.text.state_dict()
    for name, value in stored.items():
        if name.startswith(demo_model.TEXT_PREFIX) and name not in (demo_model.TOKEN_ROWS, demo_model.TOKEN_IDS):
            weights[name.removeprefix(demo_model.TEXT_PREFIX + "transformer.")] = value.float()
    table = weights["text_model.embeddings.token_embedding.weight"]
    for row, token in enumerate(words):
        if token in known:
            table[row] = stored[demo_model.TOKEN_ROWS][known[token]].float()
    weights["text_projection.weight"] = torch.eye(demo_model.CLIP_CONFIG["hidden_size"])
    net.text.load_state_dict(weights)
    return net, Texts(tokenizer, words)


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Linear rise, then a cosine fall to nought."""
    rise = min(1.0, (step + 1) / args.warmup)
    return args.lr * rise * 0.5 * (1.0 + math.cos(math.pi * step / args.steps))


def picture_cosines(net: TinyClip, texts: Texts, pictures: Tensor, captions: list[str]) -> Tensor:
    """Cosines [pictures, captions]."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return net.encode_pictures(pictures, mean, std) @ net.encode_text(*texts(captions)).T


@torch.no_grad()
def ranking(net: TinyClip, texts: Texts, scenes: int = 120, seed: int = 9_999) -> dict[str, float]:
    """On scenes of two and three objects that were never trained on: how often the true caption beats one with two
    colours swapped, with another noun, with another colour, and with an object left out."""
    rng = np.random.default_rng(seed)
    pictures, captions, kinds = [], [], ("swapped", "noun", "colour", "left_out")
    for index in range(scenes):
        names = data.sample_names(rng, 2 + index % 2)
        shapes = data.place(rng, names)
        pictures.append(graded.draw(rng, graded.Seen(tuple(shapes), (1.0,) * len(shapes))))
        i = int(rng.integers(len(names) - 1))
        (noun, colour), (noun2, colour2) = names[i], names[i + 1]
        other_noun = str(rng.choice([n for n in data.NOUNS if n not in dict(names)]))
        other_colour = str(rng.choice([c for c in data.COLOURS if c not in dict(names).values()]))
        rivals = [[(noun, colour2), (noun2, colour)], [(other_noun, colour), (noun2, colour2)]]
        rivals += [[(noun, other_colour), (noun2, colour2)], [(noun2, colour2)]]
        for pair in ([(noun, colour), (noun2, colour2)], *rivals):
            captions.append(data.enumerate_caption([*names[:i], *pair, *names[i + 2 :]]))
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    seen = net.encode_pictures(torch.from_numpy(np.stack(pictures)), mean, std)
    said = net.encode_text(*texts(captions)).unflatten(0, (scenes, 5))
    cosines = torch.einsum("sd,scd->sc", seen, said)
    return {
        f"beats_{kind}": float((cosines[:, 0] > cosines[:, k]).float().mean()) for k, kind in enumerate(kinds, start=1)
    }


def export(net: TinyClip, words: list[int], card: dict) -> None:
    """assets/tinyclip.safetensors (float16, under the names that host/models/demo_clip.py reads) and its card."""
    weights = {
        demo_clip.TEXT_PREFIX + name: value
        for name, value in net.text.state_dict().items()
        if "token_embedding" not in name
    }
    weights |= {demo_clip.VISION_PREFIX + name: value for name, value in net.vision.state_dict().items()}
    weights[demo_clip.TOKEN_ROWS] = net.text.text_model.embeddings.token_embedding.weight
    stored = {name: value.detach().to(torch.float16).contiguous() for name, value in weights.items()}
    save_file({**stored, demo_clip.TOKEN_IDS: torch.tensor(words, dtype=torch.int32)}, demo_clip.WEIGHTS)
    demo_clip.WEIGHTS.chmod(0o644)  # save_file makes it readable by its owner only
    card |= {DIGEST: hashlib.sha256(demo_clip.WEIGHTS.read_bytes()).hexdigest()}
    demo_clip.WEIGHTS.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


def main() -> None:
    args = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)  # the host has set its own
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    args.output.mkdir(parents=True, exist_ok=True)
    checkpoint, table = args.output / "last.pt", args.output / "log.csv"

    net, texts = new_model(args.seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.02, fused=True)
    first, seconds, phases = 0, 0.0, []
    if args.resume or args.export:
        state = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(state["model"])
        first, seconds, phases = state["step"], state["seconds"], state["phases"]
    if args.export:
        card = {
            "what": "TinyCLIP: a CLIP for TinyShapes' pictures, trained by benchmarks/tinyshapes/train_clip.py",
            "trained_steps": first,
            "seed": phases[0]["seed"],
            "trained_pictures": first * phases[0]["groups"] * 4,
            "minutes": round(seconds / 60, 1),
            "recipe": phases,
            "scale": SCALE,
            "sharpness": SHARPNESS,
            "text_encoder": demo_model.CLIP_CONFIG,
            "vision": demo_clip.VISION_CONFIG,
            "metrics": {"held_out_scenes": ranking(net, texts, 400, seed=10_000)},
        }
        export(net, texts_words(texts), card)
        print(json.dumps(card["metrics"]))
        return
    phase = {"from_step": first, **{name: getattr(args, name) for name in RECIPE}}
    if not phases or {**phases[-1], "from_step": first} != phase:
        phases.append(phase)
    if args.resume:
        optimizer.load_state_dict(state["optimizer"])
    started, recent = time.monotonic() - seconds, []
    with table.open("a" if args.resume else "w", newline="") as file:
        writer = csv.writer(file)
        if not args.resume:
            writer.writerow(
                ("step", "seconds", "lr", "loss", "beats_swapped", "beats_noun", "beats_colour", "beats_left_out")
            )
        for step in range(first, args.steps):
            pictures, captions, truth = batch_of(step, args.groups, args.counts, args.seed, args.near_captions)
            for part in optimizer.param_groups:
                part["lr"] = learning_rate(step, args)
            with torch.autocast("cpu", torch.bfloat16, enabled=args.half):
                cosines = picture_cosines(net, texts, pictures, captions)
            loss = contrastive_loss(cosines.float(), truth)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            recent.append(loss.item())
            if (step + 1) % 25 == 0 or step + 1 == args.steps:
                figures = ranking(net, texts)
                now = time.monotonic() - started
                mean, recent = sum(recent) / len(recent), []
                row = (step + 1, f"{now:.0f}", f"{learning_rate(step, args):.1e}", f"{mean:.4f}")
                writer.writerow((*row, *(f"{value:.3f}" for value in figures.values())))
                file.flush()
                log.info("step %d of %d, %.0f s, loss %.4f, %s", step + 1, args.steps, now, mean, figures)
                save(
                    checkpoint,
                    model=net.state_dict(),
                    optimizer=optimizer.state_dict(),
                    step=step + 1,
                    seconds=now,
                    phases=phases,
                )


def texts_words(texts: Texts) -> list[int]:
    """The vocabulary in the order of its rows."""
    return sorted(texts.rows, key=texts.rows.get)


if __name__ == "__main__":
    main()
