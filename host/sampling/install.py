"""Attaches a method to a clone of the host's model: nothing global, nothing that other clones would notice."""

import time
from dataclasses import replace

import comfy.patcher_extension

from ...core.control.record import Record
from ...core.copies import CopiesToItself
from ...core.layout import Layout
from ...core.methods.base import PACK_MODELS, Method, OutputMix, Situation
from ...core.prompt.targets import Targets
from ..errors import HostError
from ..models.family import family_of
from ..networks.base import Network
from ..networks.chosen import AUTO
from ..networks.families import network_of
from ..networks.rows import controlled, text_columns
from ..networks.unet import UNet
from .giving_back import give_back_memory
from .memory import Memory, is_tight
from .plan import Plan, Watch
from .run import KEY, Run
from .samplers import facts_of
from .second_look import questions, share_of
from .solvers import name_of


def attach(
    model,
    method: Method,
    targets: Targets,
    *,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    node_id: str | None = None,
    layout: Layout | None = None,
    recompute: str = "auto",
    blocks: str = "auto",
    watch: Watch | None = None,
    look_again: str | float = 0.0,
):
    """A clone of `model` (the host's ModelPatcher) that applies `method` while it samples, and the Record of its runs.

    `start` and `end` are the host's percent of the noise schedule; they narrow the method's own window. With
    strength 0 or without objects the picture is bit-identical to the plain model's and only the maps are recorded.
    `layout` is for methods that work in regions; without one they take the solver's. `recompute` (auto, on, off):
    whether a gradient runs the network's blocks again instead of keeping what they made. `blocks` are those of the
    network that are looked at and edited: auto (the method's own for such models, else the network's), all, or some
    by name and number ("double 10-18"). `watch` is told of every step's maps. `look_again` (auto, off, on,
    thorough, or a share of the run's time): how long the model may take to say which objects it sees in what it has
    drawn. Raises HostError for a model that the method cannot work with, core MethodError for targets it cannot.
    """
    if start >= end:
        raise HostError(
            f"start_percent ({start:g}) must be smaller than end_percent ({end:g}); otherwise there is no step to act "
            f"on."
        )
    network = network_of(model.model)
    network.check_blocks(blocks)
    family = family_of(model)
    method, reason = method.resolve(targets, _situation(model, network, family, layout))
    if layout is not None and method.takes_layout:
        layout.check(targets)
        method = method.placed(layout)
    if blocks == AUTO:
        blocks = method.blocks_for(family)
    plan = Plan(
        method,
        targets,
        strength,
        start,
        end,
        Record(),
        node_id,
        reason,
        layout,
        hints=(*_presets_for(family, method), *_made_for_others(network, method)),
        recompute=recompute,
        blocks=blocks,
        pixels=network.pixels,
        watch=watch,
        questions=questions(targets, share_of(look_again, network.joint, model)),
    )
    if plan.mix is not None:
        plan = replace(plan, local=local_prompts(plan.mix.method, targets, layout))
    plan.announce()
    patched = model.clone()
    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, KEY, _OuterSample(plan))
    if plan.moves or plan.guides:
        patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING, KEY, _PrepareSampling(plan))
    return patched, plan.record


def _situation(model, network: Network, family: str, layout: Layout | None) -> Situation:
    return Situation(
        layout=layout is not None,
        family=family,
        transformer=not isinstance(network, UNet),
        joint=network.joint,
        tight=is_tight(model),
    )


def _presets_for(family: str, method: Method) -> tuple[str, ...]:
    """What to say where a method's preset is not made for the model."""
    hints = []
    for part in (part.method for part in method.parts):
        suiting = family if family in part.PRESETS else next(iter(part.PRESETS), "")
        if part.preset in PACK_MODELS and part.preset != family:
            made_for = PACK_MODELS[part.preset]
        elif family in part.PRESETS and part.preset not in (family, "custom"):
            made_for = "large models"
        else:
            continue
        hints.append(
            f"The preset {part.preset} of {part.title} is made for {made_for}. For "
            f'{PACK_MODELS.get(family, "this model")}, choose the preset "{suiting}".'
        )
    return tuple(hints)


