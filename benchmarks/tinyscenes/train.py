"""Train TinyScenes, the pack's small text-to-image model of tinted emoji, from scratch. Run it with:

    python3 dev.py run benchmarks/tinyscenes/train.py --output FOLDER            start, or go on where it stopped
    python3 dev.py run benchmarks/tinyscenes/train.py --output FOLDER --finish 2000     let the rate fall, then end

It runs until it is stopped (Ctrl-C or SIGTERM: it saves first). The learning rate stays constant, so that any length
can be finished well: `--finish N` lets it fall to nought over N more steps. Every step draws its pictures, captions,
times and noise from (seed, step): a resumed run sees the same data as one that was never stopped. Settings may change
between starts; the checkpoint lists each phase.

On a graphics card millions of samples take minutes. There `--branch-at` finishes copies on the way (FOLDER/at-SAMPLES),
each judged by what it draws, and the one that fails as real models do is shipped:

    python3 dev.py run benchmarks/tinyscenes/train.py --output FOLDER --device cuda --branch-at 300000 1000000
"""

from __future__ import annotations

import argparse
import copy
import csv
import logging
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
import torch._inductor.config
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _pack import ROOT, load_pack  # noqa: E402

load_pack()
from prompt_fidelity.host.models.demo_scenes import CLIP_CONFIG, FLUX_CONFIG  # noqa: E402
from tinyscenes import components, watch  # noqa: E402
from tinyscenes.model import TinyScenes  # noqa: E402
from tinyscenes.stream import Stream  # noqa: E402
from tinyscenes.texts import Texts  # noqa: E402

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
FIELDS = ("step", "samples", "seconds", "lr", "loss_window", "loss_whole")


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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--pictures", type=int, default=0, help="pictures a kind that an evaluation draws and judges")
    parser.add_argument(
        "--branch-at", type=int, nargs="+", default=[], metavar="SAMPLES", help="finish copies after so many samples"
    )
    parser.add_argument("--branch-steps", type=int, default=600, help="steps over which a copy's rate falls to nought")
    parser.add_argument("--eager", action="store_true", help="without torch.compile (slower; for tests)")
    return parser.parse_args()


def at_stage(args: argparse.Namespace, samples: int) -> argparse.Namespace:
    """The arguments with the windows and counts of the stage that so many samples have reached, if none are given."""
    _, windows, counts = [stage for stage in STAGES if stage[0] <= samples][-1]
    given = {"windows": args.windows or windows, "counts": args.counts or counts}
    return argparse.Namespace(**{**vars(args), **given})


def times_of(generator: torch.Generator, count: int, shift: float) -> Tensor:
    """Times [count] in 0..1, 1 is noise: logit-normal, pushed to the noisy end."""
    u = torch.sigmoid(torch.randn(count, generator=generator, device=generator.device))
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


class Training:
    """The network with all that its training remembers; `step()` learns from one more batch."""

    def __init__(self, args: argparse.Namespace, state: dict | None):
        self.args, self.texts = args, Texts()
        self.code = components.fit() if state is None else components.Components(
            *(state[name].numpy() for name in ("mean", "basis", "scale"))
        )  # fmt: skip
        self.net = TinyScenes(FLUX_CONFIG, CLIP_CONFIG, self.texts.vocabulary)
        self.net.initialise(args.seed)
        self.net.to(args.device)
        self.averaged = {name: parameter.detach().clone() for name, parameter in self.net.named_parameters()}
        self.optimisers = optimisers_of(self.net, args)
        self.stream = Stream(self.code, self.texts.rows, args.device)
        self.steps = self.samples = 0
        self.seconds, self.phases, self.falling_from = 0.0, [], None
        weight = torch.from_numpy((self.code.scale / self.code.scale.mean()) ** args.weight).to(args.device)
        self.weight = weight / weight.mean()
        if state is not None:
            self.restore(state)
        if args.finish is None:
            self.falling_from = None
        elif self.falling_from is None:
            self.falling_from = self.steps
        self.phases.append({"from_step": self.steps, **{key: str(getattr(args, key)) for key in RECIPE}})
        self.phases[-1]["finish"] = str(args.finish)

    def state(self) -> dict:
        """Everything that a later start needs."""
        return {
            "model": self.net.state_dict(), "averaged": self.averaged, "vocabulary": self.texts.vocabulary,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers], "phases": self.phases,
            "step": self.steps, "samples": self.samples, "seconds": self.seconds, "falling_from": self.falling_from,
            "device": self.device_name,
            **{name: torch.from_numpy(getattr(self.code, name)) for name in ("mean", "basis", "scale")},
        }  # fmt: skip

    def restore(self, state: dict) -> None:
        self.net.load_state_dict(state["model"])
        for optimiser, stored in zip(self.optimisers, state["optimisers"]):
            optimiser.load_state_dict(stored)
        self.averaged = {name: value.to(self.args.device) for name, value in state["averaged"].items()}
        self.steps, self.samples, self.seconds = state["step"], state["samples"], state["seconds"]
        self.phases, self.falling_from = list(state["phases"]), state["falling_from"]

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name() if self.args.device == "cuda" else "CPU, one thread"

    @property
    def rate(self) -> float:
        """The share of the learning rate that the next step takes."""
        share = min(1.0, (self.steps + 1) / self.args.warmup)
        if self.falling_from is not None:
            share *= max(0.0, 1.0 - (self.steps - self.falling_from) / self.args.finish)
        return share

    @property
    def finished(self) -> bool:
        return self.falling_from is not None and self.steps >= self.falling_from + self.args.finish

    def step(self) -> tuple[Tensor, bool]:
        """The loss of the next batch, and whether that was of whole pictures."""
        args, stage = self.args, at_stage(self.args, self.samples)
        for optimiser, rate in zip(self.optimisers, (args.lr, args.muon_lr)):
            for group in optimiser.param_groups:
                group["lr"] = rate * self.rate
        side, count = (int(part) for part in stage.windows[self.steps % len(stage.windows)].split(":"))
        whole = side == components.GRID
        counts = tuple(stage.counts) if whole else (1.0,)
        batch = self.stream.batch(args.seed, self.steps, side, count, counts, args.plain, args.empty)
        generator = torch.Generator(args.device).manual_seed(args.seed * 1_000_003 + self.steps + 500_000_003)
        t = times_of(generator, count, args.shift)
        noise = torch.randn(batch.latents.shape, generator=generator, device=args.device)
        level = t.view(-1, 1, 1, 1)
        with torch.autocast(args.device, torch.bfloat16):
            out = self.net((1 - level) * batch.latents + level * noise, t, batch.rows, None, batch.corner)
        error = (out.float() - (noise - batch.latents)).square().mean((0, 2, 3))
        loss = (error * self.weight).mean()
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.steps += 1
        self.samples += count
        decay = min(args.ema, self.steps / (self.steps + 10))  # forget the random start quickly
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.values()), list(self.net.parameters()), 1.0 - decay)
        return loss.detach(), whole

    def judged(self) -> str:
        """An evaluation of the averaged weights; the network gets its own weights back."""
        own = {name: parameter.detach().clone() for name, parameter in self.net.named_parameters()}
        self.net.load_state_dict(self.averaged)
        stage = at_stage(self.args, self.samples)
        sides = sorted({int(window.split(":")[0]) for window in stage.windows})
        text = watch.look(self.net, self.stream, self.weight, sides, self.args)
        if self.args.pictures:
            text += "; " + watch.success(self.net, self.texts, self.code, self.args.pictures, self.args.shift)
        self.net.load_state_dict(own)
        return text


