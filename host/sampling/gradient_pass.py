"""A pass of the network for its gradient alone: the controlled prompt's rows, up to the last recorded layer."""

import time
from collections.abc import Callable

import comfy.samplers
import torch

from ...core.copies import CopiesToItself
from ...core.maps.view import View, view_of
from ..networks.rows import controlled
from ..networks.tap import PassEnded, Tap
from .compiled import as_written
from .grad import HeldControl, beside_the_network, differentiable, ordinary
from .halves import Scaling
from .memory import Memory
from .neighbours import caches_aside, no_gradients, open_to_gradients, random_numbers_kept, writes_explained
from .plan import Plan

# A latent that requires gradients -> the prompt's mean maps, differentiable, or None if none arrived.
Evaluate = Callable[[torch.Tensor], "torch.Tensor | None"]


class GradientPass(CopiesToItself):
    """The gradient passes of one run; `seconds` is the time spent on them."""

    def __init__(self, guider, plan: Plan, tap: Tap):
        self.guider = guider
        self.plan = plan
        self.tap = tap
        self.memory: Memory | None = None
        self.seconds = 0.0
        self.view: View | None = None  # what of the picture the last pass showed, None for all of it

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
        if self.memory is None:
            self.memory = Memory(self.plan.recompute, self.guider.model_patcher, x.shape, self.tap.sites)
        result = self.memory.tried(lambda: self._moved(model, x, sigma, kwargs, move), self.plan.method.title)
        self.seconds += time.perf_counter() - started
        return result

    def _moved(self, model, x: torch.Tensor, sigma: torch.Tensor, kwargs: dict, move: Callable) -> torch.Tensor:
        patcher = self.guider.model_patcher
        with (
            caches_aside(self.guider.model_options, kwargs.get("model_options", {})),
            as_written(self.guider.model_options, kwargs.get("model_options", {})),
            random_numbers_kept(patcher.load_device),
            writes_explained(),
            differentiable(
                patcher.model, *beside_the_network(self.guider), run_again=self.memory.network, taps=[self.tap]
            ),
        ):
            kwargs, sigma = ordinary(kwargs), sigma.clone()

            def evaluate(latent: torch.Tensor) -> torch.Tensor | None:
                scaling = Scaling(patcher.model.get_dtype_inference())
                with self.tap.listening(gradient=True) as recording:
                    try:
                        # A neighbour may write into what it gets, but not into what the gradient is of.
                        model(scaling.down(latent).clone(), sigma, **kwargs)
                    except PassEnded:
                        pass
                maps, self.view = recording.shown(), view_of(recording.heard, recording.maps.size)
                if maps is not None and latent.requires_grad and not maps.requires_grad:
                    raise no_gradients(patcher.model.diffusion_model)
                return maps if maps is None else scaling.up(maps)

            return move(x.clone(), evaluate)

    def predict_noise(self, executor, x, timestep, model_options={}, seed=None):  # noqa: B006, the host's signature
        """The host's PREDICT_NOISE wrapper: a gradient pass runs the controlled conditioning alone and ends early."""
        recording = self.tap.recording
        if recording is None or not recording.gradient:
            return executor(x, timestep, model_options, seed)
        options = open_to_gradients(model_options)
        for cond in controlled(self.guider, self.plan.targets):
            recording.controlled = "control" in cond
            if "control" in cond:
                cond = {**cond, "control": HeldControl(cond["control"])}
            comfy.samplers.calc_cond_batch(self.guider.inner_model, [[cond]], x, timestep, options)
            # Reached only if the conditioning does not show the whole picture (an area, windows), is not in force at
            # this noise level, or a pack answers from a cache.
            if recording.maps.complete:
                break
        if recording.heard:  # several calls made the maps, of parts of the picture
            raise PassEnded(recording)
        return x
