"""One sampling run of a patched model: made when the sampler starts, gone when it ends, however it ends."""

import time
from dataclasses import dataclass

import comfy.patcher_extension
import comfy.samplers
import torch

from ..core.editing import ScoreEditor
from ..core.layout import Layout, solve
from ..core.methods.base import LatentLoss, Method, OutputMix, Part, ScoreEdit
from ..core.mixing import OutputMixer
from ..core.optimize import LatentOptimizer, StepLog
from ..core.record import Record
from ..core.resolution import choose_level
from ..core.targets import Targets
from .coordinates import Coordinates
from .edits import LayerEdit, chain_of
from .errors import HostError
from .grad import HeldControl, beside_the_network, differentiable, ordinary, streams_weights
from .mixes import LayerMixes
from .progress import show_on_node, stop_if_interrupted
from .rows import Rows, controlled
from .samplers import facts_of, name_of
from .steps import StepClock
from .tap import PassEnded, Recording, Tap
from .unet import cross_attention_sites, edited_sites, last_site, sites_at

KEY = "prompt_fidelity"
# Pixels of the picture per latent pixel, in all models that can be patched.
_PIXELS = 8


@dataclass(frozen=True)
class Plan:
    """What the Apply node was told; the same for every run of the patched model."""

    method: Method
    targets: Targets
    strength: float
    start: float
    end: float
    record: Record
    node_id: str | None = None
    reason: str = ""  # why the method was chosen, where the artist left the choice to the pack
    layout: Layout | None = None
    hints: tuple[str, ...] = ()
    local: tuple[torch.Tensor, ...] = ()  # the encoded prompt of each placed object

    @property
    def acts(self) -> bool:
        """Whether anything is to be changed at all; if not, the maps are only recorded."""
        return self.strength > 0 and self.method.applies(self.targets)

    @property
    def moves(self) -> bool:
        """Whether the latent is to be moved, which needs gradients: the whole model on the device, and a fitting
        sampler.
        """
        return self.acts and any(isinstance(part.method, LatentLoss) for part in self._at_work)

    @property
    def edit(self) -> Part | None:
        """The edit of attention scores, if there is one, which any pass of the network lets us do."""
        return next((part for part in self._at_work if isinstance(part.method, ScoreEdit)), None) if self.acts else None

    @property
    def mix(self) -> Part | None:
        """The mixture of attention outputs, if there is one, which any pass of the network lets us do."""
        return next((part for part in self._at_work if isinstance(part.method, OutputMix)), None) if self.acts else None

    @property
    def _at_work(self) -> list[Part]:
        return [part for part in self.method.parts if part.weight > 0 and part.method.applies(self.targets)]

    def begin(self, sampler=None, sigmas=()) -> None:
        """Empties the record, and notes in it all that is known before a run (with a sampler) or
        when the node has run.
        """
        warnings = [*self.method.check(self.targets), *(self.hints if self.acts else ())]
        if self.mix is not None and self.layout is None:
            warnings.append(
                "No layout is connected, so the objects go where the solver puts them. Connect Predict Layout to see "
                "and change their places."
            )
        elif self.mix is not None and not self.layout.placements:
            warnings.append("The layout has a place for none of the objects, so the picture is left unchanged.")
        facts = facts_of(sampler) if sampler is not None else None
        if facts is not None and facts.support == "approximate" and self.moves:
            warnings.append(
                f"The sampler {name_of(sampler)} takes the method's moves only in part: {facts.note}. Euler and "
                f"dpmpp_2m take them whole."
            )
        self.record.begin(
            self.method,
            self.targets,
            strength=self.strength,
            start=self.start,
            end=self.end,
            sampler=name_of(sampler) if sampler is not None else "",
            total_steps=max(len(sigmas) - 1, 0),
            warnings=warnings,
            reason=self.reason,
        )


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
        window, edit, mix = (plan.start, plan.end), plan.edit, plan.mix
        self.optimizer = (
            LatentOptimizer(
                plan.method, plan.targets, plan.strength, *window, on_progress=self._progress, log=plan.record.steps
            )
            if plan.moves
            else None
        )
        self.editor = (
            ScoreEditor(edit.method, plan.targets, plan.strength * edit.weight, *window, log=plan.record.edits)
            if edit is not None
            else None
        )
        self.mixer = None
        if mix is not None:
            layout = (
                plan.layout
                if plan.layout is not None
                else solve(plan.targets, *(side * _PIXELS for side in reversed(latent_size)))
            )
            self.mixer = OutputMixer(
                mix.method, plan.targets, layout, plan.strength * mix.weight, *window, log=plan.record.mixes
            )
        sites = cross_attention_sites(guider.model_patcher.model.diffusion_model)
        level = choose_level(plan.method.resolution, *latent_size, list(sites.values()))
        self.recorded = sites_at(sites, level)
        self.end_after = last_site(sites, level)
        rows = Rows(guider, plan.targets)
        if self.editor is None:
            self.tap = Tap(rows)
        else:
            chain, applies = chain_of(guider.model_options)
            chain.edits.append(LayerEdit(self.editor, rows, edited_sites(sites, level, edit.method.settings.layers)))
            self.tap = Tap(rows, chain, applies)
        self.mixes = (
            LayerMixes(self.mixer, rows, plan.local, guider.model_patcher.model.diffusion_model)
            if self.mixer is not None
            else None
        )
        self.seconds = 0.0
        self._step = 0

    def install(self) -> None:
        """Into the guider's options, which the host copies for each run and drops after it."""
        self.tap.install(self.guider.model_options)
        if self.mixes is not None:
            self.mixes.install(self.guider.model_options)
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.PREDICT_NOISE,
            KEY,
            self.predict_noise,
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
        updating = self.optimizer is not None and self.optimizer.wants(progress)
        if updating:
            moved = self._moved(model, x, sigma, kwargs, progress, level)
            x = x.copy_(moved) if self.facts.carry == "latent" else moved
        for inside in (self.editor, self.mixer):
            if inside is not None:
                inside.begin(step, progress, level)
        with self._recording(gradient=False) as recording:
            denoised = model(x, sigma, **kwargs)
        maps = self._of_prompt(recording)
        if maps is not None:
            self.plan.record.maps.add(maps, self.plan.targets)
            if updating:
                self.optimizer.observe_after(maps)
        return denoised

    def finish(self) -> None:
        """The run is over, in whichever way."""
        for inside in (self.editor, self.mixer):
            if inside is not None:
                inside.finish()

    def predict_noise(self, executor, x, timestep, model_options={}, seed=None):  # noqa: B006, the host's signature
        """The host's PREDICT_NOISE wrapper: a gradient pass runs the controlled conditioning alone and ends early."""
        if self.tap.recording is None or not self.tap.recording.gradient:
            return executor(x, timestep, model_options, seed)
        # Threads of the multi-GPU path run without gradients.
        options = {key: value for key, value in model_options.items() if key != "multigpu_clones"}
        for cond in controlled(self.guider, self.plan.targets):
            self.tap.recording.tokens = cond["cross_attn"].shape[1]
            self.tap.recording.controlled = "control" in cond
            if "control" in cond:
                cond = {**cond, "control": HeldControl(cond["control"])}
            comfy.samplers.calc_cond_batch(self.guider.inner_model, [[cond]], x, timestep, options)
            # Reached only if the network ran to its end, or not at all: a conditioning that is not in force at this
            # noise level, or a pack that answers from a cache.
            if self.tap.recording.seen:
                break
        return x

    def _moved(self, model, x, sigma, kwargs, progress: float, level: float) -> torch.Tensor:
        """The latent after this step's updates, a new tensor."""
        self._refuse_streamed_weights()
        started = time.perf_counter()
        with differentiable(self.guider.model_patcher.model, *beside_the_network(self.guider)):
            kwargs, sigma = ordinary(kwargs), sigma.clone()

            def evaluate(latent: torch.Tensor) -> torch.Tensor | None:
                with self._recording(gradient=True) as recording:
                    try:
                        model(latent, sigma, **kwargs)
                    except PassEnded:
                        pass
                return self._of_prompt(recording)

            moved = self.optimizer.step(x.clone(), progress, self.coordinates.factor(level), evaluate, level)
        self.seconds += time.perf_counter() - started
        return moved

    def _of_prompt(self, recording: Recording) -> torch.Tensor | None:
        """The recorded maps on the prompt's own token axis: a conditioning that another was appended to has more
        tokens.
        """
        maps = recording.result()
        return None if maps is None else maps[..., : self.plan.targets.length]

    def _recording(self, gradient: bool) -> "_Armed":
        tokens = controlled(self.guider, self.plan.targets)[0]["cross_attn"].shape[1]
        return _Armed(self.tap, Recording(self.recorded, tokens, gradient, self.end_after if gradient else None))

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


class _Armed:
    """Sets the tap's recording for the time of one pass."""

    def __init__(self, tap: Tap, recording: Recording):
        self.tap, self.recording = tap, recording

    def __enter__(self) -> Recording:
        self.tap.recording = self.recording
        return self.recording

    def __exit__(self, *_) -> None:
        self.tap.recording = None
