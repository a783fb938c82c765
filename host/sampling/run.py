"""One sampling run of a patched model: made when the sampler starts, gone when it ends, however it ends."""

import comfy.patcher_extension
import torch

from ...core.control.latent import LatentOptimiser, StepLog
from ...core.control.outputs import OutputMixer
from ...core.control.scores import ScoreEditor
from ...core.layout import solve
from ...core.maps.resolution import choose_level
from ..errors import HostError
from ..networks.edits import LayerEdit, chain_of
from ..networks.mixes import LayerMixes
from ..networks.rows import Rows
from ..networks.tap import Tap
from ..networks.unet import cross_attention_sites, edited_sites, last_site, sites_at
from ..progress import show_on_node, stop_if_interrupted
from .coordinates import Coordinates
from .grad import streams_weights
from .gradient_pass import GradientPass
from .plan import Plan
from .samplers import facts_of
from .steps import StepClock

KEY = "prompt_fidelity"
# Pixels of the picture per latent pixel, in all models that can be patched.
_PIXELS = 8


class Run:
    """Moves the solver's latent at the start of each step in the window, or changes the attention inside the step's
    calls, and records the maps of every step.
    """

    def __init__(self, plan: Plan, guider, sampler, sigmas: torch.Tensor, latent_size: tuple[int, int]):
        self.plan = plan
        self.guider = guider
        self.facts = facts_of(sampler)
        self.clock = StepClock(sampler, sigmas)
        self.coordinates = Coordinates(guider.model_patcher.get_model_object("model_sampling"))
        self.optimiser = self._optimiser()
        self.editor = self._editor()
        self.mixer = self._mixer(latent_size)
        sites = cross_attention_sites(guider.model_patcher.model.diffusion_model)
        level = choose_level(plan.method.resolution, *latent_size, list(sites.values()))
        rows = Rows(guider, plan.targets)
        self.tap = Tap(rows, sites_at(sites, level), last_site(sites, level), plan.targets.length)
        if self.editor is not None:
            edited = edited_sites(sites, level, plan.edit.method.settings.layers)
            self.tap.edits, self.tap.applies = chain_of(guider.model_options)
            self.tap.edits.edits.append(LayerEdit(self.editor, rows, edited))
        self.mixes = (
            LayerMixes(self.mixer, rows, plan.local, guider.model_patcher.model.diffusion_model)
            if self.mixer is not None
            else None
        )
        self.gradient = GradientPass(guider, plan.targets, self.tap)
        self._step = 0

    def _optimiser(self) -> LatentOptimiser | None:
        plan = self.plan
        if not plan.moves:
            return None
        return LatentOptimiser(
            plan.method, plan.targets, plan.strength, *plan.window, on_progress=self._progress, log=plan.record.steps
        )

    def _editor(self) -> ScoreEditor | None:
        plan, edit = self.plan, self.plan.edit
        if edit is None:
            return None
        return ScoreEditor(edit.method, plan.targets, plan.strength * edit.weight, *plan.window, log=plan.record.edits)

    def _mixer(self, latent_size: tuple[int, int]) -> OutputMixer | None:
        plan, mix = self.plan, self.plan.mix
        if mix is None:
            return None
        layout = plan.layout
        if layout is None:
            layout = solve(plan.targets, *(side * _PIXELS for side in reversed(latent_size)))
        return OutputMixer(
            mix.method, plan.targets, layout, plan.strength * mix.weight, *plan.window, log=plan.record.mixes
        )

    def install(self) -> None:
        """Into the guider's options, which the host copies for each run and drops after it."""
        self.tap.install(self.guider.model_options)
        if self.mixes is not None:
            self.mixes.install(self.guider.model_options)
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.PREDICT_NOISE,
            KEY,
            self.gradient.predict_noise,
            self.guider.model_options,
            is_model_options=True,
        )

    def before_call(self, model, x: torch.Tensor, sigma: torch.Tensor, kwargs: dict) -> torch.Tensor:
        """Stands in for the solver's model: `model(x, sigma, **kwargs)`, preceded by the method's update where a step
        begins.

        A score edit or an output mix that begins with a step stays in force for all of the step's network calls.
        """
        if x.requires_grad:  # the gradient pass of another method that the model carries
            return model(x, sigma, **kwargs)
        level = float(sigma.flatten()[0])
        step = self.clock.begins(level)
        if step is None:
            return model(x, sigma, **kwargs)
        self._step = step
        progress = self.coordinates.progress(level)
        updating = self.optimiser is not None and self.optimiser.wants(progress)
        if updating:
            moved = self._moved(model, x, sigma, kwargs, progress, level)
            x = x.copy_(moved) if self.facts.carry == "latent" else moved
        for inside in (self.editor, self.mixer):
            if inside is not None:
                inside.begin(step, progress, level)
        with self.tap.listening() as recording:
            denoised = model(x, sigma, **kwargs)
        maps = recording.result()
        if maps is not None:
            self.plan.record.maps.add(maps, self.plan.targets)
            if updating:
                self.optimiser.observe_after(maps)
        return denoised

    def finish(self) -> None:
        """The run is over, in whichever way. Nothing holds it in a circle, so it is gone at once, with all it held."""
        if self.optimiser is not None:
            self.optimiser.on_progress = None
        for inside in (self.editor, self.mixer):
            if inside is not None:
                inside.finish()

    def _moved(self, model, x, sigma, kwargs, progress: float, level: float) -> torch.Tensor:
        """The latent after this step's updates, a new tensor."""
        self._refuse_streamed_weights()
        factor = self.coordinates.factor(level)
        return self.gradient.moved(
            model,
            x,
            sigma,
            kwargs,
            lambda latent, evaluate: self.optimiser.step(latent, progress, factor, evaluate, level),
        )

    def _refuse_streamed_weights(self) -> None:
        if streams_weights(self.guider.model_patcher):
            raise HostError(
                f"The model does not fit into the graphics card's memory as a whole, and {self.plan.method.title} "
                f"needs it there. "
                "Close other programs, use a smaller picture or batch, or start ComfyUI with --highvram."
            )

    def _progress(self, log: StepLog) -> None:
        stop_if_interrupted()
        first = (self.plan.record.steps or [log])[0].totals
        before, now = float((first or log.totals)[0].mean()), float(log.totals[-1].mean())
        show_on_node(f"step {self._step + 1}/{self.clock.total}, loss {before:.3g} → {now:.3g}", self.plan.node_id)
