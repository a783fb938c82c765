"""Gradients through a network in float16, whose numbers end at 6e-8 and 65504.

The loss and the update are float32, at both ends of the pass. What goes back through the network in between is scaled,
each image's by a power of two, so that neither end of float16 is near; so nothing else about it changes.
"""

import torch

_LARGEST = 16.0  # of what enters the network from the maps; further back it may grow


class Scaling:
    """The scaling of one gradient pass: what leaves the maps is multiplied by what reaches the latent divided by."""

    def __init__(self, dtype: torch.dtype):
        self.needed = dtype == torch.float16
        self.scale: torch.Tensor | None = None

    def down(self, latent: torch.Tensor) -> torch.Tensor:
        """The latent [B, ...] as it is; its gradient is divided."""
        return _Down.apply(latent, self) if self.needed else latent

    def up(self, maps: torch.Tensor) -> torch.Tensor:
        """The maps [B, ...] as they are; their gradient is multiplied."""
        return _Up.apply(maps, self) if self.needed and maps.requires_grad else maps


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx, maps: torch.Tensor, scaling: Scaling) -> torch.Tensor:
        ctx.scaling = scaling
        return maps.view_as(maps)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        scaling = ctx.scaling
        if scaling.scale is None:  # several methods' maps, whose gradients meet further back, have one scale
            largest = gradient.flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
            exponents = torch.where(largest.isfinite(), (_LARGEST / largest).log2().floor().clamp(-60, 60), 0.0)
            scaling.scale = exponents.exp2()
        return gradient * _along(scaling.scale, gradient), None


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx, latent: torch.Tensor, scaling: Scaling) -> torch.Tensor:
        ctx.scaling = scaling
        return latent.view_as(latent)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        scale, ctx.scaling.scale = ctx.scaling.scale, None
        return gradient if scale is None else gradient / _along(scale, gradient), None


def _along(scale: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return scale.to(like.device).view(-1, *[1] * (like.dim() - 1))