def _made_for_others(network: Network, method: Method) -> tuple[str, ...]:
    """What to say where a method is made for networks of another kind."""
    return tuple(note for part in method.parts for note in part.method.suits(network.joint))


def local_prompts(method: OutputMix, targets: Targets, layout: Layout | None) -> tuple:
    """The encoded prompt of every placed object (without a layout, of every object), encoded here once for all runs."""
    if layout is not None:
        layout.check(targets)
        method.check_layout(layout)
    if targets.encode is None:
        raise HostError("These targets have no text encoder with them. Connect the targets output of Extract Targets.")
    placed = (
        [placement.name for placement in layout.placements]
        if layout is not None
        else [target.phrase for target in targets.objects]
    )
    return tuple(targets.encode([method.local_prompt(phrase) for phrase in placed]))


class _PrepareSampling(CopiesToItself):
    """The host's PREPARE_SAMPLING wrapper: room for what is kept for backward."""

    def __init__(self, plan: Plan):
        self.plan = plan

    def __call__(self, executor, model, noise_shape, conds, *args, **kwargs):
        plan = self.plan
        sites, _ = network_of(model.model).looked_at(plan.method.resolution, *noise_shape[-2:], plan.blocks)
        memory = Memory(plan.recompute, model, noise_shape, sites)
        return executor(model, [memory.rows_to_ask_for(), *noise_shape[1:]], conds, *args, **kwargs)


class _OuterSample(CopiesToItself):
    """The host's OUTER_SAMPLE wrapper: makes a Run, lets the host sample with it, and closes the record whatever
    happens.
    """

    def __init__(self, plan: Plan):
        self.plan = plan

    def __call__(self, executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        guider = executor.class_obj
        self._check(guider, sampler)
        network_of(guider.model_patcher.model).check(tuple(noise.shape))
        log = self.plan.begin(sampler, sigmas, noise, latent_image)
        run = Run(self.plan, guider, sampler, sigmas, tuple(noise.shape[-2:]))
        started, finished = time.perf_counter(), False
        try:
            run.install()
            samples = executor(noise, latent_image, run.taught(sampler), sigmas, *args, **kwargs)
            finished = True
            return samples
        finally:
            run.finish()
            log.end(run.gradient.seconds, time.perf_counter() - started, not finished, run.clock.recognised)
            if finished:
                self.plan.record.drawn(log, samples)
            give_back_memory()

    def _check(self, guider, sampler) -> None:
        """Everything that can be known to fail, before anything is computed."""
        facts, plan = facts_of(sampler), self.plan
        if facts.support == "refused" and plan.moves:
            raise HostError(
                f"{plan.method.title} cannot work with the sampler {name_of(sampler)}: {facts.note}. Choose another, "
                f"for example euler or dpmpp_2m."
            )
        if not hasattr(sampler, "sampler_function"):
            raise HostError(
                f"The sampler {name_of(sampler)} does not take its steps the way ComfyUI's own samplers do, so "
                f"{plan.method.title} cannot follow it. "
                "Choose one of the samplers in KSampler, for example euler."
            )
        conds = controlled(guider, plan.targets)
        if not conds:
            raise HostError(
                "The positive prompt that reaches the sampler does not come from the Extract Targets node whose "
                "targets are applied here "
                f'("{plan.targets.prompt[:60]}"). Connect the conditioning output of that Extract Targets node to the '
                f"sampler's positive input."
            )
        if any(text_columns(cond, plan.targets) < plan.targets.length for cond in conds):
            raise HostError(
                f'The positive prompt was shortened after Extract Targets ("{plan.targets.prompt[:60]}"), so its words '
                f"are no longer where they were found. "
                "Connect the conditioning directly, without the node that shortens it."
            )
