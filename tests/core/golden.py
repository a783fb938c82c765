"""Golden cases from GOLDEN_DIR, the toy network of their loops, and the comparison within each array's tolerance."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from prompt_fidelity.core.control.latent import LatentOptimiser
from prompt_fidelity.core.prompt.targets import Target, Targets
from torch import Tensor

FOLDER = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).resolve().parent.parent / "golden")
CHUNK = 77


@dataclass
class Case:
    name: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    hyper: dict
    atol: dict[str, float]
    compared: set[str] = field(default_factory=set)

    def input(self, name: str) -> Tensor:
        return torch.from_numpy(self.inputs[name])

    def check(self, name: str, value) -> None:
        """`value` equals the output `name` within its tolerance."""
        value = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        expected = self.outputs[name]
        assert value.shape == expected.shape, f"{self.name}.{name}: shape {value.shape}, expected {expected.shape}"
        np.testing.assert_allclose(value, expected, rtol=0, atol=self.atol[name], err_msg=f"{self.name}.{name}")
        self.compared.add(name)

    def check_all_compared(self, *left_out: str) -> None:
        """Every output array was compared but for those named, so that a new one in a set does not go unnoticed."""
        assert set(self.outputs) - self.compared <= set(left_out)


def case_names(prefix: str) -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}_*.json"))


def load(name: str) -> Case:
    about = json.loads((FOLDER / f"{name}.json").read_text())
    with np.load(FOLDER / f"{name}.npz") as arrays:
        roles = {"input": {}, "output": {}}
        for key, description in about["arrays"].items():
            roles[description["role"]][key] = arrays[key]
    return Case(name, roles["input"], roles["output"], about["hyperparameters"], about["suggested_atol"])


def make_targets(words: int, positions=(), text_attention: Tensor | None = None) -> Targets:
    """A prompt of `words` one-token words at positions 1..words, with an object at each of `positions`."""
    objects = tuple(Target(f"word{p}", f"word{p}", (int(p),)) for p in positions)
    content = tuple(range(1, words + 1))
    return Targets("", objects, (), content, tuple(f"word{p}" for p in content), CHUNK, CHUNK, text_attention)


@dataclass
class LoopResult:
    latents: Tensor  # [steps, 1, 4, h, w]
    network_calls: list[int]
    optimiser: LatentOptimiser

    def losses_at(self, step: int) -> list[float]:
        """Our evaluations at denoising step `step`, in order."""
        return [float(total) for entry in self._entries(step) for total in entry.totals]

    def updates_at(self, step: int) -> int:
        return sum(int(entry.updates) for entry in self._entries(step))

    def step_sizes(self) -> list[float]:
        """Step size of every update, in order."""
        return [entry.step_size for entry in self.optimiser.log for _ in range(int(entry.updates))]

    def _entries(self, step: int):
        steps = len(self.latents)
        return [entry for entry in self.optimiser.log if round(entry.progress * (steps - 1)) == step]


def toy_maps(case: Case, z: Tensor) -> Tensor:
    """The toy network's attention: z [B, 4, h, w] → [B, h, w, tokens]."""
    scores = torch.einsum("bchw,ck->bhwk", z, case.input("P"))
    return (scores + case.input("B").view(*z.shape[-2:], -1)).softmax(dim=-1)


def toy_step(case: Case, z: Tensor) -> Tensor:
    """One step of the toy sampler: guided noise from the two rows' gains, then z − 0.1·noise."""
    unconditional, conditional = 0.05 * z, 0.06 * z
    return z - 0.1 * (unconditional + case.hyper["guidance_scale"] * (conditional - unconditional))


def run_loop(case: Case, method, targets: Targets) -> LoopResult:
    """The toy sampling with our optimiser before each step; progress counts steps as the published codes do."""
    steps = case.hyper["num_inference_steps"]
    optimiser = LatentOptimiser(method, targets)
    z, latents, calls = case.input("latents0"), [], []
    for i in range(steps):
        count = 0

        def evaluate(leaf: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return toy_maps(case, leaf)

        progress = i / (steps - 1)
        if optimiser.wants(progress):
            z = optimiser.step(z, progress, 1.0, evaluate)
        latents.append(z)
        calls.append(count + 1)
        z = toy_step(case, z)
        latents[-1] = z
    return LoopResult(torch.stack(latents), calls, optimiser)
