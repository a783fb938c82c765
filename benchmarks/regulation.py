"""What Attention Regulation costs: one edited layer against the published way, and a picture against plain sampling."""

from __future__ import annotations

import statistics
import time

import comfy.sample
import torch
from prompt_fidelity.core.methods.attention_regulation import AttentionRegulation
from prompt_fidelity.core.methods.base import EditSite
from prompt_fidelity.core.prompt.targets import Targets
from prompt_fidelity.host.sampling.install import attach
from published_regulation import published_edit
from torch import Tensor

SIDE, HEADS, TOKENS = 16, 8, 77
# So many of our calls are timed together: one alone is too short for the clock.
CALLS = 20


class GivenStart(AttentionRegulation):
    """Starts where the published computation starts: [rows, centres, T]."""

    draw: Tensor

    def start_weights(self, site, images, heads, centres, count):
        return self.draw.permute(2, 0, 1)


def layer_costs(targets: Targets, rounds: int = 15) -> dict:
    """One layer's edit, scores in and edited scores out: 16 x 16 pixels, 8 heads, 2 targets, 20 iterations, float32,
    one thread.

    The speedup is the ratio of the smallest processor times over the rounds, each of which runs both on the same
    scores; beside it the median of the rounds' own ratios. Time by the clock would tell more of what else the machine
    does.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    method = GivenStart()
    columns = [positions[0] for _, positions in method.watched(targets)]
    published_times, our_times, differences = [], [], []
    with torch.no_grad():
        for round_ in range(rounds + 1):
            generator = torch.Generator().manual_seed(round_)
            scores = torch.randn(HEADS, SIDE * SIDE, TOKENS, generator=generator) * 1.5
            scores[..., 0] += 6.0  # the start token stands out, as in a trained layer
            method.draw = torch.rand(HEADS, 49, len(columns), generator=generator)

            started = time.process_time()
            published = published_edit(scores, columns, method.draw)
            published_time = time.process_time() - started
            started = time.process_time()
            for _ in range(CALLS):
                ours = method.edit(scores[None], targets, EditSite("layer", 0, 0.0, (SIDE, SIDE)))[0]
            our_time = (time.process_time() - started) / CALLS
            if round_:  # the first one warms up
                published_times.append(published_time)
                our_times.append(our_time)
                differences.append(float((ours - published).abs().max()))
    torch.set_num_threads(threads)
    return {
        "regulation_speedup": min(published_times) / min(our_times),
        "regulation_speedup_median": statistics.median(p / o for p, o in zip(published_times, our_times, strict=True)),
        "regulation_published_ms": 1e3 * min(published_times),
        "regulation_ms": 1e3 * min(our_times),
        "regulation_difference": max(differences),
    }


def image_costs(model, conditioning: list, x: Tensor, targets: Targets, repeats: int, steps: int) -> dict:
    """A picture with guidance, half of its steps edited, over plain sampling: the smallest processor time of each, one
    thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        patched, record = attach(model, AttentionRegulation(), targets)

    def draw(which) -> float:
        started = time.process_time()
        with torch.inference_mode():
            comfy.sample.sample(
                which,
                x,
                steps,
                7.0,
                "euler",
                "normal",
                conditioning,
                conditioning,
                torch.zeros_like(x),
                seed=0,
                disable_pbar=True,
            )
        return time.process_time() - started

    times: dict[str, list[float]] = {"plain": [], "edited": []}
    for round_ in range(repeats):
        # Each goes first every other time: whatever else the machine does then weighs on both alike.
        for name, which in sorted({"plain": model, "edited": patched}.items(), reverse=round_ % 2 == 0):
            times[name].append(draw(which))
            print(f"  round {round_}: {name} picture of {steps} steps {times[name][-1]:.1f} s", flush=True)
    torch.set_num_threads(threads)
    assert len(record.edited()) == steps // 2, "not half of the steps were edited"
    return {
        "regulation_image_ratio": min(times["edited"]) / min(times["plain"]),
        "regulation_layers": len(record.edits[0].layers),
    }
