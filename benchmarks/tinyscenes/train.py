"""Train TinyScenes, the pack's small text-to-image model of tinted emoji, from scratch. Run it with:

    python3 dev.py run benchmarks/tinyscenes/train.py --output FOLDER            start, or go on where it stopped
    python3 dev.py run benchmarks/tinyscenes/train.py --output FOLDER --finish 2000     let the rate fall, then end

It runs until it is stopped (Ctrl-C or SIGTERM: it saves first). The learning rate stays constant, so that any length
can be finished well: `--finish N` lets it fall to nought over N more steps. Every step draws its pictures, captions,
times and noise from (seed, step): a resumed run sees the same data as one that was never stopped. Settings may change
between starts; the checkpoint lists each phase.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch._inductor.config
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _pack import ROOT, load_pack  # noqa: E402

load_pack()
from prompt_fidelity.host.models.demo_scenes import CLIP_CONFIG, FLUX_CONFIG, TOKENS  # noqa: E402
from tinyscenes import components, data  # noqa: E402
from tinyscenes.model import TinyScenes  # noqa: E402

log = logging.getLogger("tinyscenes")
# A step's tensors are too large for the C library's taste: it gives their memory back and asks for it again each time,
# and the fresh pages cost more than the sums. Keeping it, in large pages, makes a step two to three times as fast.
MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=34359738368"
OUTPUT = ROOT / "output" / "tinyscenes"
RECIPE = ("windows", "lr", "muon_lr", "warmup", "counts", "plain", "empty", "shift", "weight", "ema", "seed")
# From so many samples on: windows and batches that the steps take in turn; shares of whole pictures with 1, 2, 3
# objects.
STAGES = (
    (0, ["8:32"], (1.0, 0.0, 0.0)),
    (40_000, ["8:32", "16:32"], (0.5, 0.5, 0.0)),
    (200_000, ["8:32", "16:32", "16:32"], (0.45, 0.45, 0.1)),
)
FIELDS = ("step", "samples", "cpu_seconds", "lr", "loss_window", "loss_whole")
SIGMAS = (0.97, 0.92, 0.8, 0.5)  # where the evaluation looks; 1 is noise
PEAKS_AT = 0.8  # ... and where it looks at the attention


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="checkpoint, log and evaluations")
    parser.add_argument(
        "--windows", nargs="+", metavar="SIDE:BATCH",
        help="the steps take these in turn: pictures of so many cells a side, so many a step. Below 16 a picture is a "
        "window with one object, where a noun is learned at a fraction of the cost (default: by STAGES)",
    )  # fmt: skip
    parser.add_argument(
        "--lr", type=float, default=1e-3, help="AdamW's rate: embeddings, biases, norms, first and last"
    )
    parser.add_argument("--muon-lr", type=float, default=1e-2, help="Muon's rate: the matrices inside the blocks")
    parser.add_argument("--warmup", type=int, default=200, help="steps over which the learning rate rises")
    parser.add_argument("--counts", type=float, nargs=3, help="shares of 1, 2, 3 objects (by STAGES)")
    parser.add_argument("--plain", type=float, default=0.35, help="share of objects without a colour word")
    parser.add_argument("--empty", type=float, default=0.1, help="share of captions left empty, for guidance")
    parser.add_argument(
        "--shift", type=float, default=5.0, help="pushes the times to the noisy end, where words decide"
    )
    parser.add_argument("--weight", type=float, default=1.0, help="power of a component's scale that weighs its loss")
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10**9, help="stop after this many steps in all")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--finish", type=int, metavar="N", help="let the rate fall to nought over N steps, then stop")
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds between checkpoints")
    parser.add_argument("--look-every", type=float, default=600.0, help="seconds between evaluations")
    parser.add_argument("--eager", action="store_true", help="without torch.compile (slower; for tests)")
    return parser.parse_args()


@dataclass
class Batch:
    """What one step learns from.

    `corner` is where in the whole picture the window lies (row, column). `objects` lists every named object: its
    picture, its noun's place in the caption, its box in pixels; only the evaluation looks at it.
    """

    latents: Tensor  # [batch, 16, side, side]
    rows: Tensor  # [batch, tokens], rows of the vocabulary
    objects: list[tuple[int, int, tuple[int, int, int, int]]]
    corner: tuple[int, int]


class Texts:
    """Captions to rows of the small vocabulary, by the host's tokenizer."""

    def __init__(self):
        import comfy.sd1_clip

        self.tokenizer = comfy.sd1_clip.SD1Tokenizer(tokenizer_data={"clip_l_max_length": TOKENS})
        phrases = [f"a an {colour} {noun}, and the" for colour in data.COLOURS for noun in data.NOUNS]
        self.vocabulary = sorted({token for phrase in phrases for token in self.ids(phrase)})
        self.row_of = {token: row for row, token in enumerate(self.vocabulary)}
        self.noun_row = {noun: self.row_of[self.ids(noun)[1]] for noun in data.NOUNS}
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        return [token for token, _ in self.tokenizer.tokenize_with_weights(text)["l"][0]]

    def rows(self, captions: list[str]) -> Tensor:
        for caption in captions:
            if caption not in self._known:
                self._known[caption] = [self.row_of[token] for token in self.ids(caption)]
        return torch.tensor([self._known[caption] for caption in captions])


