"""What optimising Space-Time Attention's weights changes, and what it keeps in memory, on the demo model with TinyCLIP.

    python3 dev.py run benchmarks/optimise.py --count 12
    python3 dev.py run benchmarks/optimise.py --count 12 --epochs 3 --rate 0.005      # the published settings
    python3 dev.py run benchmarks/optimise.py --count 0 --memory 5 10 20

Every prompt is drawn with one seed in three ways: plainly, with Space-Time Attention as it starts, and with the
weights that were optimised for that very picture; the detector then says whether all objects are there in their
colours. The loss is CLIP's, the detector knows nothing of it. Memory is the bytes that autograd keeps for backward,
counted exactly, of the way back one step at a time and, for comparison, of backpropagation through all steps at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import time

from _pack import load_pack

load_pack()

import torch  # noqa: E402
from measuring.artist import Artist  # noqa: E402
from measuring.cases import FIRST_SEED, HALVES, shape_cases  # noqa: E402
from measuring.judge import ShapeJudge  # noqa: E402
from measuring.statistics import mcnemar  # noqa: E402
from prompt_fidelity.core.layout.settings import AttentionSettings, BoxSettings  # noqa: E402
from prompt_fidelity.core.methods import SpaceTime  # noqa: E402
from prompt_fidelity.core.search import learned_weights, replay  # noqa: E402
from prompt_fidelity.host import optimise  # noqa: E402
from prompt_fidelity.host.layout.predictors import predict  # noqa: E402
from prompt_fidelity.host.models.demo_clip import load_demo_clip  # noqa: E402
from prompt_fidelity.host.sampling.install import attach  # noqa: E402
from prompt_fidelity.host.scoring import ClipScorer  # noqa: E402

WAYS = ("plain", "start", "optimised")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12, help="prompts")
    parser.add_argument("--half", choices=HALVES, default="dev")
    parser.add_argument("--objects", type=int, nargs="+", default=[2, 3])
    parser.add_argument(
        "--preset",
        choices=tuple(SpaceTime.PRESETS),
        default="demo",
        help="of Space-Time Attention, where the weights start",
    )
    parser.add_argument("--layout", choices=("attention", "solver"), default="attention")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=learned_weights.EPOCHS)
    parser.add_argument("--rate", type=float, default=learned_weights.RATE)
    parser.add_argument(
        "--memory", type=int, nargs="*", default=[], help="count the bytes kept for backward with so many steps"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    return parser.parse_args()


class Bench:
    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.artist = Artist.with_demo_model()
        self.artist.sampling["steps"] = options.steps
        self.scorer = ClipScorer(*load_demo_clip())
        self.judge = ShapeJudge()
        self.method = SpaceTime(SpaceTime.PRESETS[options.preset])

    def search(self, prompt: str, seed: int, steps: int, epochs: int):
        """(conditioning, targets, layout, the optimised method, the account of it)"""
        s = self.artist.sampling
        conditioning, targets = self.artist.encode(prompt)
        settings = AttentionSettings() if self.options.layout == "attention" else BoxSettings()
        layout = predict(
            self.options.layout,
            settings,
            targets,
            s["width"],
            s["height"],
            seed,
            model=self.artist.model,
            conditioning=conditioning,
        )
        sampling = optimise.Sampling(seed, steps, s["cfg"], s["scheduler"])
        negative, latent = self.artist.encode("")[0], torch.zeros(1, 4, s["height"] // 8, s["width"] // 8)
        method, learning = optimise.optimise_space_time(
            self.artist.model, conditioning, negative, targets, layout, self.method, self.artist.vae, self.scorer,
            latent, sampling, epochs=epochs, rate=self.options.rate,
        )  # fmt: skip
        return conditioning, targets, layout, method, learning

    def case(self, case, seed: int) -> dict:
        started = time.process_time()
        conditioning, targets, layout, method, learning = self.search(
            case.prompt, seed, self.options.steps, self.options.epochs
        )
        seconds = time.process_time() - started
        row = {
            "prompt": case.prompt,
            "seed": seed,
            "seconds": seconds,
            "loss_before": learning.epochs[0].loss,
            "loss_after": learning.best.loss,
        }
        row |= {"mean_change": float(learning.change.mean()), "updates_kept": learning.epochs.index(learning.best)}
        for way, model in zip(
            WAYS,
            (
                self.artist.model,
                *(attach(self.artist.model, one, targets, layout=layout)[0] for one in (self.method, method)),
            ),
        ):
            picture = self.drawn(model, conditioning, seed)
            row[way] = bool(self.judge(picture.numpy(), case, targets)["success"])
            found = self.scorer.score(picture[None], targets)
            row[f"{way}_full_prompt"], row[f"{way}_minimum_object"] = float(found.full[0]), float(found.minimum[0])
        return row

    def drawn(self, model, conditioning, seed: int) -> torch.Tensor:
        return (
            Artist(model, self.artist.clip, self.artist.vae, self.artist.sampling)
            .plain(conditioning, [seed])
            .pictures[0]
        )


def summary(rows: list[dict]) -> dict:
    """Means over the pictures, and McNemar's test of the optimised ones against where they started."""
    count = len(rows)
    names = (
        "loss_before",
        "loss_after",
        "mean_change",
        "seconds",
        *WAYS,
        *(f"{way}_{figure}" for way in WAYS for figure in ("full_prompt", "minimum_object")),
    )
    gained, lost, p = mcnemar([row["start"] for row in rows], [row["optimised"] for row in rows])
    return {
        "pictures": count,
        **{name: sum(row[name] for row in rows) / count for name in names},
        "gained": gained,
        "lost": lost,
        "p": p,
        "agreement": agreement(rows),
    }


