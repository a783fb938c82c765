"""A VAE without training: the host's TAESD with weights set by hand, so that it computes 8 x 8 block means and back.

Encoding takes the mean colour of each 8 x 8 block and maps it linearly to four channels; decoding inverts the map and
interpolates smoothly. TAESD's layers are plain convolutions with ReLU, so both are exact up to its clamp (tanh) and the
interpolation: a decoded picture's block means differ from the latent's colours only near sharp edges.
"""

from __future__ import annotations

import comfy.latent_formats
import comfy.sd
import comfy.taesd.taesd
import torch
from torch import Tensor

# Four channels carry three colours as a tight frame (the corners of a tetrahedron), so noise weighs equally on each.
FRAME = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]) / 3.0**0.5
INVERSE = 0.75 * FRAME.T  # [3, 4]
CENTRE = 0.68  # grey that becomes a zero latent
GAIN = 5.0  # makes the model's latents of TinyShapes' pictures about unit variance

SCALE = 0.005  # TAESD's clamp bends values above about .3: keep what passes it that small
SHARPEN = 0.25  # undoes most of the interpolation's blur before it happens


def pictures_to_latents(pictures: Tensor, block: int = 8) -> Tensor:
    """What encoding computes, in the model's own scale: [b, h, w, 3] in 0..1 -> [b, 4, h/block, w/block]."""
    means = torch.nn.functional.avg_pool2d(pictures.movedim(-1, 1), block)
    return GAIN * torch.einsum("lc,bchw->blhw", FRAME.to(means), means - CENTRE)


def _blur(side: float) -> Tensor:
    """3 x 3 kernel of weight 1, separable: `side`, 1 - 2 `side`, `side`. A negative side sharpens."""
    line = torch.tensor([side, 1.0 - 2.0 * side, side])
    return torch.outer(line, line)


def state_dict() -> dict[str, Tensor]:
    """Weights for the host's TAESD, float32. Colours travel through the decoder as p - n, both kept positive for its
    ReLUs.
    """
    weights = {
        name: torch.zeros_like(value) for name, value in comfy.taesd.taesd.TAESD(latent_channels=4).state_dict().items()
    }
    to_vae = 1.0 / comfy.latent_formats.SD15().scale_factor  # the model's latents times this are the VAE's

    encoder = "taesd_encoder."
    mean = torch.zeros(3, 3)
    mean[1:, 1:] = 0.25  # a stride of 2 visits every second pixel: the kernel's centre and the ones right and below
    for channel in range(3):
        weights[encoder + "0.weight"][channel, channel, 1, 1] = 1.0
        for layer in ("2", "6", "10"):
            weights[f"{encoder}{layer}.weight"][channel, channel] = mean
    weights[encoder + "14.weight"][:, :3, 1, 1] = SCALE * to_vae * GAIN * FRAME
    weights[encoder + "14.bias"][:] = -SCALE * to_vae * GAIN * CENTRE * FRAME.sum(1)

    decoder = "taesd_decoder."
    unmap = INVERSE[:, :, None, None] * _blur(-SHARPEN) / (GAIN * to_vae * SCALE)  # [3, 4, 3, 3]
    weights[decoder + "1.weight"][0:3] = unmap
    weights[decoder + "1.weight"][3:6] = -unmap
    for channel in range(6):
        for layer in ("7", "12", "17"):
            weights[f"{decoder}{layer}.weight"][channel, channel] = _blur(0.25)
    for channel in range(3):
        weights[decoder + "19.weight"][channel, channel, 1, 1] = 1.0
        weights[decoder + "19.weight"][channel, 3 + channel, 1, 1] = -1.0
    weights[decoder + "19.bias"][:] = CENTRE

    weights["vae_scale"] = torch.tensor(SCALE)
    return weights


def block_mean_vae() -> comfy.sd.VAE:
    """The host's VAE around those weights: latents of shape [b, 4, h/8, w/8] in Stable Diffusion 1.x's scale."""
    return comfy.sd.VAE(sd=state_dict())