def at_stage(args: argparse.Namespace, samples: int) -> argparse.Namespace:
    """The arguments with the windows and counts of the stage that so many samples have reached, if none are given."""
    _, windows, counts = [stage for stage in STAGES if stage[0] <= samples][-1]
    given = {"windows": args.windows or windows, "counts": args.counts or counts}
    return argparse.Namespace(**{**vars(args), **given})


def window_of(step: int, args: argparse.Namespace) -> tuple[int, int]:
    """The side in cells and the batch of a step."""
    side, batch = args.windows[step % len(args.windows)].split(":")
    return int(side), int(batch)


def batch_of(step: int, args: argparse.Namespace, texts: Texts, code: components.Components) -> Batch:
    """The pictures and captions of one step."""
    rng = np.random.default_rng([args.seed, step])
    side, count = window_of(step, args)
    whole = side == components.GRID
    corner = (0, 0) if whole else tuple(rng.integers(0, components.GRID - side + 1, 2).tolist())
    pictures, captions, scenes = [], [], []
    for _ in range(count):
        things, caption = data.sample(rng, tuple(args.counts) if whole else (1.0,), args.plain, side * data.CELL)
        pictures.append(data.render(things, data.ground(rng), side * data.CELL))
        named = rng.random() >= args.empty
        captions.append(caption if named else "")
        scenes.append(things if named else [])
    rows = texts.rows(captions)
    objects = [
        (index, rows[index].tolist().index(texts.noun_row[thing.noun]), thing.box)
        for index, things in enumerate(scenes)
        for thing in things
    ]
    return Batch(torch.from_numpy(code.encode(np.stack(pictures))), rows, objects, corner)


def times_of(generator: torch.Generator, count: int, shift: float) -> Tensor:
    """Times [count] in 0..1, 1 is noise: logit-normal, pushed to the noisy end."""
    u = torch.sigmoid(torch.randn(count, generator=generator))
    return shift * u / (1.0 + (shift - 1.0) * u)


