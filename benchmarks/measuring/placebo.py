"""The control of the experiment: what updates of the same size do that know nothing of the prompt.

A method moves the latent at some steps by some length. Its placebo moves the same picture at the same steps by the same
length (relative to the latent's own), in a random direction drawn for every (seed, step). A method that edits attention
scores has as its placebo the same changes, put on random words of the prompt and moved to a random place of the
picture; one that mixes attention outputs, changes of the same length in every pixel, in random directions. A method
counts only if it beats this too: a push of the right size alone can shake loose a missing object, or destroy a picture.
"""

from __future__ import annotations

from collections.abc import Mapping

import comfy.patcher_extension
import torch
from prompt_fidelity.core.control.parts import StepLog
from prompt_fidelity.core.layout import Layout
from prompt_fidelity.core.maps.view import View
from prompt_fidelity.core.methods.base import EditSite, OutputMix, ScoreEdit
from prompt_fidelity.core.prompt.targets import Targets
from prompt_fidelity.host.sampling.steps import StepClock, with_solver_model
from torch import Tensor

_KEY = "fidelity_placebo"


def moves_of(steps: list[StepLog]) -> dict[float, Tensor]:
    """Noise level → how far the method moved every image [B], relative to the latent's length."""
    return {entry.sigma: entry.moved for entry in steps if entry.moved is not None}


def direction(shape: torch.Size, seed: int, step: int) -> Tensor:
    """A random direction of length 1, the same for a seed and step whatever the batch."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed * 100_003 + step))
    return drawn / torch.linalg.vector_norm(drawn)


def with_placebo(model, moves: Mapping[float, Tensor], seeds: list[int]):
    """A clone of the host's model whose sampling is pushed at random by `moves`; image i of the batch has seeds[i]."""

    def outer_sample(executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        clock = StepClock(sampler, sigmas)

        def before_call(solver_model, x, sigma, options):
            step = clock.begins(float(sigma.flatten()[0]))
            moved = None if step is None else _nearest(moves, float(sigma.flatten()[0]))
            if moved is not None:
                x = x.add_(_push(x, moved, seeds, step))
            return solver_model(x, sigma, **options)

        return executor(noise, latent_image, with_solver_model(sampler, before_call), sigmas, *args, **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, _KEY, outer_sample)
    return clone


class RandomEdit(ScoreEdit):
    """What `method` adds to the scores, but on other words and elsewhere: the same numbers without their meaning."""

    PRESETS: dict = {}

    def __init__(self, method: ScoreEdit, seeds: list[int]) -> None:
        super().__init__(method.settings)
        self.name, self.title, self.paper = method.name, f"Placebo of {method.title}", method.paper
        self.method, self.seeds = method, seeds

    def applies(self, targets: Targets) -> bool:
        return self.method.applies(targets)

    def check(self, targets: Targets) -> list[str]:
        return self.method.check(targets)

    def watched(self, targets: Targets) -> list[tuple[str, list[int]]]:
        return self.method.watched(targets)

    def edit(self, scores: Tensor, targets: Targets, site: EditSite, strength: float = 1.0) -> Tensor:
        change = self.method.edit(scores, targets, site, strength) - scores  # [B, heads, pixels, tokens]
        change = change.nan_to_num(nan=0.0)  # of columns that are shut out
        content, edited = torch.tensor(targets.content), scores.clone()
        for image, seed in enumerate(self.seeds):
            generator = torch.Generator().manual_seed(seed * 100_003 + site.step)
            words = content[torch.randperm(len(content), generator=generator)]
            shift = [int(torch.randint(side, (), generator=generator)) for side in site.size]
            moved = change[image].unflatten(1, site.size).roll(shift, (1, 2)).flatten(1, 2)
            edited[image] += moved.index_copy(-1, content, moved[..., words])
        return edited

    def settle(self, probs: Tensor, plain: Tensor, targets: Targets) -> Tensor:
        return self.method.settle(probs, plain, targets)


class RandomMix(OutputMix):
    """What `method` adds to the attention's outputs, in random directions: every pixel's change keeps its length."""

    PRESETS: dict = {}

    def __init__(self, method: OutputMix, seeds: list[int]) -> None:
        super().__init__(method.settings)
        self.name, self.title, self.paper = method.name, f"Placebo of {method.title}", method.paper
        self.method = method
        self.generators = [torch.Generator().manual_seed(seed * 100_003) for seed in seeds]

    def applies(self, targets: Targets) -> bool:
        return self.method.applies(targets)

    def check(self, targets: Targets) -> list[str]:
        return self.method.check(targets)

    @property
    def wants_unconditional(self) -> bool:
        return self.method.wants_unconditional

    def local_prompt(self, phrase: str) -> str:
        return self.method.local_prompt(phrase)

    def regions(self, layout: Layout, h: int, w: int, view: View | None = None) -> Tensor:
        return self.method.regions(layout, h, w, view)

    def weights(self, progress: float, layout: Layout) -> Tensor:
        return self.method.weights(progress, layout)

    def scaled(self, weights: Tensor, strength: float) -> Tensor:
        return self.method.scaled(weights, strength)

    def mix(
        self,
        global_out: Tensor,
        local_outs: Tensor,
        regions: Tensor,
        weights: Tensor,
        unconditional: Tensor | None = None,
    ) -> Tensor:
        change = self.method.mix(global_out, local_outs, regions, weights, unconditional) - global_out  # [B, pixels, C]
        ways = torch.stack([torch.randn(change.shape[1:], generator=generator) for generator in self.generators]).to(
            change
        )
        return global_out + change.norm(dim=-1, keepdim=True) * ways / ways.norm(dim=-1, keepdim=True)


def _nearest(moves: Mapping[float, Tensor], sigma: float) -> Tensor | None:
    return next((moved for level, moved in moves.items() if abs(level - sigma) <= 1e-4 * sigma), None)


def _push(x: Tensor, moved: Tensor, seeds: list[int], step: int) -> Tensor:
    """‖push‖ = moved · ‖x‖ for every image of x [B, ...]."""
    lengths = moved.to(x) * torch.linalg.vector_norm(x.flatten(1), dim=1)
    ways = torch.stack([direction(x.shape[1:], seed, step) for seed in seeds]).to(x)
    return lengths.view(-1, *[1] * (x.dim() - 1)) * ways
