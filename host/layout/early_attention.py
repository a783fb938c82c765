"""The model's attention to each object in the first steps of a run, without finishing the picture."""

import comfy.sample
import torch

from ...core.methods import METHODS
from ...core.prompt.targets import Targets
from ..errors import HostError
from ..networks.families import network_of
from ..sampling.install import attach

_SAMPLER, _SCHEDULER, _OF_STEPS = "euler", "normal", 20


def early_maps(
    model, conditioning, targets: Targets, width: int, height: int, steps: int, seed: int = 0
) -> torch.Tensor:
    """Maps [objects, h, w], mean over the first `steps` of 20 steps, for a picture of `width` × `height` pixels.

    Raises HostError without a model or conditioning, or if the conditioning is of another prompt.
    """
    if model is None or conditioning is None:
        raise HostError(
            "The attention predictor looks at what the model does: connect the model, and the conditioning of the same "
            "Extract Targets node, to Predict Layout."
        )
    # Strength 0 records and changes nothing, whichever method it is.
    method = next(iter(METHODS.values()))()
    listening, record = attach(model, method, targets, strength=0.0)
    latent = network_of(model.model).empty_latent(height, width)
    noise = comfy.sample.prepare_noise(latent, seed)
    # Without guidance the negative prompt is not run, so any will do.
    comfy.sample.sample(
        listening, noise, _OF_STEPS, 1.0, _SAMPLER, _SCHEDULER, conditioning, conditioning, latent,
        start_step=0, last_step=min(max(steps, 1), _OF_STEPS), disable_pbar=True, seed=seed,
    )  # fmt: skip
    if record.maps.mean is None:
        raise HostError(
            "The model showed no attention to the prompt's objects. Another node may skip the network in the first "
            "steps: switch it off."
        )
    objects, maps = [], record.maps.mean[0]
    column = 0
    for target in targets.objects:  # each object's map is followed by those of its attributes
        objects.append(maps[column])
        column += 1 + len([attribute for attribute in target.attributes if attribute.positions])
    return torch.stack(objects)
