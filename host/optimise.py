"""Optimises Space-Time Attention's weights for one picture, through the host's own sampling.

The host samples as ever (LoRAs, ControlNets, other packs' patches, guidance), but with a sampler of ours, which draws
the picture once per epoch with Euler steps, looks at it with CLIP, and takes the gradient back through all steps
(core/search/replay.py). The method that comes out works with any sampler; with euler, the same seed and the same
settings it draws the very picture that was optimised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_management
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor

from ..core.control.outputs import OutputMixer
from ..core.copies import CopiesToItself
from ..core.layout import Box, Layout
from ..core.methods.base import Method
from ..core.methods.space_time import SpaceTime
from ..core.prompt.targets import Targets
from ..core.search import learned_weights, replay
from ..core.search.learned_weights import Epoch, Learning
from ..core.search.pixels import crop
from ..core.search.similarity import cosines, object_prompt, prompt_loss
from .errors import HostError
from .networks.calls import Calls
from .networks.families import network_of
from .networks.rows import Rows, controlled
from .networks.skips import part_from_skips
from .progress import stop_if_interrupted
from .sampling.coordinates import Coordinates
from .sampling.grad import HeldControl, beside_the_network, differentiable, ordinary
from .sampling.install import local_prompts
from .sampling.memory import Memory
from .sampling.run import KEY
from .scoring import ClipScorer, check_objects

# Of the prompt and the negative prompt, and of the objects' own prompts in their regions about as much as one more.
_ROWS = 3

SCHEDULERS = comfy.samplers.KSampler.SCHEDULERS

# told(done, total, picture): network passes so far, and a picture [H, W, 3] where one has just been drawn.
Told = Callable[[int, int, Tensor | None], None]


@dataclass(frozen=True)
class Sampling:
    """How the picture is drawn that the weights are optimised for."""

    seed: int
    steps: int
    cfg: float
    scheduler: str


def optimise_space_time(
    model,
    positive: list,
    negative: list,
    targets: Targets,
    layout: Layout,
    method: Method | None,
    vae,
    scorer: ClipScorer,
    latent: Tensor,
    sampling: Sampling,
    *,
    epochs: int = learned_weights.EPOCHS,
    rate: float = learned_weights.RATE,
    told: Told | None = None,
) -> tuple[SpaceTime, Learning]:
    """The method with the weights that made the CLIP loss lowest, and the account of the search.

    `latent` [B, C, h, w] as a KSampler would get it; the first of a batch is optimised for. The loss is that of
    core.search.similarity.prompt_loss. Raises HostError or MethodError, before any compute, for what cannot work.
    """
    method = _checked(model, method, targets, layout)
    search = _Search(method, targets, layout, vae, scorer, epochs, rate, told or (lambda done, total, picture: None))
    search.texts = scorer.texts([targets.prompt, *(object_prompt(placement.name) for placement in layout.placements)])
    search.local = local_prompts(method, targets, layout)

    patched = model.clone()
    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, KEY, search.outer_sample)
    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING, KEY, _prepare_sampling)
    sigmas = comfy.samplers.calculate_sigmas(
        patched.get_model_object("model_sampling"), sampling.scheduler, sampling.steps
    )
    latent = comfy.sample.fix_empty_latent_channels(patched, latent)[:1]
    noise = comfy.sample.prepare_noise(latent, sampling.seed)
    sampler = comfy.samplers.KSAMPLER(search.sample)
    comfy.sample.sample_custom(
        patched, noise, sampling.cfg, sampler, sigmas, positive, negative, latent, disable_pbar=True, seed=sampling.seed
    )
    best = SpaceTime(
        method.settings,
        table=search.learning.best.weights,
        names=tuple(placement.name for placement in layout.placements),
    )
    return best, search.learning


def _checked(model, method: Method | None, targets: Targets, layout: Layout) -> SpaceTime:
    """The Space-Time method to optimise. Raises for what is missing."""
    check_objects(targets)
    layout.check(targets)
    if not layout.placements:
        raise HostError("The layout has a place for none of the objects, so there are no weights to optimise.")
    network_of(model.model)
    if method is None:
        method = SpaceTime()
    if not isinstance(method, SpaceTime):
        raise HostError(
            f"Only Space-Time Attention has weights to optimise, and this method is {method.title}. Choose "
            "space_time in Select Method."
        )
    if model.get_wrappers(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, KEY):
        raise HostError(
            "This model already went through Apply Attention Control. Connect the model as it is before that "
            "node; the optimised method goes there."
        )
    method.check(targets)
    method.check_layout(layout)
    return method


def _prepare_sampling(executor, model, noise_shape, conds, *args, **kwargs):
    """The host's PREPARE_SAMPLING wrapper: room for what is kept for backward."""
    memory = _memory(model, noise_shape)
    return executor(model, [memory.rows_to_ask_for(), *noise_shape[1:]], conds, *args, **kwargs)


