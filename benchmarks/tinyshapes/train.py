"""Train TinyShapes, the pack's small text-to-image model, from scratch. Run it with:

    python3 dev.py run benchmarks/tinyshapes/train.py --steps 8000
    python3 dev.py run benchmarks/tinyshapes/train.py --resume --steps 8000     # go on where it stopped
    python3 dev.py run benchmarks/tinyshapes/train.py --start assets/tinyshapes.safetensors --steps 9700

A CUDA device is used where there is one. Checkpoints and the log go to output/tinyshapes/; export.py turns a checkpoint
into assets/tinyshapes.safetensors. Every step draws its pictures, captions, times and noise from (seed, step), so a
resumed run sees the same data as one that was never stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _pack import ROOT, load_pack  # noqa: E402

load_pack()
from prompt_fidelity.host.models.demo_model import CLIP_CONFIG, TOKENS, UNET_CONFIG  # noqa: E402
from prompt_fidelity.host.models.mean_vae import pictures_to_latents  # noqa: E402
from tinyshapes import data, model  # noqa: E402

log = logging.getLogger("tinyshapes")
OUTPUT = ROOT / "output" / "tinyshapes"
DRAWN = 64  # pixels per side of the pictures drawn for training: their block means are those of 128
RECIPE = (
    "steps", "batch", "lr", "warmup", "cooldown", "counts", "often", "redraw", "relations", "neglected", "swapped",
    "empty", "high_noise", "noisy_from", "localise", "ema", "seed",
)  # fmt: skip
TABLE = "text.text_model.embeddings.token_embedding.weight"
FIELDS = ("step", "samples", "seconds", "lr", "loss", "misplaced")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8000, help="stop after this many optimiser steps in all")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--warmup", type=int, default=200, help="steps over which the learning rate rises")
    parser.add_argument(
        "--cooldown", type=float, default=0.4, help="share of the steps, at the end, over which it falls (cosine)"
    )
    parser.add_argument(
        "--counts", type=float, nargs=3, default=(0.4, 0.4, 0.2), help="shares of pictures with 1, 2, 3 objects"
    )
    parser.add_argument(
        "--often", nargs="*", default=(), help="nouns to draw three times as often, while they are still confused"
    )
    parser.add_argument(
        "--redraw",
        nargs="*",
        default=(),
        help="with --resume: nouns whose token rows start anew (two that have become one never part)",
    )
    parser.add_argument(
        "--relations", type=float, default=0.2, help="share of two-object captions that say where things are"
    )
    parser.add_argument(
        "--neglected", type=float, default=0.0, help="share of captions with several objects whose picture lacks one"
    )
    parser.add_argument(
        "--swapped",
        type=float,
        default=0.0,
        help="share of captions with several objects where two have each other's colour",
    )
    parser.add_argument("--empty", type=float, default=0.1, help="share of captions left empty, for guidance")
    parser.add_argument(
        "--high-noise", type=float, default=0.7, help="share of times drawn from --noisy-from on, where text decides"
    )
    parser.add_argument(
        "--noisy-from", type=int, default=600, help="below this timestep the shapes can be seen through the noise"
    )
    parser.add_argument(
        "--localise",
        type=float,
        default=0.0,
        help="weight of the auxiliary loss: a noun's attention inside its object's box",
    )
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    parser.add_argument(
        "--start",
        type=Path,
        help="go on from exported weights (.safetensors, with their .json and .log.csv), the optimiser new",
    )
    return parser.parse_args()


def learning_rate(step: int, args: argparse.Namespace, fresh_from: int = 0) -> float:
    """Linear rise from the step where the optimiser was new, flat, cosine fall to nought over the last `cooldown`
    share.
    """
    fall = args.cooldown * args.steps
    left = (args.steps - step) / fall if fall > 0 else 1.0
    return args.lr * min(1.0, (step + 1 - fresh_from) / args.warmup) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, left)))


def host_tokenizer():
    import comfy.sd1_clip

    return comfy.sd1_clip.SD1Tokenizer(tokenizer_data={"clip_l_max_length": TOKENS})


def vocabulary(tokenizer) -> list[int]:
    """The host tokenizer's ids of every word a caption can hold, sorted; the special tokens come with each."""
    phrases = [f"a {colour} {noun}, and the" for colour in data.COLOURS for noun in data.NOUNS] + list(data.RELATIONS)
    return sorted({token for phrase in phrases for token, _ in tokenizer.tokenize_with_weights(phrase)["l"][0]})


