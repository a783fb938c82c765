"""Train TinyShapes, the pack's small text-to-image model, from scratch. Run it with:

    python3 dev.py run benchmarks/tinyshapes/train.py --steps 8000
    python3 dev.py run benchmarks/tinyshapes/train.py --resume --steps 8000     # go on where it stopped

A CUDA device is used where there is one. Checkpoints and the log go to output/tinyshapes/; export.py turns a checkpoint
into assets/tinyshapes.safetensors. Every step draws its pictures, captions, times and noise from (seed, step), so a
resumed run sees the same data as one that was never stopped.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _pack import ROOT, load_pack  # noqa: E402

load_pack()
from tinyshapes import data, model  # noqa: E402

from prompt_fidelity.host.demo_model import CLIP_CONFIG, TOKENS, UNET_CONFIG  # noqa: E402
from prompt_fidelity.host.mean_vae import pictures_to_latents  # noqa: E402

log = logging.getLogger("tinyshapes")
OUTPUT = ROOT / "output" / "tinyshapes"
DRAWN = 64  # pixels per side of the pictures drawn for training: their block means are those of 128
RECIPE = ("steps", "batch", "lr", "warmup", "cooldown", "counts", "often", "relations", "empty", "high_noise", "noisy_from", "ema", "seed")
FIELDS = ("step", "samples", "seconds", "lr", "loss")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8000, help="stop after this many optimiser steps in all")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--warmup", type=int, default=200, help="steps over which the learning rate rises")
    parser.add_argument("--cooldown", type=float, default=0.4, help="share of the steps, at the end, over which it falls (cosine)")
    parser.add_argument("--counts", type=float, nargs=3, default=(0.4, 0.4, 0.2), help="shares of pictures with 1, 2, 3 objects")
    parser.add_argument("--often", nargs="*", default=(), help="nouns to draw three times as often, while they are still confused")
    parser.add_argument("--relations", type=float, default=0.2, help="share of two-object captions that say where things are")
    parser.add_argument("--empty", type=float, default=0.1, help="share of captions left empty, for guidance")
    parser.add_argument("--high-noise", type=float, default=0.7, help="share of times drawn from --noisy-from on, where text decides")
    parser.add_argument("--noisy-from", type=int, default=600, help="below this timestep the shapes can be seen through the noise")
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    return parser.parse_args()


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Linear rise, flat, cosine fall to nought over the last `cooldown` share."""
    fall = args.cooldown * args.steps
    left = (args.steps - step) / fall if fall > 0 else 1.0
    return args.lr * min(1.0, (step + 1) / args.warmup) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, left)))


def host_tokenizer():
    import comfy.sd1_clip

    return comfy.sd1_clip.SD1Tokenizer(tokenizer_data={"clip_l_max_length": TOKENS})


def vocabulary(tokenizer) -> list[int]:
    """The host tokenizer's ids of every word a caption can hold, sorted; the special tokens come with each."""
    phrases = [f"a {colour} {noun}, and the" for colour in data.COLOURS for noun in data.NOUNS] + list(data.RELATIONS)
    return sorted({token for phrase in phrases for token, _ in tokenizer.tokenize_with_weights(phrase)["l"][0]})


def batch_of(step: int, args: argparse.Namespace, tokenizer, words: list[int]) -> tuple[Tensor, Tensor]:
    """Latents [batch, 4, 16, 16] and caption rows [batch, 16] of one step."""
    rng = np.random.default_rng([args.seed, step])
    pictures, captions = [], []
    for _ in range(args.batch):
        shapes, caption = data.sample(rng, tuple(args.counts), args.relations, tuple(args.often))
        tint = rng.normal(0.0, 0.03, (len(shapes), 3)).astype(np.float32)
        pictures.append(data.render(shapes, DRAWN, data.GROUND + float(rng.uniform(-0.06, 0.06)), tint))
        captions.append("" if rng.random() < args.empty else caption)
    latents = pictures_to_latents(torch.from_numpy(np.stack(pictures)), DRAWN // 16)
    return latents, model.rows_of(captions, tokenizer, words)


def times_of(generator: torch.Generator, args: argparse.Namespace) -> Tensor:
    """Timesteps [batch] in 0..999: uniform, but a share of them from `noisy_from` on."""
    uniform = torch.rand(args.batch, generator=generator)
    high = torch.rand(args.batch, generator=generator) < args.high_noise
    return torch.where(high, args.noisy_from + (1000.0 - args.noisy_from) * uniform, 1000.0 * uniform).long().clamp(max=999)


def save(path: Path, **state) -> None:
    """Write a checkpoint so that a stop in the middle never leaves a broken one."""
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def main() -> None:
    args = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    args.output.mkdir(parents=True, exist_ok=True)
    checkpoint, table = args.output / "last.pt", args.output / "log.csv"

    tokenizer = host_tokenizer()
    words = vocabulary(tokenizer)
    net = model.TinyShapes(UNET_CONFIG, CLIP_CONFIG, words)
    net.initialise(args.seed)
    net = net.to(device)
    averaged = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    first, seconds, phases = 0, 0.0, []
    if args.resume:
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        averaged, first, seconds, phases = state["averaged"], state["step"], state["seconds"], state["phases"]
    phases.append({"from_step": first, **{key: str(value) for key, value in vars(args).items() if key in RECIPE}})
    logged = [row for row in csv.reader(table.open()) if row[0].isdigit() and int(row[0]) <= first] if args.resume else []
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([FIELDS, *logged])  # without what came after the checkpoint: it is done again
        levels = model.noise_schedule().to(device)
        recent: list[float] = []
        started = time.monotonic() - seconds
        for step in range(first, args.steps):
            lr = learning_rate(step, args)
            for group in optimizer.param_groups:
                group["lr"] = lr
            clean, rows = (part.to(device) for part in batch_of(step, args, tokenizer, words))
            generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
            t = times_of(generator, args).to(device)
            noise = torch.randn(clean.shape, generator=generator).to(device)
            signal = levels[t].view(-1, 1, 1, 1)
            noisy = signal.sqrt() * clean + (1.0 - signal).sqrt() * noise
            with torch.autocast(device, torch.bfloat16):
                predicted = net(noisy, t.float(), rows)
            loss = (predicted.float() - noise).square().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            decay = min(args.ema, (step + 1) / (step + 10))  # forget the random start quickly
            with torch.no_grad():
                torch._foreach_lerp_(list(averaged.values()), list(net.parameters()), 1.0 - decay)
            recent.append(loss.item())
            if (step + 1) % 50 == 0:
                mean, recent = sum(recent) / len(recent), []
                now = time.monotonic() - started
                writer.writerow((step + 1, (step + 1) * args.batch, f"{now:.0f}", f"{lr:.2e}", f"{mean:.5f}"))
                file.flush()
                log.info("step %d of %d, loss %.4f, %.1f samples/s", step + 1, args.steps, mean, (step + 1) * args.batch / now)
            if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
                save(checkpoint, model=net.state_dict(), averaged=averaged, optimizer=optimizer.state_dict(), step=step + 1,
                     seconds=time.monotonic() - started, vocabulary=words, phases=phases)


if __name__ == "__main__":
    main()