def optimisers_of(net: TinyScenes, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    inner, outer = [], []
    for name, parameter in net.named_parameters():
        block = "blocks" in name or "encoder.layers" in name
        (inner if block and parameter.ndim == 2 else outer).append(parameter)
    adam = torch.optim.AdamW(outer, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    if args.muon_lr <= 0.0:
        return [torch.optim.AdamW([*inner, *outer], lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)]
    return [adam, torch.optim.Muon(inner, lr=args.muon_lr, weight_decay=0.01, momentum=0.95)]


@torch.no_grad()
def look(net: TinyScenes, args: argparse.Namespace, texts: Texts, code: components.Components, weight: Tensor) -> str:
    """The loss under the right caption and under another picture's, and where each block's nouns look."""
    lines = []
    for side in sorted({int(window.split(":")[0]) for window in args.windows}):
        held = argparse.Namespace(
            seed=args.seed, windows=[f"{side}:64"], counts=(0.5, 0.5, 0.0), plain=args.plain, empty=0.0
        )
        batch = batch_of(1_000_000_000, held, texts, code)
        noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(9))
        parts, shown = [], ""
        for sigma in SIGMAS:
            noisy, t = (1 - sigma) * batch.latents + sigma * noise, torch.full((64,), sigma)
            losses = []
            for rows in (batch.rows, batch.rows.roll(1, 0)):
                maps: list[Tensor] = []
                with torch.autocast("cpu", torch.bfloat16):
                    out = net(noisy, t, rows, maps, batch.corner).float()
                error = (out - (noise - batch.latents)).square().mean((0, 2, 3))
                losses.append(float((error * weight).mean()))
                if rows is batch.rows and sigma == PEAKS_AT:
                    shown = " ".join(f"{np.mean([_inside(m, o, side) for o in batch.objects]):.2f}" for m in maps)
            parts.append(f"sigma {sigma} {losses[0]:.4f} (wrong caption {losses[1]:.4f})")
        lines.append(f"side {side}: {', '.join(parts)}, noun's peak inside by block {shown}")
    return "; ".join(lines)


def _inside(maps: Tensor, item: tuple, side: int) -> bool:
    """Whether an object's noun looks most at a cell of its box; maps [b, cells, tokens]."""
    index, token, (left, top, right, bottom) = item
    row, column = divmod(int(maps[index, :, token].argmax()), side)
    return left <= column * data.CELL < right and top <= row * data.CELL < bottom


def save(path: Path, **state) -> None:
    """Write a checkpoint so that a stop in the middle never leaves a broken one."""
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


class Stop:
    """Whether somebody asked the run to end."""

    def __init__(self):
        self.asked = False
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self)

    def __call__(self, *_):
        self.asked = True


def restart_with_memory_kept(args: argparse.Namespace) -> None:
    """Start this script anew where the C library does not keep its memory yet: it reads its settings only once."""
    if os.environ.get("GLIBC_TUNABLES") == MEMORY or not sys.platform.startswith("linux"):
        return
    settings = {"GLIBC_TUNABLES": MEMORY, "TORCHINDUCTOR_CACHE_DIR": str(args.output.resolve() / "compiled")}
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **settings})


