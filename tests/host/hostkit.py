"""What the host tests share: small models of every family, a prompt with two objects, and the host's own sampling."""

import functools
from contextlib import contextmanager
from dataclasses import replace

import comfy.sample
import comfy.samplers
import node_helpers
import torch
from prompt_fidelity.core.methods import METHODS, LatentLoss
from prompt_fidelity.core.methods.base import LATENT
from prompt_fidelity.core.prompt.targets import Stretch
from prompt_fidelity.host.models.random_models import load_random_model
from prompt_fidelity.host.models.random_transformers import TRANSFORMERS
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.text import encode_with_targets

FAMILIES = ("sd1", "sd2", "sdxl")
# Methods whose gradients move the latent; the others act inside the attention.
LATENT_METHODS = [name for name, method in METHODS.items() if issubclass(method, LatentLoss)]
PROMPT = "a black car and a white clock"
MOVES = {"acts_on": LATENT}  # whatever the method's own way
# One update a step and no refinement: quick, and as many updates as steps.
ONE_A_STEP = {"refine_steps": 0, **MOVES}
# Published methods take up to 30 further updates at each of three points of a run, which is nearly all of its time; two
# show that there is more than one. A test that needs more says so.
FEW_REFINEMENTS = 2


@functools.cache
def models(family: str, dtype: torch.dtype = torch.float32):
    """(model, clip, vae) of a family, loaded once, under inference mode as in the host."""
    with torch.inference_mode():
        return load_random_model(family, dtype=dtype)


@functools.cache
def encoded(family: str, text: str = PROMPT, words: str = ""):
    """(conditioning, targets) of a prompt."""
    with torch.inference_mode():
        conditioning, targets = encode_with_targets(models(family)[1], text, words)
        more = _beside(family, text, conditioning[0][0])
        targets = replace(targets, encode=functools.partial(_encode, family, targets.encode))
        for name, size in TRANSFORMERS[family].beside.items() if family in TRANSFORMERS else ():
            if "mask" not in name:
                spans = (*targets.stretches, Stretch(targets.length, size[-2], name))
                targets = replace(targets, length=targets.length + size[-2], spans=spans)
        return node_helpers.conditioning_set_values(conditioning, more), targets


def _encode(family: str, encode, texts: list[str]) -> list[tuple[torch.Tensor, dict]]:
    return [(own, {**more, **_beside(family, text, own)}) for text, (own, more) in zip(texts, encode(texts))]


def _beside(family: str, text: str, encoded: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a family's network gets of a text besides what the small CLIP says of it."""
    made = TRANSFORMERS.get(family)
    more = {"attention_mask": torch.ones(1, encoded.shape[1], dtype=torch.long)} if made and made.masked else {}
    for name, size in made.beside.items() if made else ():
        more[name] = torch.ones(1, *size) if "mask" in name else noise(1, *size, seed=len(text))
    return more


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sample(
    model,
    family: str = "sd1",
    *,
    start=None,
    positive=None,
    negative=None,
    size=(1, 4, 16, 16),
    steps=6,
    cfg=5.0,
    sampler="euler",
    scheduler="normal",
    latent=None,
    seed=3,
    **more,
) -> torch.Tensor:
    """The latent that the host's KSampler draws, from the noise `start` or one made from `seed`."""
    start = noise(*size, seed=seed) if start is None else start
    with torch.inference_mode():
        positive = encoded(family)[0] if positive is None else positive
        negative = encoded(family, "")[0] if negative is None else negative
        latent = torch.zeros_like(start) if latent is None else latent
        return comfy.sample.sample(
            model,
            start,
            steps,
            cfg,
            sampler,
            scheduler,
            positive,
            negative,
            latent,
            seed=seed,
            disable_pbar=True,
            **more,
        )


@functools.cache
def plain(family: str = "sd1", **how) -> torch.Tensor:
    """What a family's model draws by itself, drawn once for all tests that compare with it."""
    return sample(models(family)[0], family, **how)


def patched(
    family: str = "sd1", method: str = "attend_and_excite", *, model=None, targets=None, settings=None, **options
):
    """(model with the method attached, record). `settings` are changes to the method's defaults, of
    those that it has; it refines a little only.
    """
    chosen = METHODS[method]()
    few = min(FEW_REFINEMENTS, getattr(chosen.settings, "refine_steps", 0))
    settings = {"refine_steps": few, **(settings or {})}
    changes = {name: value for name, value in settings.items() if hasattr(chosen.settings, name)}
    chosen = type(chosen)(replace(chosen.settings, **changes))
    with torch.inference_mode():
        return attach(
            models(family)[0] if model is None else model,
            chosen,
            encoded(family)[1] if targets is None else targets,
            **options,
        )


def fingerprint(model) -> list:
    """Everything that a run could leave behind on a model: weights (identity, version and sum) and options."""
    network = model.model
    return [(name, id(p), float(p.double().sum())) for name, p in network.named_parameters()] + [
        sorted(model.model_options.get("transformer_options", {})),
        [hook for module in network.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)],
    ]


def latent_of(family: str, height: int = 16, width: int = 24, batch: int = 1) -> tuple[int, ...]:
    """The shape of a family's latents; for transformers of 8 × 12 tokens, unless another size is asked for."""
    if family not in TRANSFORMERS:
        return batch, 4, height, width
    made = TRANSFORMERS[family]
    height, width = (side * made.patch // 2 for side in (height, width))
    return batch, made.channels, *((1,) if made.framed else ()), height, width


@contextmanager
def nothing_pooled(model):
    """Without what a network itself pools of a text (HunyuanDiT): that is the whole prompt's in a mixture."""
    pooler = getattr(model.model.diffusion_model, "pooler", None)
    handle = pooler and pooler.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()
