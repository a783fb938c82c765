"""What the setting `layers` of Attention Regulation costs and changes on SDXL, whose blocks have ten layers at 1/4.

    python3 dev.py run benchmarks/regulation_layers.py [--json] [--repeats 2]

Random weights, float32, one thread, processor time. Two measurements:

1. Cost, at SDXL's real width and a picture of 1024 x 1024: the time of one edit over that of the transformer block it
   happens in, both rows of a guided call. The sixty such blocks of SDXL taken for the whole network (they are most of
   it), that gives a guided call's time over plain: an upper bound.
2. Effect, on the whole network with SDXL's wiring and a fifth of its width, a picture of 512 x 512: the targets' share
   of the attention in the edited layers and in all layers at 1/4, and how far the outputs of their blocks and of the
   network move.

Random weights have no layer that places the objects and none that paints the details. So this says what a choice costs
and how much it moves, not which choice makes the better picture.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

from _pack import load_pack

load_pack()

import comfy.ops  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.supported_models  # noqa: E402
import torch  # noqa: E402
from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialTransformer  # noqa: E402
from cost import TARGETS  # noqa: E402
from prompt_fidelity.core.control.scores import ScoreEditor  # noqa: E402
from prompt_fidelity.core.maps.resolution import LAYERS, chosen_layers  # noqa: E402
from prompt_fidelity.core.maps.view import Place  # noqa: E402
from prompt_fidelity.core.methods import AttentionRegulation  # noqa: E402
from prompt_fidelity.host.models.assemble import assemble_model  # noqa: E402
from prompt_fidelity.host.models.random_models import random_weights  # noqa: E402
from prompt_fidelity.host.networks.attention import CrossAttention, split_heads  # noqa: E402
from prompt_fidelity.host.networks.base import Site  # noqa: E402
from prompt_fidelity.host.networks.edits import EditChain, LayerEdit  # noqa: E402
from prompt_fidelity.host.networks.families import network_of  # noqa: E402
from prompt_fidelity.host.networks.rows import KEY, Part  # noqa: E402
from prompt_fidelity.host.sampling.install import attach  # noqa: E402

# SDXL at 1/4: width, heads and context; blocks outside the middle one, which is never edited, and layers in each.
WIDTH, HEADS, CONTEXT, BLOCKS, DEPTH = 1280, 20, 2048, 5, 10
SIDE = 32  # of a map at 1/4 in a picture of 1024 x 1024


class NarrowSDXL(comfy.supported_models.SDXL):
    """SDXL's wiring with 64 instead of 320 channels."""

    unet_config = {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 64, "channel_mult": [1, 2, 4],
        "num_res_blocks": [2, 2, 2], "transformer_depth": [0, 0, 2, 2, DEPTH, DEPTH], "transformer_depth_middle": DEPTH,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, DEPTH, DEPTH, DEPTH], "context_dim": CONTEXT,
        "use_linear_in_transformer": True, "use_spatial_transformer": True, "use_temporal_attention": False,
        "legacy": False, "adm_in_channels": 2816, "num_classes": "sequential",
    }  # fmt: skip


def narrow_sdxl():
    config = NarrowSDXL(NarrowSDXL.unet_config)
    config.set_inference_dtype(torch.float32, None)
    shapes = config.get_model({}, "", device="meta").diffusion_model
    with torch.inference_mode():
        return assemble_model(NarrowSDXL(NarrowSDXL.unet_config), random_weights(shapes, 0))


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def regulation(layers: str) -> AttentionRegulation:
    return AttentionRegulation(replace(AttentionRegulation.PRESETS["default"], layers=layers, resolution="1/4"))