@dataclass
class Batch:
    """What one step learns from. `objects` lists every named object: its picture's index, its
    noun's token, its cells.
    """

    latents: Tensor  # [batch, 4, 16, 16]
    rows: Tensor  # [batch, 16], rows of the vocabulary
    objects: tuple[Tensor, Tensor, Tensor]  # [objects], [objects], [objects, 256] (1 inside the box, else 0)

    def to(self, device: str) -> Batch:
        return Batch(self.latents.to(device), self.rows.to(device), tuple(part.to(device) for part in self.objects))


def cells_inside(shape: data.Shape) -> np.ndarray:
    """The latent cells [256] whose centre lies in the shape's box: 1, else 0."""
    centres = 8.0 * np.arange(16) + 4.0
    left, top, right, bottom = shape.box
    columns, rows = (left <= centres) & (centres <= right), (top <= centres) & (centres <= bottom)
    return np.outer(rows, columns).astype(np.float32).ravel()


def batch_of(step: int, args: argparse.Namespace, tokenizer, words: list[int]) -> Batch:
    """The pictures and captions of one step."""
    rng = np.random.default_rng([args.seed, step])
    row_of = {noun: words.index(tokenizer.tokenize_with_weights(noun)["l"][0][1][0]) for noun in data.NOUNS}
    pictures, captions, drawn = [], [], []
    for _ in range(args.batch):
        shapes, caption = data.sample(
            rng, tuple(args.counts), args.relations, tuple(args.often), args.neglected, args.swapped
        )
        tint = rng.normal(0.0, 0.03, (len(shapes), 3)).astype(np.float32)
        pictures.append(data.render(shapes, DRAWN, data.GROUND + float(rng.uniform(-0.06, 0.06)), tint))
        named = rng.random() >= args.empty
        captions.append(caption if named else "")
        drawn.append(shapes if named else [])
    rows = model.rows_of(captions, tokenizer, words)
    objects = [(index, rows[index].tolist().index(row_of[shape.noun]), cells_inside(shape))
               for index, shapes in enumerate(drawn) for shape in shapes]  # fmt: skip
    indices, tokens, cells = zip(*objects)
    located = torch.tensor(indices), torch.tensor(tokens), torch.from_numpy(np.stack(cells))
    return Batch(pictures_to_latents(torch.from_numpy(np.stack(pictures)), DRAWN // 16), rows, located)


def localisation_loss(maps: Tensor, objects: tuple[Tensor, Tensor, Tensor], visible: Tensor) -> Tensor:
    """-log of the share of each noun's attention [b, 256, 16] that lies in its object's box,
    weighted by `visible` [b].
    """
    index, token, cells = objects
    noun = maps[index, :, token]  # [objects, 256]
    inside = (noun * cells).sum(-1) / noun.sum(-1)
    return -(visible[index] * inside.clamp(min=1e-6).log()).mean()


def times_of(generator: torch.Generator, args: argparse.Namespace) -> Tensor:
    """Timesteps [batch] in 0..999: uniform, but a share of them from `noisy_from` on."""
    uniform = torch.rand(args.batch, generator=generator)
    high = torch.rand(args.batch, generator=generator) < args.high_noise
    return (
        torch.where(high, args.noisy_from + (1000.0 - args.noisy_from) * uniform, 1000.0 * uniform)
        .long()
        .clamp(max=999)
    )


def redraw_rows(tables: list[Tensor], nouns: tuple[str, ...], tokenizer, words: list[int], seed: int) -> None:
    """Give the nouns' rows in the token tables new random values of the usual length."""
    generator = torch.Generator().manual_seed(seed)
    for noun in nouns:
        row = words.index(tokenizer.tokenize_with_weights(noun)["l"][0][1][0])
        fresh = 0.15 * torch.randn(tables[0].shape[1], generator=generator)
        for table in tables:
            table.data[row] = fresh.to(table.device)


def exported_state(path: Path, net: model.TinyShapes) -> tuple[dict[str, Tensor], dict, list[list[str]]]:
    """Exported weights under the network's parameter names, with their card and the rows of their log."""
    from prompt_fidelity.host.models.demo_model import TEXT_PREFIX, TOKEN_ROWS, UNET_PREFIX

    stored = load_file(path)
    names = {name: "unet." + name.removeprefix(UNET_PREFIX) for name in stored if name.startswith(UNET_PREFIX)}
    names |= {
        name: "text." + name.removeprefix(TEXT_PREFIX + "transformer.")
        for name in stored
        if name.startswith(TEXT_PREFIX)
    }
    names[TOKEN_ROWS] = TABLE
    weights = {
        names[name]: value.float() for name, value in stored.items() if names[name] in dict(net.named_parameters())
    }
    with path.with_suffix(".log.csv").open() as log_file:
        rows = [row for row in csv.reader(log_file) if row[0].isdigit()]
    return weights, json.loads(path.with_suffix(".json").read_text()), rows


def save(path: Path, **state) -> None:
    """Write a checkpoint so that a stop in the middle never leaves a broken one."""
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def main() -> None:
    args = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(
        True
    )  # a sharp softmax has gradients so small that a processor takes its slow path for them
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
    first, seconds, phases, fresh_from, logged = 0, 0.0, [], 0, []
    if args.start:
        weights, card, logged = exported_state(args.start, net)
        net.load_state_dict(weights)
        averaged = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
        first = fresh_from = card["trained_steps"]
        seconds, phases = float(logged[-1][FIELDS.index("seconds")]), card["recipe"]
    elif args.resume:
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        averaged, first, seconds, phases = state["averaged"], state["step"], state["seconds"], state["phases"]
        fresh_from = state.get("fresh_from", 0)
        logged = [row for row in csv.reader(table.open()) if row[0].isdigit() and int(row[0]) <= first]
        redraw_rows([net.text.get_input_embeddings().weight, averaged[TABLE]], args.redraw, tokenizer, words, first)
    phases.append({"from_step": first, **{key: str(value) for key, value in vars(args).items() if key in RECIPE}})
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([FIELDS, *logged])  # without what came after the checkpoint: it is done again
        levels = model.noise_schedule().to(device)
        # A processor without bfloat16 instructions emulates them, many times slower than float32.
        half = device == "cuda" or torch.cpu._is_avx512_bf16_supported()
        recent: list[tuple[float, float]] = []
        started = time.monotonic() - seconds
        for step in range(first, args.steps):
            lr = learning_rate(step, args, fresh_from)
            for group in optimizer.param_groups:
                group["lr"] = lr
            batch = batch_of(step, args, tokenizer, words).to(device)
            generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
            t = times_of(generator, args).to(device)
            noise = torch.randn(batch.latents.shape, generator=generator).to(device)
            signal = levels[t].view(-1, 1, 1, 1)
            noisy = signal.sqrt() * batch.latents + (1.0 - signal).sqrt() * noise
            with torch.autocast(device, torch.bfloat16, enabled=half):
                predicted, maps = net(noisy, t.float(), batch.rows)
            loss = (predicted.float() - noise).square().mean()
            # Where the object cannot be seen through the noise yet, its noun cannot know where to look.
            misplaced = localisation_loss(maps, batch.objects, (10.0 * levels[t]).clamp(max=1.0))
            optimizer.zero_grad()
            (loss + args.localise * misplaced).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            decay = min(args.ema, (step + 1) / (step + 10))  # forget the random start quickly
            with torch.no_grad():
                torch._foreach_lerp_(list(averaged.values()), list(net.parameters()), 1.0 - decay)
            recent.append((loss.item(), misplaced.item()))
            if (step + 1) % 50 == 0:
                mean, mean_misplaced = (sum(values) / len(recent) for values in zip(*recent))
                recent = []
                now = time.monotonic() - started
                writer.writerow(
                    (
                        step + 1,
                        (step + 1) * args.batch,
                        f"{now:.0f}",
                        f"{lr:.2e}",
                        f"{mean:.5f}",
                        f"{mean_misplaced:.3f}",
                    )
                )
                file.flush()
                log.info(
                    "step %d of %d, loss %.4f, %.1f samples/s",
                    step + 1,
                    args.steps,
                    mean,
                    (step + 1) * args.batch / now,
                )
            if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
                save(
                    checkpoint,
                    model=net.state_dict(),
                    averaged=averaged,
                    optimizer=optimizer.state_dict(),
                    step=step + 1,
                    seconds=time.monotonic() - started,
                    vocabulary=words,
                    phases=phases,
                    fresh_from=fresh_from,
                )


if __name__ == "__main__":
    main()