def _memory(patcher, shape) -> Memory:
    """For a whole pass of the network."""
    return Memory("auto", patcher, (_ROWS * shape[0], *shape[1:]), None)


class _Search(CopiesToItself):
    """One optimisation: made by the node, run inside the host's sampling, where it is the sampler."""

    def __init__(
        self,
        method: SpaceTime,
        targets: Targets,
        layout: Layout,
        vae,
        scorer: ClipScorer,
        epochs: int,
        rate: float,
        told: Told,
    ):
        self.method = method
        self.targets = targets
        self.layout = layout
        self.vae = vae
        self.scorer = scorer
        self.epochs = epochs
        self.rate = rate
        self.told = told
        self.texts = torch.zeros(0)
        self.local: tuple[tuple[Tensor, dict], ...] = ()
        self.learning = Learning()
        self.calls = Calls()
        self._guider = None
        self._passes = 0

    def outer_sample(self, executor, *args, **kwargs):
        """The host's OUTER_SAMPLE wrapper: installs the mixing in the run's own copy of the options."""
        guider = self._guider = executor.class_obj
        if not controlled(guider, self.targets):
            raise HostError(
                "The positive prompt does not come from the Extract Targets node whose targets are used here "
                f'("{self.targets.prompt[:60]}"). Connect the conditioning output of that Extract Targets node to '
                "the positive input."
            )
        # A copy of the method whose table is, at every pass, the weights that are being tried.
        self.trial = SpaceTime(self.method.settings)
        self.mixer = OutputMixer(self.trial, self.targets, self.layout)
        self.calls.install(guider.model_options)
        network = network_of(guider.model_patcher.model)
        mixes = network.mixes(self.mixer, Rows(guider, self.targets, self.calls), self.local, learning=True)
        try:
            mixes.install(guider.model_options)
            _install_kernel(guider.model_options)
            return executor(*args, **kwargs)
        finally:
            mixes.remove()
            self._guider = None

    def sample(
        self, model, x: Tensor, sigmas: Tensor, extra_args: dict | None = None, callback=None, disable=None
    ) -> Tensor:
        """The solver that the host calls: draws, looks and learns; gives the best picture's latent."""
        patcher = self._guider.model_patcher
        comfy.model_management.load_models_gpu([patcher, self.vae.patcher, self.scorer.vision.patcher])
        for conds in self._guider.conds.values():
            for cond in conds:
                if "control" in cond:
                    cond["control"] = HeldControl(cond["control"])
        others = beside_the_network(self._guider)
        modules = (patcher.model, self.vae.first_stage_model, self.scorer.vision.model, *others)
        with differentiable(*modules, run_again=_memory(patcher, x.shape).network):
            extra = ordinary(extra_args or {})
            x, sigmas, self.texts = x.clone(), sigmas.clone(), self.texts.clone()
            coordinates = Coordinates(patcher.get_model_object("model_sampling"))
            progress = [coordinates.progress(float(sigma)) for sigma in sigmas[:-1]]
            step = self._step(model, sigmas, progress, extra)
            first = next((t for t, at in enumerate(progress) if self.mixer.wants(at)), None)
            if first is None:
                raise HostError(
                    "The method's window (start to end) holds none of the steps, so its weights change nothing. "
                    "Widen it in Select Method."
                )
            columns = sum(map(self.mixer.wants, progress))
            start = learned_weights.start_weights(self.method, self.layout, columns).to(x.device)
            total = (2 * self.epochs + 1) * len(progress) - self.epochs * first
            drawn: list[Tensor] = []

            def evaluate(weights: Tensor, with_gradient: bool) -> tuple[Epoch, Tensor | None]:
                latents = replay.run(self._counted(step, total), x, weights, len(progress))
                drawn.append(latents[-1])
                parts, pictures = {}, []
                objective = self._objective(patcher.model, parts, pictures)
                if with_gradient:
                    loss, slope = replay.gradient(self._counted(step, total), latents, weights, objective, first)
                else:
                    with torch.no_grad():
                        loss, slope = objective(latents[-1]), None
                self.told(self._passes, total, pictures[0])
                return Epoch(float(loss), parts, weights.cpu()), slope

            most = learned_weights.most_of(self.method.settings)
            self.learning = learned_weights.optimise(start, evaluate, epochs=self.epochs, rate=self.rate, most=most)
            self.mixer.finish()
            return drawn[self.learning.epochs.index(self.learning.best)]

    def _step(self, model, sigmas: Tensor, progress: list[float], extra: dict) -> replay.Step:
        """Euler's step of the solver's latent, with the mixture of the weights at hand."""

        def step(t: int, x: Tensor, weights: Tensor) -> Tensor:
            stop_if_interrupted()
            self.trial.table = weights
            self.mixer.begin(t, progress[t], float(sigmas[t]))
            self.calls.begin(x)
            denoised = model(x, sigmas[t].expand(x.shape[0]), **extra)
            return x + (x - denoised) / sigmas[t] * (sigmas[t + 1] - sigmas[t])

        return step

    def _counted(self, step: replay.Step, total: int) -> replay.Step:
        def counted(t: int, x: Tensor, weights: Tensor) -> Tensor:
            self._passes += 1
            self.told(self._passes, total, None)
            return step(t, x, weights)

        return counted

    def _objective(self, network, parts: dict[str, float], pictures: list[Tensor]) -> Callable[[Tensor], Tensor]:
        """The CLIP loss of a finished latent; its parts and the picture are noted on the way."""

        def objective(latent: Tensor) -> Tensor:
            image = decoded(self.vae, network.process_latent_out(latent))
            shown = [image, *(crop(image, self._box(placement)) for placement in self.layout.placements)]
            seen = [self.scorer.pictures(one) for one in shown]
            fits = [cosines(one, text[None].to(one.device))[:, 0] for one, text in zip(seen, self.texts)]
            names = ["whole prompt", *(placement.name for placement in self.layout.placements)]
            for index, (name, fit) in enumerate(zip(names, fits)):
                parts[f"{name} ({index})" if names.count(name) > 1 else name] = 1.0 - float(fit.detach().mean())
            pictures.append(image[0].detach().float().cpu())
            return prompt_loss(fits[0], torch.stack(fits[1:], dim=-1)).mean()

        return objective

    def _box(self, placement) -> Box:
        """Where an object is looked for: its box, or the square around the disc."""
        if self.method.settings.region != "disc":
            return placement.box
        (x, y), ratio = placement.box.centre, (self.layout.width / self.layout.height) ** 0.5
        across, down = self.method.settings.radius / ratio, self.method.settings.radius * ratio
        return Box(x - across, y - down, x + across, y + down)


def decoded(vae, latent: Tensor) -> Tensor:
    """The picture [B, H, W, 3] in 0..1 of a latent in the VAE's scale, differentiable. The VAE must be loaded."""
    pixels = vae.first_stage_model.decode(latent.to(vae.device, vae.vae_dtype))
    return vae.process_output(pixels.float()).movedim(1, -1)


def _install_kernel(model_options: dict) -> None:
    """PyTorch's own attention in all passes: the artist's kernel may have no backward pass, and a step done again must
    give what it gave."""
    options = model_options.setdefault("transformer_options", {})
    previous = options.get("optimized_attention_override")

    def attend(func, *args, **kwargs):
        return previous(attention_pytorch, *args, **kwargs) if previous else attention_pytorch(*args, **kwargs)

    options["optimized_attention_override"] = attend
    part_from_skips(options, lambda h: h.requires_grad)