def main() -> None:
    args = parse_arguments()
    restart_with_memory_kept(args)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    torch.set_num_threads(args.threads)
    torch._inductor.config.cpp.threads = args.threads
    torch.set_flush_denormal(True)  # a sharp softmax has gradients so small that a processor takes its slow path
    args.output.mkdir(parents=True, exist_ok=True)
    checkpoint, table, notes = (args.output / name for name in ("last.pt", "log.csv", "look.log"))

    texts, stop = Texts(), Stop()
    net = TinyScenes(FLUX_CONFIG, CLIP_CONFIG, texts.vocabulary)
    net.initialise(args.seed)
    averaged = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimisers = optimisers_of(net, args)
    first, samples, seconds, phases, logged, falling_from = 0, 0, 0.0, [], [], None
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(state["model"])
        for optimiser, stored in zip(optimisers, state["optimisers"]):
            optimiser.load_state_dict(stored)
        averaged, first, seconds, phases = state["averaged"], state["step"], state["seconds"], state["phases"]
        code = components.Components(*(state[name].numpy() for name in ("mean", "basis", "scale")))
        rows = csv.reader(table.open()) if table.is_file() else []
        logged = [row for row in rows if row[0].isdigit() and int(row[0]) <= first]
        falling_from, samples = state["falling_from"], state["samples"]
    else:
        code = components.fit()
    if args.finish is not None:
        falling_from = falling_from if falling_from is not None else first
        args.steps = min(args.steps, falling_from + args.finish)
    else:
        falling_from = None
    recipe = {key: str(getattr(args, key)) for key in RECIPE}
    phases.append({"from_step": first, **recipe, "finish": str(args.finish)})
    weight = torch.from_numpy((code.scale / code.scale.mean()) ** args.weight)
    weight = weight / weight.mean()

    def loss_of(noisy: Tensor, t: Tensor, batch: Batch, wanted: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            out = net(noisy, t, batch.rows, None, batch.corner)
        return ((out.float() - wanted).square().mean((0, 2, 3)) * weight).mean()

    if not args.eager:
        net.compile()
    samples_before = samples
    rates = (args.lr, args.muon_lr)
    recent: dict[bool, list[float]] = {False: [], True: []}  # by whether the picture was a whole one
    started_cpu, started = time.process_time() - seconds, time.monotonic()
    saved = looked = started
    step = first

    def keep() -> None:
        save(
            checkpoint, model=net.state_dict(), averaged=averaged, vocabulary=texts.vocabulary, phases=phases,
            step=step, samples=samples, seconds=time.process_time() - started_cpu, falling_from=falling_from,
            optimisers=[optimiser.state_dict() for optimiser in optimisers],
            **{name: torch.from_numpy(getattr(code, name)) for name in ("mean", "basis", "scale")},
        )  # fmt: skip

    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([FIELDS, *logged])  # without what came after the checkpoint: it is done again
        file.flush()
        while step < args.steps and not stop.asked and time.monotonic() - started < 60 * args.minutes:
            share = min(1.0, (step + 1) / args.warmup)
            if falling_from is not None:
                share *= max(0.0, 1.0 - (step - falling_from) / args.finish)
            for optimiser, rate in zip(optimisers, rates):
                for group in optimiser.param_groups:
                    group["lr"] = rate * share
            stage = at_stage(args, samples)
            batch = batch_of(step, stage, texts, code)
            generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
            t = times_of(generator, len(batch.rows), args.shift)
            noise = torch.randn(batch.latents.shape, generator=generator)
            level = t.view(-1, 1, 1, 1)
            loss = loss_of((1 - level) * batch.latents + level * noise, t, batch, noise - batch.latents)
            for optimiser in optimisers:
                optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            for optimiser in optimisers:
                optimiser.step()
            step += 1
            samples += len(batch.rows)
            decay = min(args.ema, step / (step + 10))  # forget the random start quickly
            with torch.no_grad():
                torch._foreach_lerp_(list(averaged.values()), list(net.parameters()), 1.0 - decay)
            recent[batch.latents.shape[-1] == components.GRID].append(loss.item())
            if step % 50 == 0:
                means = [f"{np.mean(losses):.5f}" if losses else "" for losses in recent.values()]
                recent = {False: [], True: []}
                cpu = time.process_time() - started_cpu
                writer.writerow((step, samples, f"{cpu:.0f}", f"{args.lr * share:.2e}", *means))
                file.flush()
                log.info("step %d, %d samples, loss %s, %.1f samples a CPU second", step, samples, " ".join(means),
                         (samples - samples_before) / (cpu - seconds))  # fmt: skip
            now = time.monotonic()
            if now - saved > args.save_every:
                keep()
                saved = now
            if now - looked > args.look_every:
                looked = now
                note(net, averaged, notes, step, look, at_stage(args, samples), texts, code, weight)
    keep()
    note(net, averaged, notes, step, look, at_stage(args, samples), texts, code, weight)
    log.info("stopped at step %d", step)


def note(net: TinyScenes, averaged: dict[str, Tensor], notes: Path, step: int, look, *rest) -> None:
    """Append an evaluation of the averaged weights to the notes; the network gets its own weights back."""
    own = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    net.load_state_dict(averaged)
    line = f"{time.strftime('%Y-%m-%d %H:%M')} step {step}: {look(net, *rest)}"
    net.load_state_dict(own)
    with notes.open("a") as file:
        file.write(line + "\n")
    log.info(line)


if __name__ == "__main__":
    main()
