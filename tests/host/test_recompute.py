"""Blocks that are run again in the backward pass: the same bits, and less that is kept."""

import pytest
import torch
from comfy_extras import nodes_freelunch
from hostkit import FAMILIES, ONE_A_STEP, fingerprint, models, noise, patched, sample
from prompt_fidelity.host.networks.unet import blocks, cross_attention_sites
from prompt_fidelity.host.sampling import gradient_pass, guidance
from prompt_fidelity.host.sampling.grad import differentiable
from streaming import stream_weights
from test_gradient import gradient_of, probe


def run_again(monkeypatch, on: bool) -> list[tuple[int, int]]:
    """Every gradient pass from now on runs its blocks again, or none; (blocks run, bytes kept at its end) of each."""
    seen = []

    def always(network, *others, run_again=None, taps=()):
        taps = taps or [guide.tap for guide in ()]
        return differentiable(network, *others, run_again=network.diffusion_model if on else None, taps=taps)

    for module in (gradient_pass, guidance):
        monkeypatch.setattr(module, "differentiable", always)
    return seen
