"""One sampling run of a patched model: made when the sampler starts, gone when it ends, however it ends."""

import math
from contextlib import nullcontext

import comfy.patcher_extension
import torch

from ...core.control.arranged import LatentArranger
from ...core.control.inside import InsideStep
from ...core.control.latent import LatentOptimiser
from ...core.control.outputs import OutputMixer
from ...core.control.parts import StepLog
from ...core.control.prediction import PredictionGuide
from ...core.control.scores import ScoreEditor
from ...core.maps.joint import looked_at
from ...core.maps.view import view_of
from ..networks.calls import Calls
from ..networks.edits import LayerEdit, chain_of
from ..networks.families import network_of
from ..networks.rows import Rows
from ..networks.tap import Tap
from ..progress import show_on_node, stop_if_interrupted
from .compiled import NOTE, as_written, is_compiled
from .coordinates import Coordinates
from .gradient_pass import GradientPass
from .guidance import Guidance, Guide, guidance_of
from .live import LiveMaps
from .memory import is_out_of_memory
from .plan import Plan
from .second_look import followed_by, look_again
from .steps import StepClock, level_of, with_solver_model

KEY = "prompt_fidelity"

# Why noise is not rearranged.
MASKED = "a mask keeps a part of the picture, and its noise must stay where it is"
IN_PIECES = "the picture is drawn in pieces, and an object's noise may lie in another piece than its place"
LOST = "the sampler does not keep a moved latent (euler and dpmpp_2m do)"
# Why the model is not asked.
TOO_LITTLE_MEMORY = (
    "The memory did not suffice to ask the model what it sees in the picture, so the verdict goes by the attention "
    "maps."
)