def fastest(run, repeats: int) -> float:
    """Least processor seconds of so many calls."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)


def block_costs(repeats: int) -> tuple[float, float]:
    """Seconds of one plain transformer block at 1/4 for both rows of a guided call, and of its layer's edit."""
    kind = {"context_dim": CONTEXT, "dtype": torch.float32, "operations": comfy.ops.disable_weight_init}
    block = BasicTransformerBlock(WIDTH, HEADS, WIDTH // HEADS, **kind)
    block.load_state_dict(random_weights(block, 0))
    hidden, context = randn(2, SIDE * SIDE, WIDTH), randn(2, 77, CONTEXT, seed=1)
    q, k, v = randn(2, SIDE * SIDE, WIDTH), randn(2, 77, WIDTH, seed=1), randn(2, 77, WIDTH, seed=2)

    class ConditionalRow:
        in_areas = ()

        def parts_of(self, attention: CrossAttention) -> list[Part]:
            return [Part(slice(1, 2), "positive", Place.whole(1, SIDE, SIDE), TARGETS.length)]

        def makes_map(self, size: tuple[int, int], pixels: int) -> bool:
            return True

    site, editor, chain = Site("input", 7, 0), ScoreEditor(regulation("first"), TARGETS), EditChain()
    chain.edits.append(LayerEdit(editor, ConditionalRow(), frozenset({site})))
    editor.begin(0, 0.0)
    layer = CrossAttention(site, (SIDE, SIDE), {}, *(split_heads(tensor, HEADS) for tensor in (q, k, v)))
    out = torch.zeros_like(q)
    with torch.inference_mode():
        block(hidden, context)
        plain = fastest(lambda: block(hidden, context), repeats)
        return plain, fastest(lambda: chain.applied(out, layer), 3 * repeats)


class BlockOutputs:
    """What each of the blocks with edited layers adds to its input, in the last call of the network."""

    def __init__(self, diffusion_model: torch.nn.Module) -> None:
        self.added: dict[str, torch.Tensor] = {}
        self.handles = [
            module.register_forward_hook(self._note(name))
            for name, module in diffusion_model.named_modules()
            if isinstance(module, SpatialTransformer)
            and len(module.transformer_blocks) == DEPTH
            and not name.startswith("middle")
        ]

    def _note(self, name: str):
        def note(module, args, out) -> None:
            self.added[name] = out - args[0]

        return note

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def effects() -> dict[str, dict[str, float]]:
    """For each choice: the targets' share of the attention, and how far the outputs move, in a picture's first call."""
    model = narrow_sdxl()
    levels = network_of(model.model).levels
    assert levels.count(4) == BLOCKS * DEPTH, "this is not SDXL's wiring"
    x = randn(1, 4, 64, 64)
    conditioning = [[randn(1, 77, CONTEXT, seed=1), {"pooled_output": randn(1, 1280, seed=2), KEY: TARGETS.handle}]]
    outputs = BlockOutputs(model.model.diffusion_model)

    def first_call(which) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """One step without guidance: the picture and what the blocks added."""
        with torch.inference_mode():
            start = torch.zeros_like(x)
            drawn = comfy.sample.sample(
                which, x, 1, 1.0, "euler", "normal", conditioning, conditioning, start, seed=0, disable_pbar=True
            )  # fmt: skip
        return drawn, dict(outputs.added)

    def moved(after: torch.Tensor, before: torch.Tensor) -> float:
        return float((after - before).norm() / before.norm())

    plain, plain_added = first_call(model)
    found = {}
    for layers in LAYERS:
        with torch.inference_mode():
            patched, record = attach(model, regulation(layers), TARGETS)
        drawn, added = first_call(patched)
        entry = record.edits[0]
        shares = record.maps.mean.mean((0, 2, 3))[[record.maps.names.index(name) for name in entry.names]]
        found[layers] = {
            "layers": len(entry.layers),
            "share_before": float(entry.before.mean()),
            "share_edited": float(entry.after.mean()),
            "share_all": float(shares.mean()),
            "blocks_moved": sum(moved(added[name], plain_added[name]) for name in added) / len(added),
            "output_moved": moved(drawn, plain),
        }
    outputs.remove()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    block, edit = block_costs(options.repeats)
    print("One edited layer and the transformer block around it, both rows of a guided call at 1024 x 1024:")
    print(f"  edit {1e3 * edit:.0f} ms, block {block:.2f} s ({edit / block:.1%})")
    result = {"edit_seconds": edit, "block_seconds": block, "choices": effects()}
    whole = (BLOCKS + 1) * DEPTH * block
    print("layers   edited   call over plain   share before   in edited   in all at 1/4   blocks moved   output moved")
    for layers, found in result["choices"].items():
        assert found["layers"] == BLOCKS * len(chosen_layers(layers, DEPTH))
        found["call_over_plain_at_most"] = 1 + found["layers"] * edit / whole
        print(
            f"{layers:8} {found['layers']:6} {found['call_over_plain_at_most']:17.3f} {found['share_before']:14.3f} "
            f"{found['share_edited']:11.3f} {found['share_all']:15.3f} {found['blocks_moved']:14.3f} "
            f"{found['output_moved']:14.3f}"
        )
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
