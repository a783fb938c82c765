"""The gradient of a whole sampling run in the memory of one step.

Backpropagation through N steps at once keeps the network's activations of all of them: about 48 GB for the published
optimiser of Space-Time Attention. Only the latents between the steps are kept here; on the way back every step is done
once more, alone, and handed the gradient of what came after it. By the chain rule that is the same gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# step(t, x, weights) → the latent after step t. Must give the same for the same arguments.
Step = Callable[[int, Tensor, Tensor], Tensor]


def run(step: Step, start: Tensor, weights: Tensor, steps: int) -> list[Tensor]:
    """The latents before every step and after the last one, `steps` + 1 of them, without gradients."""
    latents = [start.detach()]
    with torch.no_grad():
        for t in range(steps):
            latents.append(step(t, latents[-1], weights.detach()))
    return latents


def gradient(
    step: Step, latents: list[Tensor], weights: Tensor, objective: Callable[[Tensor], Tensor], first: int = 0
) -> tuple[Tensor, Tensor]:
    """(the loss, its gradient by `weights`) where the loss is `objective(latents[-1])` and `latents` come from `run`.

    Steps before `first` use no weights, so the way back ends there.
    """
    with torch.enable_grad():
        last = latents[-1].detach().requires_grad_()
        loss = objective(last)
        (onward,) = torch.autograd.grad(loss, last)
        total = torch.zeros_like(weights)
        for t in reversed(range(first, len(latents) - 1)):
            x, w = latents[t].detach().requires_grad_(t > first), weights.detach().requires_grad_()
            after = step(t, x, w)
            inputs = [w, x] if t > first else [w]
            if after.requires_grad:
                by_weights, *by_latent = torch.autograd.grad(after, inputs, onward, allow_unused=True)
                total = total if by_weights is None else total + by_weights
            else:  # the first step that counts, and nothing is mixed in it
                by_latent = []
            if t > first:
                onward = by_latent[0]
    return loss.detach(), total
