"""A VAE without training: principal components of 8 x 8 patches, inside the host's VAE object.

Encoding projects each patch on 16 fixed directions, decoding sums them up again; nothing is learned and no cell looks
at another, so a latent cell says exactly what its 8 x 8 pixels hold. None of the host's VAE classes can carry this
(their convolutions see neighbours, or norms stand between them), so its object gets a module of ours with the same two
methods.
"""

from __future__ import annotations

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.taesd.taesd
import torch
from torch import Tensor, nn

PATCH = 8


class PatchComponents(nn.Module):
    """`mean` [192], `basis` [channels, 192] with orthonormal rows, `scale` [channels], for pictures in 0..1; a patch's
    values in the order row, column, colour."""

    def __init__(self, mean: Tensor, basis: Tensor, scale: Tensor):
        super().__init__()
        self.mean, self.basis, self.scale = (
            nn.Parameter(value.float(), requires_grad=False) for value in (mean, basis, scale)
        )

    def encode(self, pictures: Tensor) -> Tensor:
        """[b, 3, h, w] in -1..1 -> [b, channels, h / 8, w / 8]."""
        rows, columns = pictures.shape[-2] // PATCH, pictures.shape[-1] // PATCH
        cut = ((pictures + 1.0) / 2.0).reshape(-1, 3, rows, PATCH, columns, PATCH).permute(0, 2, 4, 3, 5, 1)
        codes = (cut.flatten(3) - self.mean) @ self.basis.T / self.scale
        return codes.permute(0, 3, 1, 2).contiguous()

    def decode(self, latents: Tensor) -> Tensor:
        """The inverse, as far as so few components can tell."""
        rows, columns = latents.shape[-2:]
        flat = (latents.permute(0, 2, 3, 1) * self.scale) @ self.basis + self.mean
        grid = flat.reshape(-1, rows, columns, PATCH, PATCH, 3).permute(0, 5, 1, 3, 2, 4)
        return grid.reshape(-1, 3, rows * PATCH, columns * PATCH) * 2.0 - 1.0


def colours(mean: Tensor, basis: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """A cell's mean colour, -1..1, as the host's latent previews compute it: what each channel adds [channels, 3], and
    what an empty cell has [3].
    """
    of_channels = (basis * scale[:, None]).unflatten(-1, (PATCH * PATCH, 3)).mean(1)
    return 2.0 * of_channels, 2.0 * mean.unflatten(-1, (PATCH * PATCH, 3)).mean(0) - 1.0


def component_vae(mean: Tensor, basis: Tensor, scale: Tensor) -> comfy.sd.VAE:
    """The host's VAE around those components: a TAESD, whose sizes are the same, with its module changed."""
    channels = len(scale)
    taesd = comfy.taesd.taesd.TAESD(latent_channels=channels).state_dict()
    vae = comfy.sd.VAE(sd=taesd, dtype=torch.float32)
    module = PatchComponents(mean, basis, scale).eval()
    vae.first_stage_model = module
    vae.size = None
    vae.patcher = comfy.model_patcher.ModelPatcher(
        module, load_device=vae.device, offload_device=comfy.model_management.vae_offload_device()
    )
    return vae
