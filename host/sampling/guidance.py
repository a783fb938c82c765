"""Latent losses that act in the prediction: the step's own pass of the network gives the gradient as well.

The prompt's rows run with gradients up to the last recorded layer, in a call of their own; there, inside the layer's
hook, the loss is taken back to the latent, and the pass goes on without a graph. The correction is added to every
prediction of the step, the negative prompt's too: guidance, whatever its scale and kind, passes it through whole, and a
sampler that looks at one of them alone (the cfg_pp ones) sees the same model in all.
"""

from contextlib import ExitStack, contextmanager
from functools import partial

import comfy.patcher_extension
import torch

from ...core.control.parts import spread
from ...core.control.prediction import PredictionGuide
from ...core.copies import CopiesToItself
from ...core.maps.probabilities import wide
from ...core.maps.view import view_of
from ..networks.passes import KEY
from ..networks.tap import GuidedRecording, Tap
from .coordinates import Coordinates
from .grad import HeldControl, beside_the_network, differentiable
from .halves import Scaling
from .memory import Memory
from .neighbours import no_gradients, open_to_gradients, writes_explained
from .plan import Plan

# Step sizes are those of the published runs, of 50 steps.
_PUBLISHED_STEP = 1 / 50


class Guide:
    """One Apply node's part in the guidance of a run."""

    def __init__(self, core: PredictionGuide, tap: Tap, plan: Plan):
        self.core = core
        self.tap = tap
        self.plan = plan
        self.recording: GuidedRecording | None = None


