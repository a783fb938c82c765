"""A pass of the network for its gradient alone: the controlled prompt's rows, up to the last recorded layer."""

import time
from collections.abc import Callable

import comfy.samplers
import torch

from ...core.copies import CopiesToItself
from ...core.prompt.targets import Targets
from ..networks.rows import controlled
from ..networks.tap import PassEnded, Tap
from .grad import HeldControl, beside_the_network, differentiable, ordinary

# A latent that requires gradients -> the prompt's mean maps, differentiable, or None if none arrived.
Evaluate = Callable[[torch.Tensor], "torch.Tensor | None"]


class GradientPass(CopiesToItself):
    """The gradient passes of one run; `seconds` is the time spent on them."""

    def __init__(self, guider, targets: Targets, tap: Tap):
        self.guider = guider
        self.targets = targets
        self.tap = tap
        self.seconds = 0.0

    def moved(
        self,
        model,
        x: torch.Tensor,
        sigma: torch.Tensor,
        kwargs: dict,
        move: Callable[[torch.Tensor, Evaluate], torch.Tensor],
    ) -> torch.Tensor:
        """What `move(x, evaluate)` makes of the latent; `evaluate` calls the solver's `model(x, sigma, **kwargs)`."""
        started = time.perf_counter()
        with differentiable(self.guider.model_patcher.model, *beside_the_network(self.guider)):
            kwargs, sigma = ordinary(kwargs), sigma.clone()

            def evaluate(latent: torch.Tensor) -> torch.Tensor | None:
                with self.tap.listening(gradient=True) as recording:
                    try:
                        model(latent, sigma, **kwargs)
                    except PassEnded:
                        pass
                return recording.result()

            result = move(x.clone(), evaluate)
        self.seconds += time.perf_counter() - started
        return result

    def predict_noise(self, executor, x, timestep, model_options={}, seed=None):  # noqa: B006, the host's signature
        """The host's PREDICT_NOISE wrapper: a gradient pass runs the controlled conditioning alone and ends early."""
        recording = self.tap.recording
        if recording is None or not recording.gradient:
            return executor(x, timestep, model_options, seed)
        # Threads of the multi-GPU path run without gradients.
        options = {key: value for key, value in model_options.items() if key != "multigpu_clones"}
        for cond in controlled(self.guider, self.targets):
            recording.tokens = cond["cross_attn"].shape[1]
            recording.controlled = "control" in cond
            if "control" in cond:
                cond = {**cond, "control": HeldControl(cond["control"])}
            comfy.samplers.calc_cond_batch(self.guider.inner_model, [[cond]], x, timestep, options)
            # Reached only if the network ran to its end, or not at all: a conditioning that is not in force at this
            # noise level, or a pack that answers from a cache.
            if recording.seen:
                break
        return x
