"""What a training looks at on its way: losses under right and wrong captions, where nouns look, what comes out."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from . import data, detector
from .components import GRID, Components
from .evaluate import KINDS, names_of
from .stream import Batch, Stream

SIGMAS = (0.97, 0.92, 0.8, 0.5)  # where the losses are taken; 1 is noise
PEAKS_AT = 0.8  # ... and where the attention is looked at
STEPS, CFG = 20, 3.0  # of the pictures that are judged


@torch.no_grad()
def look(net, stream: Stream, weight: Tensor, sides: list[int], args: argparse.Namespace) -> str:
    """The loss under the right caption and under another picture's, and where each block's nouns look."""
    lines, device = [], stream.device
    for side in sides:
        counts = (0.5, 0.5, 0.0) if side == GRID else (1.0,)
        batch = stream.batch(args.seed, 1_000_000_000, side, 64, counts, args.plain, 0.0)
        noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(9)).to(device)
        parts, shown = [], ""
        for sigma in SIGMAS:
            noisy, t = (1 - sigma) * batch.latents + sigma * noise, torch.full((64,), sigma, device=device)
            losses = []
            for rows in (batch.rows, batch.rows.roll(1, 0)):
                maps: list[Tensor] = []
                with torch.autocast(device.type, torch.bfloat16):
                    out = net(noisy, t, rows, maps, batch.corner).float()
                error = (out - (noise - batch.latents)).square().mean((0, 2, 3))
                losses.append(float((error * weight).mean()))
                if rows is batch.rows and sigma == PEAKS_AT:
                    shown = " ".join(f"{peaks_inside(m, batch, side):.2f}" for m in maps)
            parts.append(f"sigma {sigma} {losses[0]:.4f} (wrong caption {losses[1]:.4f})")
        lines.append(f"side {side}: {', '.join(parts)}, noun's peak inside by block {shown}")
    return "; ".join(lines)


def peaks_inside(maps: Tensor, batch: Batch, side: int) -> float:
    """The share of named nouns that look most at a cell of their box; maps [b, cells, tokens]."""
    peaks = maps.argmax(1).gather(1, batch.words)  # [b, 3]
    row, column = peaks // side, peaks % side
    left, top, right, bottom = batch.boxes.unbind(-1)
    inside = (left <= column) & (column < right) & (top <= row) & (row < bottom)
    return float(inside[batch.named].float().mean())


@torch.no_grad()
def success(net, texts, code: Components, count: int, shift: float) -> str:
    """Draw `count` pictures of each kind of prompt as the host would, and let the detector judge them."""
    lines, device = [], net.cos.device
    line = torch.linspace(1.0, 0.0, STEPS + 1)
    sigmas = (shift * line / (1.0 + (shift - 1.0) * line)).tolist()
    silence = texts.rows([""] * count).to(device)
    for kind in KINDS:
        rng = np.random.default_rng([KINDS.index(kind), 0])
        wanted = [names_of(kind, rng) for _ in range(count)]
        rows = torch.cat([texts.rows([data.caption_of(names) for names in wanted]).to(device), silence])
        x = torch.randn((count, 16, GRID, GRID), generator=torch.Generator().manual_seed(7)).to(device)
        for sigma, after in zip(sigmas, sigmas[1:]):
            with torch.autocast(device.type, torch.bfloat16):
                out = net(x.repeat(2, 1, 1, 1), torch.full((2 * count,), sigma, device=device), rows).float()
            asked, free = out.chunk(2)
            x = x + (after - sigma) * (free + CFG * (asked - free))
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(detector.detect, code.decode(x.cpu().numpy())))
        scores = [detector.score(things, names) for things, names in zip(found, wanted)]
        right, there, extra = (
            np.mean([part(score) for score in scores])
            for part in (lambda s: s.success, lambda s: s.presence, lambda s: s.extra > 0)
        )
        lines.append(f"{kind} {right:.2f} (there {there:.2f}, extra {extra:.2f})")
    return "drawn: " + ", ".join(lines)
