"""A prompt of seven words and a toy network, for tests of the loop and of what is shown of it."""

from __future__ import annotations

import torch
from prompt_fidelity.core.control.latent import LatentOptimiser
from prompt_fidelity.core.control.record import Record
from prompt_fidelity.core.prompt.targets import Attribute, Target, Targets
from torch import Tensor

PROMPT = "a black car and a white clock"
OBJECTS = (
    Target("car", "black car", (3,), (Attribute("black", (2,)),)),
    Target("clock", "white clock", (7,), (Attribute("white", (6,)),)),
)


def make_targets(objects=OBJECTS, words: str = PROMPT, chunks: int = 1, chunk: int = 77) -> Targets:
    """The prompt's targets; with several chunks, its words are spread over them in turn, with no attention between."""
    pieces = words.split()
    per_chunk = -(-len(pieces) // chunks)
    content = tuple(chunk * (i // per_chunk) + 1 + i % per_chunk for i in range(len(pieces)))
    generator = torch.Generator().manual_seed(3)
    # A few strong relations and many weak ones, as in a text encoder.
    attention = torch.rand(len(pieces), len(pieces), generator=generator).pow(6).add(1e-3).tril()
    owner = torch.tensor([p // chunk for p in content])
    attention = attention * (owner[:, None] == owner[None, :])
    attention = attention / attention.sum(-1, keepdim=True).clamp_min(1e-9)
    return Targets(words, tuple(objects), (), content, tuple(pieces), chunk * chunks, chunk, attention)


class ToyNetwork:
    """Attention of a latent [B, 4, h, w]: one linear layer and a softmax over the tokens. Counts its calls."""

    def __init__(self, h: int = 16, w: int = 16, tokens: int = 77, seed: int = 0, sharpness: float = 1.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.projection = torch.randn(4, tokens, generator=generator) * sharpness
        self.offsets = torch.randn(h, w, tokens, generator=generator) * 0.5
        self.calls = 0

    def __call__(self, z: Tensor) -> Tensor:
        self.calls += 1
        scores = torch.einsum("bchw,ck->bhwk", z, self.projection.to(z.dtype)) + self.offsets.to(z.dtype)
        return scores.softmax(dim=-1)


def latents(batch: int = 1, h: int = 16, w: int = 16, seed: int = 1) -> Tensor:
    """[batch, 4, h, w]; image i is the same whatever the batch size."""
    images = [torch.randn(4, h, w, generator=torch.Generator().manual_seed(seed * 100 + i)) for i in range(batch)]
    return torch.stack(images)


def sample(
    method, targets=None, *, batch=1, steps=10, h=16, w=16, strength=1.0, start=0.0, end=1.0, record=None, network=None
) -> Record:
    """A whole toy run with its record, as the host layer makes it."""
    targets, record, network = targets or make_targets(), record or Record(), network or ToyNetwork(h, w)
    record.begin(method, targets, strength=strength, start=start, end=end, sampler="euler", total_steps=steps)
    optimiser = LatentOptimiser(method, targets, strength, start, end, log=record.steps)
    record.warnings += optimiser.warnings
    z = latents(batch, h, w)
    for i in range(steps):
        if optimiser.wants(i / steps):
            z = optimiser.step(z, i / steps, 1.0, network, sigma=float(steps - i))
        maps = network(z)
        record.maps.add(maps, targets)
        if maps is not None and optimiser.wants(i / steps):
            optimiser.observe_after(maps)
        z = 0.98 * z
    record.end(seconds=1.5, run_seconds=4.0)
    return record


def scores_of(images=1, heads=2, h=16, w=16, tokens=77, seed=0, dtype=torch.float32):
    """Scores as a trained layer's: the start token stands out. Image i is the same whatever the number of images."""
    stack = [
        torch.randn(heads, h * w, tokens, generator=torch.Generator().manual_seed(seed * 100 + i))
        for i in range(images)
    ]
    scores = torch.stack(stack)
    scores[..., 0] += 6.0
    return scores.to(dtype)
