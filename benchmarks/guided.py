"""Whole pictures with losses that act in the prediction, against plain ones: part of cost.py."""

from __future__ import annotations

import time
from dataclasses import replace

import comfy.model_management
import comfy.sample
import torch
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.core.prompt.targets import Attribute, Target, Targets
from prompt_fidelity.host.networks.rows import KEY
from prompt_fidelity.host.sampling.install import attach

METHODS_MEASURED = ("t_sam", "attend_and_excite", "syngen")


def with_work_for_every_loss(plain: Targets) -> Targets:
    """The benchmark's two objects, with their colours and an even text attention."""
    content = len(plain.content)
    attention = torch.ones(content, content).tril()
    objects = (
        Target("car", "a black car", (3,), (Attribute("black", (2,)),)),
        Target("clock", "a white clock", (7,), (Attribute("white", (6,)),)),
    )
    return replace(plain, objects=objects, text_attention=attention / attention.sum(1, keepdim=True))


def draw(model, conditioning, x: torch.Tensor, steps: int) -> float:
    """Seconds of a picture of `steps` steps with guidance 7; on a processor, of its own work: others use it too."""
    clock = time.process_time if comfy.model_management.cpu_mode() else time.perf_counter
    started = clock()
    with torch.inference_mode():
        comfy.sample.sample(
            model, x, steps, 7.0, "euler", "normal", conditioning, [[conditioning[0][0], {}]], torch.zeros_like(x),
            seed=0, disable_pbar=True,
        )  # fmt: skip
    return clock() - started


class Rows:
    """Counts the rows that a model's network is called with."""

    def __init__(self, model):
        self.count = 0
        self.model = model.clone()
        self.model.set_model_unet_function_wrapper(self._note)

    def _note(self, apply_model, arguments):
        self.count += arguments["input"].shape[0]
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])


def guided_costs(
    model, conditioning, x: torch.Tensor, plain_targets: Targets, repeats: int, steps: int, saved_bytes
) -> dict:
    """Each method's time over plain sampling's, the least of `repeats` rounds each; further rows through the network;
    bytes kept for backward in one step (`saved_bytes(network)` counts them).
    """
    targets = with_work_for_every_loss(plain_targets)
    own = [[conditioning[0][0], {KEY: targets.handle}]]
    counted = Rows(model)
    draw(counted.model, own, x, steps)  # the warm-up counts
    plain_rows, times, further, kept = counted.count, {"plain": []}, {}, {}

    def patched(name: str, source=model):
        settings = replace(METHODS[name]().settings, acts_on=PREDICTION)
        with torch.inference_mode():
            return attach(source, METHODS[name](settings), targets)

    for name in METHODS_MEASURED:
        counted = Rows(model)
        with saved_bytes(model.model) as counter:
            draw(patched(name, counted.model)[0], own, x, 1)
        kept[name] = counter.total
    for _ in range(repeats):
        times["plain"].append(draw(model, own, x, steps))
        for name in METHODS_MEASURED:
            counted = Rows(model)
            guided, record = patched(name, counted.model)
            times.setdefault(name, []).append(draw(guided, own, x, steps))
            assert record.updates > 0, f"{name} did not act"
            further[name] = counted.count - plain_rows
            print(f"  {name} {times[name][-1]:.1f} s, plain {times['plain'][-1]:.1f} s", flush=True)
    plain = min(times["plain"])
    return {
        "guided_image_ratio": {name: min(times[name]) / plain for name in METHODS_MEASURED},
        "guided_calls": further,
        "guided_bytes": kept,
        "guided_steps": steps,
    }