def agreement(rows: list[dict]) -> float:
    """How often, of a right and a wrong picture by the detector, CLIP gives the right one the better full prompt: all
    pairs of pictures, ties count half. Not a number without pictures of both kinds.
    """
    right = [row[f"{way}_full_prompt"] for row in rows for way in WAYS if row[way]]
    wrong = [row[f"{way}_full_prompt"] for row in rows for way in WAYS if not row[way]]
    wins = sum((a > b) + 0.5 * (a == b) for a in right for b in wrong)
    return wins / (len(right) * len(wrong)) if right and wrong else float("nan")


class Kept:
    """The most bytes that autograd keeps for backward at once."""

    def __init__(self):
        self.now = self.most = 0

    def counted(self):
        counts = self

        class Held:
            def __init__(self, tensor):
                self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
                counts.now += self.bytes
                counts.most = max(counts.most, counts.now)

            def __del__(self):
                counts.now -= self.bytes

        return torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor)


def memory(bench: Bench, steps: int) -> dict:
    """Bytes kept for backward with so many steps: one at a time, and all at once."""
    one_at_a_time, found = replay.gradient, {}

    def both(step, latents, weights, objective, first):
        ours, whole = Kept(), Kept()
        with ours.counted():
            answer = one_at_a_time(step, latents, weights, objective, first)
        leaf, x = weights.detach().clone().requires_grad_(), latents[0]
        with whole.counted():
            for t in range(len(latents) - 1):
                x = step(t, x, leaf)
            (slope,) = torch.autograd.grad(objective(x), leaf)
        apart = float((slope - answer[1]).abs().max() / slope.abs().max())
        found.update(steps=steps, one_at_a_time=ours.most, all_at_once=whole.most, gradients_differ_by=apart)
        return answer

    optimise.replay.gradient = both
    try:
        bench.search("a red ball and a blue ring", 2, steps, 1)
    finally:
        optimise.replay.gradient = one_at_a_time
    return found


def main() -> None:
    options = parse_arguments()
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_num_threads(1)
    rows = []
    with torch.inference_mode():
        bench = Bench(options)
        for index, case in enumerate(
            shape_cases(options.half, tuple(options.objects), max(options.count, 1))[: options.count]
        ):
            rows.append(bench.case(case, FIRST_SEED[options.half] + index))
            row = rows[-1]
            marks = ", ".join(f"{way} {'right' if row[way] else 'wrong'}" for way in WAYS)
            print(
                f"{case.prompt}: loss {row['loss_before']:.3f} -> {row['loss_after']:.3f}, weights moved "
                f"{row['mean_change']:.3f}; {marks}",
                flush=True,
            )
        counted = [memory(bench, steps) for steps in options.memory]
    for line in counted:
        print(
            f"{line['steps']} steps: {line['one_at_a_time'] / 1e6:.1f} MB one step at a time, "
            f"{line['all_at_once'] / 1e6:.1f} MB all at once"
        )
    found = {**(summary(rows) if rows else {}), "memory": counted}
    if rows:
        print("\n".join(f"{name}: {value:.3g}" for name, value in found.items() if name != "memory"))
    if options.json:
        print(json.dumps({"options": vars(options), **found, "rows": rows}))


if __name__ == "__main__":
    main()
