"""Build small models through the host's own classes: a ModelPatcher from a config, a CLIP from a tokenizer and an
encoder.

This is what the host's checkpoint loader does after it has guessed the config, without the guess: nothing is registered
with the host and none of its tables change. The patchers are plain (not the dynamic kind that streams weights): a model
of a few megabytes is kept whole, and gradients need it so.
"""

from __future__ import annotations

from collections.abc import Iterable

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models_base
import torch
from torch import Tensor


class Misfit(ValueError):
    """Weights that are another network's."""


def check_fit(module: torch.nn.Module, weights: dict[str, Tensor], besides: Iterable[str] = ()) -> None:
    """Raises Misfit unless `weights` are those of `module`, by name and in size; those of `besides` may be missing."""
    sizes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    missing, unknown = sorted(sizes.keys() - given.keys() - set(besides)), sorted(given.keys() - sizes.keys())
    resized = sorted(name for name in sizes.keys() & given.keys() if sizes[name] != given[name])
    if missing or unknown or resized:
        raise Misfit(
            f"the weights do not fit the model: {len(missing)} missing, {len(unknown)} unknown, {len(resized)} of "
            f"another size, such as {[*missing, *unknown, *resized][0]}"
        )


def assemble_model(
    config: comfy.supported_models_base.BASE, weights: dict[str, Tensor], dtype: torch.dtype = torch.float32
) -> comfy.model_patcher.ModelPatcher:
    """The diffusion model of a config with `weights` (the UNet's own names) in `dtype`. Raises Misfit if some do not
    fit.
    """
    config.set_inference_dtype(dtype, None)
    model = config.get_model({}, "", device=comfy.model_management.unet_offload_device())
    check_fit(model.diffusion_model, weights)
    model.diffusion_model.load_state_dict(weights)
    return comfy.model_patcher.ModelPatcher(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def assemble_clip(
    tokenizer: type, encoder: type, settings: dict[str, dict], weights: dict[str, Tensor], max_length: int = 77
) -> comfy.sd.CLIP:
    """A CLIP from the host's tokenizer and encoder classes, its sizes overridden.

    `settings` maps the encoder's name ("clip_l", "clip_h", "clip_g") to the config entries to change, `weights` holds
    every weight but the logit scale. `max_length` is the number of token positions, start and end included. Raises
    Misfit if some do not fit.
    """
    target = comfy.supported_models_base.ClipTarget(tokenizer, encoder)
    options = {
        f"{name}_model_config": {**changes, "max_position_embeddings": max_length} for name, changes in settings.items()
    }
    shapes = encoder(device="meta", dtype=torch.float32, model_options=options)
    check_fit(shapes, weights, besides=(f"{name}.logit_scale" for name in settings))
    lengths = {f"{name}_max_length": max_length for name in settings}
    return comfy.sd.CLIP(
        target,
        tokenizer_data=lengths,
        model_options={**options, "dtype": torch.float32},
        state_dict=weights,
        disable_dynamic=True,
    )