class Journal:
    """Where a training writes: its checkpoint, its table of losses, its notes."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.checkpoint, self.table, self.notes = (folder / name for name in ("last.pt", "log.csv", "look.log"))

    def note(self, training: Training) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M')} step {training.steps}, {training.samples} samples: "
        line += training.judged()
        with self.notes.open("a") as file:
            file.write(line + "\n")
        log.info(line)

    def rows_until(self, step: int) -> list[list[str]]:
        """The table without what came after a checkpoint: it is done again."""
        rows = csv.reader(self.table.open()) if self.table.is_file() else []
        return [row for row in rows if row[0].isdigit() and int(row[0]) <= step]


def run(training: Training, journal: Journal, stop: Stop) -> None:
    """Train until told to stop, or finished."""
    args, branches = training.args, sorted(training.args.branch_at)
    clock = time.monotonic if args.device == "cuda" else time.process_time
    begun, seconds, samples = clock(), training.seconds, training.samples
    started = saved = looked = time.monotonic()
    recent: dict[bool, list[Tensor]] = {False: [], True: []}  # by whether the pictures were whole ones
    rows = journal.rows_until(training.steps)
    with open(journal.table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([FIELDS, *rows])
        file.flush()
        while training.steps < args.steps and not (stop.asked or training.finished):
            if time.monotonic() - started > 60 * args.minutes:
                break
            loss, whole = training.step()
            recent[whole].append(loss)
            training.seconds = seconds + clock() - begun
            if training.steps % 50 == 0:
                means = [f"{float(torch.stack(losses).mean()):.5f}" if losses else "" for losses in recent.values()]
                recent = {False: [], True: []}
                writer.writerow((training.steps, training.samples, f"{training.seconds:.0f}",
                                 f"{args.lr * training.rate:.2e}", *means))  # fmt: skip
                file.flush()
                log.info("step %d, %d samples, loss %s, %.1f samples a second", training.steps, training.samples,
                         " ".join(means), (training.samples - samples) / (training.seconds - seconds))  # fmt: skip
            now = time.monotonic()
            if now - saved > args.save_every:
                save(journal.checkpoint, **training.state())
                saved = now
            if now - looked > args.look_every:
                journal.note(training)
                looked = time.monotonic()
            while branches and training.samples >= branches[0]:
                branch(training, journal, branches.pop(0))
                looked = time.monotonic()
    save(journal.checkpoint, **training.state())
    journal.note(training)
    log.info("stopped at step %d", training.steps)


def branch(training: Training, journal: Journal, samples: int) -> None:
    """Finish a copy of the training in a folder of its own, as `--finish` would, and go on as if nothing had been."""
    before = copy.deepcopy(training.state())
    args = training.args
    training.args = argparse.Namespace(**{**vars(args), "finish": args.branch_steps})
    training.falling_from = training.steps
    training.phases.append({**training.phases[-1], "from_step": training.steps, "finish": str(args.branch_steps)})
    while not training.finished:
        training.step()
    finished = Journal(journal.folder / f"at-{samples}")
    save(finished.checkpoint, **training.state())
    shutil.copyfile(journal.table, finished.table)
    finished.note(training)
    training.args = args
    training.restore(before)


def main() -> None:
    args = parse_arguments()
    if args.device == "cpu":
        restart_with_memory_kept(args)
        torch.set_num_threads(args.threads)
        torch._inductor.config.cpp.threads = args.threads
        torch.set_flush_denormal(True)  # a sharp softmax has gradients so small that a processor takes its slow path
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    journal, stop = Journal(args.output), Stop()
    known = journal.checkpoint.is_file()
    state = torch.load(journal.checkpoint, weights_only=True, map_location="cpu") if known else None
    training = Training(args, state)
    if not args.eager:
        training.net.compile()
    run(training, journal, stop)


if __name__ == "__main__":
    main()