class Guidance(CopiesToItself):
    """All guides of one run, several if the model went through several Apply nodes: they share one pass.

    `active` while the pass at work is the step's own though it is differentiated.
    """

    def __init__(self, guider, coordinates: Coordinates):
        self.guider = guider
        self.coordinates = coordinates
        self.active = False
        self._armed: list[Guide] = []
        self._heard: list[Guide] = []  # those that the pass at work is heard by, and of which the loss is not taken yet
        self._waiting: set[Guide] = set()  # those of them whose last layer has not been reached
        self._latent: torch.Tensor | None = None
        self._sigma = 0.0
        self._step_share = 0.0
        self._correction: torch.Tensor | None = None
        self._corrected: list[tuple[torch.Tensor, torch.Tensor]] = []  # latents asked about, and their corrections
        self._memory: Memory | None = None
        self._scaling = Scaling(torch.float32)

    @contextmanager
    def by(self, guide: Guide, step_share: float):
        """The predictions made in the meantime are corrected by `guide`, among others.

        `step_share` is the part of a prediction that ends up in the latent: 1 − σ'/σ.
        """
        guide.recording = None
        self._armed.append(guide)
        self._step_share, self._corrected = step_share, []
        try:
            yield
        finally:
            self._armed.remove(guide)
            self._corrected = []

    def calc_cond_batch(self, executor, model, conds, x, timestep, model_options):
        """The host's CALC_COND_BATCH wrapper."""
        if not self._armed or x.requires_grad:  # nothing to do, or the gradient pass of a method that moves the latent
            return executor(model, conds, x, timestep, model_options)
        correction = self._known_for(x)
        if correction is None:
            out = self._guided(executor, model, conds, x, timestep, model_options)
            correction = self._known_for(x)
        else:  # a pack that asks again within the step (perturbed attention) asks the same, corrected model
            out = executor(model, conds, x, timestep, model_options)
        if correction is None:
            return out
        correction = correction.to(x.dtype)
        return [each if cond is None else each + correction for each, cond in zip(out, conds, strict=True)]

    def _known_for(self, x: torch.Tensor) -> torch.Tensor | None:
        """The correction of this very latent: windows and tiles ask about several within a step."""
        return next((known for of, known in self._corrected if of.shape == x.shape and torch.equal(of, x)), None)

    def _guided(self, executor, model, conds, x, timestep, model_options) -> list[torch.Tensor]:
        """A call's predictions, one for each list of conditionings; finds the correction on the way."""
        guides = {
            guide: {
                i for i, each in enumerate(conds) for cond in each or () if guide.tap.rows.controls(cond["uuid"], i)
            }
            for guide in self._armed
        }
        mine = set().union(*guides.values())
        if not mine:
            return executor(model, conds, x, timestep, model_options)
        options = open_to_gradients(model_options)
        ours = _with_held_controls([each if i in mine else None for i, each in enumerate(conds)])
        self._sigma = float(timestep.flatten()[0])
        heard = [guide for guide, lists in guides.items() if lists]
        self._correction = None
        own = self._memory_of(heard, x).tried(
            lambda: self._own(heard, executor, model, ours, x, timestep, options), heard[0].plan.method.title
        )
        if self._correction is not None:
            self._corrected.append((x.clone(), self._correction))
        others = [None if i in mine else each for i, each in enumerate(conds)]
        if any(each is not None for each in others):
            rest = executor(model, others, x, timestep, model_options)
            own = [own[i] if i in mine else rest[i] for i in range(len(conds))]
        return own

    def _memory_of(self, heard: list[Guide], x: torch.Tensor) -> Memory:
        if self._memory is None:
            sites = frozenset().union(*(guide.tap.sites for guide in heard))
            self._memory = Memory(heard[0].plan.recompute, self.guider.model_patcher, x.shape, sites)
        return self._memory

    def _own(self, heard: list[Guide], executor, model, ours, x, timestep, options) -> list[torch.Tensor]:
        """The predictions of the controlled conditionings; the gradient is taken on the way."""
        self._heard, self._waiting = heard, set(heard)
        with (
            writes_explained(),
            differentiable(
                self.guider.model_patcher.model,
                *beside_the_network(self.guider),
                run_again=self._memory.network,
                taps=[guide.tap for guide in heard],
            ),
        ):
            self._latent, self.active = wide(x).clone().requires_grad_(), True
            try:
                with self._hearing(ours):
                    self._scaling = Scaling(self.guider.model_patcher.model.get_dtype_inference())
                    own = executor(model, ours, self._scaling.down(self._latent), timestep.clone(), options)
                    self._take_gradient()  # unless the last layer was reached
                return [each.detach().to(x.dtype) for each in own]
            finally:
                self._latent, self.active, self._heard = None, False, []

    @contextmanager
    def _hearing(self, conds):
        """Every guide hears the pass that is made in the meantime."""
        controlled = any("control" in cond for each in conds for cond in each or ())
        with ExitStack() as stack:
            for guide in self._heard:
                before, guide.recording = guide.recording, guide.tap.guided(partial(self._last_layer_of, guide))
                if before is not None:  # what is shown is the whole picture, in however many windows
                    guide.recording.maps, guide.recording.seen = before.maps, before.seen
                guide.recording.controlled = controlled
                stack.enter_context(guide.tap.heard_by(guide.recording))
            yield

    def _last_layer_of(self, guide: Guide, recording: GuidedRecording) -> None:
        self._waiting.discard(guide)
        if not self._waiting:
            self._take_gradient()

    def _take_gradient(self) -> None:
        """The correction, from the maps that were heard. From here on the pass goes without a graph."""
        guides, self._heard = self._heard, []
        views = {guide: view_of(guide.recording.heard, guide.recording.size) for guide in guides}
        maps = {guide: guide.recording.taken() for guide in guides}
        maps = {guide: wide(own) for guide, own in maps.items() if own is not None}
        if not maps:
            return
        if not all(own.requires_grad for own in maps.values()):
            raise no_gradients(self.guider.model_patcher.model.diffusion_model)
        pulls = {guide: guide.core.pull(self._scaling.up(own), views[guide]) for guide, own in maps.items()}
        gradient = torch.autograd.grad(sum(pulls.values()), self._latent)[0]
        torch.set_grad_enabled(False)  # until `differentiable` is left
        finite = gradient.flatten(1).isfinite().all(dim=1)
        size = self.coordinates.factor(self._sigma) * self.coordinates.lever(self._sigma, _PUBLISHED_STEP)
        self._correction = torch.where(spread(finite, gradient), -size * gradient, 0.0)
        for guide in pulls:
            guide.core.note(self._correction * self._step_share, finite, self._latent)


def _with_held_controls(conds: list[list[dict] | None]) -> list[list[dict] | None]:
    """The conditionings with every ControlNet's guidance held fixed; one that several share stays shared."""
    held: dict[int, HeldControl] = {}

    def with_held(cond: dict) -> dict:
        if "control" not in cond:
            return cond
        control = cond["control"]
        return {**cond, "control": held.setdefault(id(control), HeldControl(control))}

    return [None if each is None else [with_held(cond) for cond in each] for each in conds]


def guidance_of(guider, coordinates: Coordinates) -> Guidance:
    """The run's guidance, made by the first Apply node that asks for it."""
    options = guider.model_options.setdefault("transformer_options", {})
    if KEY not in options:
        options[KEY] = guidance = Guidance(guider, coordinates)
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.CALC_COND_BATCH,
            KEY,
            guidance.calc_cond_batch,
            guider.model_options,
            is_model_options=True,
        )
    return options[KEY]