class Run:
    """Moves the solver's latent at the start of each step in the window, or changes the attention inside the step's
    calls, and records the maps of every step.
    """

    def __init__(self, plan: Plan, guider, sampler, sigmas: torch.Tensor, latent_size: tuple[int, int]):
        self.network = network_of(guider.model_patcher.model)
        self.plan = plan = plan.laid_out(*(side * self.network.pixels for side in reversed(latent_size)))
        self.guider = guider
        self.log = plan.record.latest
        self.log.layout = plan.layout
        # A run may go on where another ended; then its steps are numbered on.
        self.clock = StepClock(sampler, sigmas, first=self.log.total_steps - (len(sigmas) - 1))
        self.coordinates = Coordinates(guider.model_patcher.get_model_object("model_sampling"))
        self.arranger = self._arranger()
        self.optimiser = self._optimiser()
        self.editor = self._editor()
        self.mixer = self._mixer()
        sites, size = self.network.looked_at(plan.method.resolution, *latent_size, plan.blocks)
        self.calls = Calls()
        rows = Rows(guider, plan.targets, self.calls, plan.record.warn)
        self.tap = Tap(self.network, rows, sites, plan.targets.length, size, looked_at(plan.targets))
        if self.editor is not None:
            edited = self.network.edited(sites, plan.edit.method.settings.layers)
            self.tap.edits, self.tap.applies = chain_of(guider.model_options)
            self.tap.edits.edits.append(LayerEdit(self.editor, rows, edited))
        self.mixes = self.network.mixes(self.mixer, rows, plan.local) if self.mixer is not None else None
        self.gradient = GradientPass(guider, plan, self.tap)
        self.guide = self._guide()
        self.guidance: Guidance | None = None
        self.compiled = is_compiled(guider)
        if self.compiled:
            plan.record.warn(NOTE.format(method=plan.method.title))
        self.live = LiveMaps(plan.targets, plan.node_id)
        self._step = 0
        self._in_pieces = False  # whether the last step showed a part of the picture at a time

    def _arranger(self) -> LatentArranger | None:
        plan, part = self.plan, self.plan.arrangement
        if part is None:
            return None
        return LatentArranger(part.method, plan.targets, plan.layout, *plan.window, log=self.log.arranged)

    def _optimiser(self) -> LatentOptimiser | None:
        plan = self.plan
        if not plan.moves:
            return None
        return LatentOptimiser(
            plan.method,
            plan.targets,
            plan.strength,
            *plan.window,
            on_progress=self._progress,
            log=self.log.steps,
            joint=self.network.joint,
        )

    def _guide(self) -> Guide | None:
        plan = self.plan
        if not plan.guides:
            return None
        core = PredictionGuide(
            plan.method, plan.targets, plan.strength, *plan.window, log=self.log.steps, joint=self.network.joint
        )
        return Guide(core, self.tap, plan)

    def _editor(self) -> ScoreEditor | None:
        plan, edit = self.plan, self.plan.edit
        if edit is None:
            return None
        strength, memories = plan.strength * edit.weight, self.log.carried.setdefault("memories", {})
        return ScoreEditor(edit.method, plan.targets, strength, *plan.window, log=self.log.edits, memories=memories)

    def _mixer(self) -> OutputMixer | None:
        plan, mix = self.plan, self.plan.mix
        if mix is None:
            return None
        return OutputMixer(
            mix.method, plan.targets, plan.layout, plan.strength * mix.weight, *plan.window, log=self.log.mixes
        )

    def install(self) -> None:
        """Into the guider's options, which the host copies for each run and drops after it."""
        self.calls.install(self.guider.model_options)
        self.tap.install(self.guider.model_options)
        if self.guide is not None:
            self.guidance = guidance_of(self.guider, self.coordinates)
        if self.mixes is not None:
            self.mixes.install(self.guider.model_options)
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.PREDICT_NOISE,
            KEY,
            self.gradient.predict_noise,
            self.guider.model_options,
            is_model_options=True,
        )

    def taught(self, sampler):
        """A copy of the host's sampler that this run follows, and that looks again at what it has drawn."""
        followed = with_solver_model(sampler, self.before_call, self.clock)
        return followed if self.plan.questions is None else followed_by(followed, self._look_again)

    def _look_again(self, picture: torch.Tensor, extra: dict) -> None:
        """At the end of the whole picture only, not of a piece that another is to go on with."""
        if self.log.level > 0:
            return
        asked, passes = self.plan.questions, self.log.total_steps * _passes_a_step(self.guider)
        options = extra.get("model_options", self.guider.model_options)
        show_on_node("looking at the picture", self.plan.node_id)
        self.calls.begin(picture)
        # Rows of another number would have a compiled network compiled anew, for a few passes.
        plainly = as_written(self.guider.model_options, options) if self.compiled else nullcontext()
        try:
            with plainly:
                self.log.evidence = look_again(
                    asked, self.guider, self.plan.targets, self.coordinates, picture, options, passes
                )
        except Exception as error:  # looked at only: everything but a lack of memory passes through
            if not is_out_of_memory(error):
                raise
            self.plan.record.warn(TOO_LITTLE_MEMORY)

    def before_call(self, model, x: torch.Tensor, sigma: torch.Tensor, kwargs: dict) -> torch.Tensor:
        """Stands in for the solver's model: `model(x, sigma, **kwargs)`, preceded by the method's update where a step
        begins.

        A score edit or an output mix that begins with a step stays in force for all of the step's network calls.
        """
        self.calls.begin(x)
        if x.requires_grad:  # the gradient pass of another method that the model carries
            return model(x, sigma, **kwargs)
        level = level_of(sigma)
        progress = self.coordinates.progress(level)
        step = self.clock.begins(level, x)
        if step is None:
            with self._as_written(kwargs), self._guidance(progress, level):
                return model(x, sigma, **kwargs)
        self._step = step
        if self.arranger is not None and self.arranger.due(progress):
            x = self._taken(x, self._arranged(x, step, progress, kwargs))
        updating = self.optimiser is not None and self.optimiser.wants(progress)
        if updating:
            x = self._taken(x, self._moved(model, x, sigma, kwargs, progress, level))
        for inside in self._inside:
            inside.begin(step, progress, level)
        if self.compiled and not updating and not self._acts:
            return model(x, sigma, **kwargs)
        with self._as_written(kwargs, updating), self.tap.listening() as recording, self._guidance(progress, level):
            denoised = model(x, sigma, **kwargs)
        # Where the pass was guided, what guided it has heard it.
        guided = self.guide.recording if self.guide is not None else None
        heard = recording if guided is None or guided.result() is None else guided
        if (maps := heard.result()) is not None:
            if self.arranger is not None:
                self._in_pieces = view_of(heard.seen, heard.size) is not None
            self.live.show(self.log.maps.add(maps, self.plan.targets))
            if self.plan.watch is not None:
                self.plan.watch(maps.detach(), progress)
            if updating:
                self.optimiser.observe_after(heard.shown(), view_of(heard.seen, heard.size))
        return denoised

    def _taken(self, x: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
        """The latent that the step goes on with: where the solver carries its own on, that one is written to."""
        return x.copy_(moved) if self.clock.facts.carry == "latent" else moved

    def _arranged(self, x: torch.Tensor, step: int, progress: float, kwargs: dict) -> torch.Tensor:
        """The latent in its new order, by the maps recorded so far."""
        reason = ""
        if kwargs.get("denoise_mask") is not None:
            reason = MASKED
        elif self._in_pieces:
            reason = IN_PIECES
        elif self.clock.facts.carry != "latent" or self.clock.facts.support == "refused":
            reason = LOST
        maps = self.log.maps.shown(self.plan.targets)[1] if self.log.maps.mean is not None else None
        return self.arranger.step(x, step, progress, maps, reason)

    def _guidance(self, progress: float, level: float):
        """What corrects one call's prediction: every call's, as a solver takes them all for the model's."""
        guide = self.guide
        if guide is None:
            return nullcontext()
        guide.recording = None
        if not guide.core.wants(progress):
            return nullcontext()
        if not guide.core.active:  # a solver whose steps the clock does not know
            guide.core.begin(self._step, progress, level)
        following = self.clock.after(level)
        return self.guidance.by(guide, 1.0 - following / level if level > 0 else 0.0)

    def _as_written(self, kwargs: dict, updating: bool = False):
        """How one call is made: where something acts in it, a compiled network runs as it is written."""
        if not self.compiled or not (updating or self._acts):
            return nullcontext()
        return as_written(self.guider.model_options, kwargs.get("model_options", {}))

    @property
    def _acts(self) -> bool:
        """Whether something acts inside the calls that are made now."""
        return any(inside.active for inside in self._inside)

    @property
    def _inside(self) -> list[InsideStep]:
        """What acts inside the calls of a step."""
        guide = self.guide.core if self.guide is not None else None
        return [inside for inside in (self.editor, self.mixer, guide) if inside is not None]

    def finish(self) -> None:
        """The run is over, in whichever way. Nothing holds it in a circle, so it is gone at once, with all it held."""
        if self.optimiser is not None:
            self.optimiser.on_progress = None
        for inside in self._inside:
            inside.finish()
        if self.mixes is not None:
            self.mixes.remove()
        self.tap.remove()

    def _moved(self, model, x, sigma, kwargs, progress: float, level: float) -> torch.Tensor:
        """The latent after this step's updates, a new tensor."""
        factor = self.coordinates.factor(level)
        return self.gradient.moved(
            model,
            x,
            sigma,
            kwargs,
            lambda latent, evaluate: self.optimiser.step(
                latent, progress, factor, evaluate, level, lambda: self.gradient.view
            ),
        )

    def _progress(self, log: StepLog) -> None:
        stop_if_interrupted()
        first = (self.log.steps or [log])[0].totals
        before, now = float((first or log.totals)[0].mean()), float(log.totals[-1].mean())
        show_on_node(f"step {self._step + 1}/{self.clock.total}, loss {before:.3g} → {now:.3g}", self.plan.node_id)


def _passes_a_step(guider) -> int:
    """Without guidance the host leaves the negative prompt out."""
    return 1 if math.isclose(getattr(guider, "cfg", 0.0), 1.0) else 2
