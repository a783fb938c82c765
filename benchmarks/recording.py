"""What recording costs in one block of the published width, for a picture of 1024²: its time and its arithmetic over
those of the block without it. Both are measured in the same run, with PyTorch's fused attention and one row, as with
cfg 1: where a negative prompt is drawn beside it, half of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext

import comfy.ops
import kept
import torch
from comfy.ldm.modules.attention import SpatialTransformer
from prompt_fidelity.host.networks import families
from prompt_fidelity.host.networks.tap import Tap
from torch.utils.flop_counter import FlopCounterMode
from widths import PUBLISHED

LATENT = (128, 128)
DTYPE = torch.bfloat16
BLOCKS = ("flux", "qwen_image", "z_image", "sd35_large", "sdxl")
_ATEN = torch.ops.aten


def recording_costs(repeats: int) -> dict:
    """For each of BLOCKS the ratios of processor time and of floating-point operations."""
    found = {}
    for family in BLOCKS:
        with torch.inference_mode():
            call, block, tap = (_unet if family == "sdxl" else _transformer)(family)
            try:
                found[family] = _compared(call, block, tap, repeats)
            finally:
                tap.remove()
        print(f"  {family:12s} {found[family]['time']:.3f} x the time, {found[family]['flop']:.3f} x FLOP", flush=True)
    return {"recording": found}


def _compared(call: Callable, block: torch.nn.Module, tap: Tap, repeats: int) -> dict:
    times: dict[bool, list[float]] = {False: [], True: []}
    flop = {}
    for number in range(repeats + 1):
        for records in (False, True):
            counter = FlopCounterMode(display=False, custom_mapping={_FUSED: _flop_of_fused}) if number == 0 else None
            with tap.listening() if records else nullcontext() as recording, _timed(block, counter) as seconds:
                call()
            assert not records or recording.result() is not None
            if counter is None:
                times[records].append(sum(seconds))
            else:
                flop[records] = counter.get_total_flops()
    return {"time": min(times[True]) / min(times[False]), "flop": flop[True] / flop[False]}


@contextmanager
def _timed(block: torch.nn.Module, counter: FlopCounterMode | None):
    """Processor seconds of each time that the block runs."""
    before, seconds = vars(block).get("forward"), []
    forward = block.forward

    def timed(*arguments, **named):
        started = time.process_time()
        with counter or nullcontext():
            out = forward(*arguments, **named)
        seconds.append(time.process_time() - started)
        return out

    block.forward = timed
    try:
        yield seconds
    finally:
        if before is None:
            del block.forward
        else:
            block.forward = before


_FUSED = _ATEN._scaled_dot_product_flash_attention_for_cpu.default


def _flop_of_fused(q, k, v, *arguments, out_shape=None, **named) -> int:
    rows, heads, queries, width = q
    return 2 * rows * heads * queries * k[2] * (width + v[3])


def _transformer(family: str):
    """The network with one block of each kind, on the processor."""
    published = PUBLISHED[family]
    model = published.model(DTYPE, "cpu", **dict.fromkeys(published.depths, 1))
    network, known = model.diffusion_model, families.network_of(model)
    _filled(network)
    site = next(iter(known.sites))
    x, named = published.inputs(LATENT, DTYPE, "cpu")
    tokens = published.text[0]
    tap = Tap(known, kept.OnePicture(LATENT, tokens), frozenset({site}), tokens, known.grid(*LATENT), kept.PROMPT)
    options = _options(tap)
    return lambda: network(x, torch.ones(1), **named, transformer_options=options), known.modules[site], tap


def _unet(family: str):
    """One of SDXL's transformers in the resolution that is looked at, on the processor."""
    known = families.network_of(kept.model_of(family, DTYPE))
    sites, (h, w) = known.looked_at("auto", *LATENT)
    site = next(iter(site for site in known.sites if site in sites))
    whole = SpatialTransformer(1280, 20, 64, depth=1, context_dim=2048, use_linear=True, dtype=DTYPE,
                               operations=comfy.ops.disable_weight_init)  # fmt: skip
    _filled(whole)
    tap = Tap(known, kept.OnePicture(LATENT), frozenset({site}), 77, (h, w))
    options = _options(tap) | {"block": (site.block, site.number)}
    x, context = torch.ones(1, 1280, h, w, dtype=DTYPE), torch.ones(1, 77, 2048, dtype=DTYPE)
    return lambda: whole(x, context, transformer_options=dict(options)), whole, tap


def _options(tap: Tap) -> dict:
    model_options = {"transformer_options": {"optimized_attention_override": kept.pytorchs}}
    tap.install(model_options)
    return model_options["transformer_options"] | {"uuids": [0], "cond_or_uncond": [0]}


def _filled(module: torch.nn.Module) -> None:
    """Numbers that are neither nothing nor too small to count with fast."""
    for values in (*module.parameters(), *module.buffers()):
        if values.is_floating_point():
            values.fill_(0.01)
