"""What the methods cost: time and memory of an update against the published way, whole pictures against plain ones.

    python3 dev.py run benchmarks/cost.py [--json] [--parts update] [--size 512] [--repeats 2]

Every figure is a ratio of two things measured in this run. The update is measured on the SD1.5 architecture with random
weights, in float32, through the host; whole pictures are drawn with the demo model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import contextmanager

from _pack import load_pack

load_pack()

import comfy.sample  # noqa: E402
import guided  # noqa: E402
import kept  # noqa: E402
import recording  # noqa: E402
import regulation  # noqa: E402
import torch  # noqa: E402
from prompt_fidelity.core.maps.probabilities import MapMean, probabilities  # noqa: E402
from prompt_fidelity.core.methods import METHODS  # noqa: E402
from prompt_fidelity.core.prompt.targets import Target, Targets  # noqa: E402
from prompt_fidelity.host.models.assemble import assemble_model  # noqa: E402
from prompt_fidelity.host.models.demo_model import demo_card, load_demo_model  # noqa: E402
from prompt_fidelity.host.models.random_models import random_weights  # noqa: E402
from prompt_fidelity.host.networks.attention import split_heads  # noqa: E402
from prompt_fidelity.host.networks.families import network_of  # noqa: E402
from prompt_fidelity.host.networks.rows import KEY  # noqa: E402
from prompt_fidelity.host.sampling.grad import differentiable  # noqa: E402
from prompt_fidelity.host.sampling.install import attach  # noqa: E402
from prompt_fidelity.host.sampling.kept import Kept, alias  # noqa: E402
from prompt_fidelity.host.text import encode_with_targets  # noqa: E402

PROMPTS = ("a red ball and a blue ring", "a green bar and a yellow pole", "a blue ball and a red bar and a green ring")
PARTS = ("layer", "image", "update", "guided", "pictures", "kept", "streamed", "recording")


# Two objects of "a black car and a white clock", as the CLIP tokenizer places them.
TARGETS = Targets(
    "a black car and a white clock", (Target("car", "a black car", (3,)), Target("clock", "a white clock", (7,))), (),
    (1, 2, 3, 4, 5, 6, 7), ("a", "black", "car", "and", "a", "white", "clock"), 77, 77,
)  # fmt: skip


def sd15():
    """SD1.5 with seeded random weights, through the host's own classes."""
    config = kept.SD15(kept.SD15.unet_config)
    config.set_inference_dtype(torch.float32, None)
    shapes = config.get_model({}, "", device="meta").diffusion_model
    with torch.inference_mode():
        return assemble_model(kept.SD15(kept.SD15.unet_config), random_weights(shapes, 0))


class SavedBytes:
    """Counts the bytes that autograd keeps for the backward pass: each storage once, weights left out."""

    def __init__(self, network: torch.nn.Module):
        self.weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
        self.storages: dict[int, int] = {}

    def __enter__(self):
        # The pass has hooks of its own, and of several hooks PyTorch calls the innermost alone.
        self.keep = keep = Kept.keep
        Kept.keep = lambda watch, tensor: keep(watch, self._note(tensor))
        return self

    def __exit__(self, *error):
        Kept.keep = self.keep

    def _note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def total(self) -> int:
        return sum(self.storages.values())


def ours(model, conditioning, x) -> float:
    """Seconds of one update, as the host's sampler sees it: one Euler step with Attend-and-Excite, no refinement."""
    method = METHODS["attend_and_excite"]
    settings = type(method().settings)(refine_steps=0, resolution="1/4")
    with torch.inference_mode():
        patched, record = attach(model, method(settings), TARGETS)
        comfy.sample.sample(
            patched,
            x,
            1,
            1.0,
            "euler",
            "normal",
            conditioning,
            conditioning,
            torch.zeros_like(x),
            seed=0,
            disable_pbar=True,
        )
    assert record.updates == 1, "the update did not run"
    return record.seconds


def published(model, conditioning, x) -> float:
    """Seconds of one update as the papers' code makes it: the whole network, with every layer's probabilities written
    out.
    """
    network = model.model
    method = METHODS["attend_and_excite"]()
    mean = MapMean()
    tokens = conditioning[0][0]

    def explicit(func, q, k, v, heads, *args, transformer_options=None, **kwargs):
        probs = probabilities(split_heads(q, heads), split_heads(k, heads))
        h, w = transformer_options["activations_shape"][-2:]
        if k.shape[1] == tokens.shape[1] and h * 4 == x.shape[-2] and transformer_options["block"][0] != "middle":
            mean.add(probs, h, w)
        return (probs @ split_heads(v, heads)).transpose(1, 2).flatten(2)

    started = time.perf_counter()
    with differentiable(network):
        leaf = (x * 14.6).requires_grad_()
        network.apply_model(
            leaf,
            torch.tensor([14.6]),
            c_crossattn=tokens.clone(),
            transformer_options={"optimized_attention_override": explicit},
        )
        loss = method.loss(mean.mean, TARGETS).per_image.sum()
        torch.autograd.grad(loss, leaf)
    return time.perf_counter() - started


def plain_step(model, conditioning, x) -> float:
    """Seconds of one sampling step with guidance: two rows through the network."""
    started = time.perf_counter()
    with torch.inference_mode():
        comfy.sample.sample(
            model,
            x,
            1,
            7.0,
            "euler",
            "normal",
            conditioning,
            conditioning,
            torch.zeros_like(x),
            seed=0,
            disable_pbar=True,
        )
    return time.perf_counter() - started


def latent_and_prompt(size: int) -> tuple[torch.Tensor, list]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, size // 8, size // 8, generator=generator)
    return x, [[torch.randn(1, 77, 768, generator=generator), {KEY: TARGETS.handle}]]


def update_costs(model, conditioning, x, repeats: int) -> dict:
    times: dict[str, list[float]] = {"ours": [], "published": [], "plain step": []}
    saved: dict[str, int] = {}
    for round_ in range(repeats + 1):
        for name, run in (("ours", ours), ("published", published), ("plain step", plain_step)):
            if round_ == 0 and name != "plain step":  # the counting round doubles as warm-up
                with SavedBytes(model.model) as counter:
                    run(model, conditioning, x)
                saved[name] = counter.total
            else:
                times[name].append(run(model, conditioning, x))
            print(f"  round {round_}: {name} {times[name][-1] if times[name] else 0:.1f} s", flush=True)
    best = {name: min(values) for name, values in times.items()}
    return {
        "update_time_ratio": best["ours"] / best["published"],
        "update_bytes_ratio": saved["ours"] / saved["published"],
        "update_bytes": saved["ours"],
        "published_bytes": saved["published"],
        "update_per_plain_step": best["ours"] / best["plain step"],
        "published_per_plain_step": best["published"] / best["plain step"],
    }


def picture_costs(repeats: int) -> dict:
    """Whole pictures with the demo model: each method's time over plain sampling's, the median over
    prompts and seeds.
    """
    with torch.inference_mode():
        model, clip, _ = load_demo_model()
    defaults = demo_card()["sampling"]
    ratios: dict[str, list[float]] = {"record_only": [], **{name: [] for name in METHODS}}
    calls: dict[str, list[int]] = {name: [] for name in METHODS}
    for prompt in PROMPTS:
        with torch.inference_mode():
            positive, targets = encode_with_targets(clip, prompt)
            negative = encode_with_targets(clip, "")[0]
            variants = {"record_only": attach(model, METHODS["attend_and_excite"](), targets, strength=0.0)}
            variants |= {name: attach(model, method(), targets) for name, method in METHODS.items()}

        def draw(patched, seed: int, positive=positive, negative=negative) -> float:
            noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
            started = time.perf_counter()
            with torch.inference_mode():
                comfy.sample.sample(
                    patched, noise, defaults["steps"], defaults["cfg"], defaults["sampler"], defaults["scheduler"],
                    positive, negative, torch.zeros_like(noise), seed=seed, disable_pbar=True,
                )  # fmt: skip
            return time.perf_counter() - started

        draw(model, 0)
        for seed in range(repeats):
            plain = draw(model, seed)
            for name, (patched, record) in variants.items():
                ratios[name].append(draw(patched, seed) / plain)
                if name in calls:
                    calls[name].append(record.evaluations)
    return {
        "picture_time_ratio": {name: statistics.median(values) for name, values in ratios.items()},
        "extra_network_calls": {name: statistics.median(values) for name, values in calls.items()},
        "picture_steps": defaults["steps"],
    }


# Pictures of the size that each family is made for, as latents.
KEPT = {
    "sd15 512": ("sd15", (64, 64)),
    "sd21 768": ("sd21", (96, 96)),
    "sdxl 1024": ("sdxl", (128, 128)),
    "flux 1024": ("flux", (128, 128)),
    "sd35_large 1024": ("sd35_large", (128, 128)),
    "z_image 1024": ("z_image", (128, 128)),
    "qwen_image 1024": ("qwen_image", (128, 128)),
}


def kept_bytes() -> dict:
    """Bytes that a gradient pass keeps, plainly and with blocks that are run again, counted and estimated."""
    found = {}
    for name, (family, latent) in KEPT.items():
        model = kept.model_of(family, torch.bfloat16)
        network = network_of(model)
        sites, _ = network.looked_at("auto", *latent)
        sizes = found[name] = {}
        for key, again in (("kept", False), ("run_again", True)):
            sizes[key] = kept.kept(family, latent, torch.bfloat16, again)
            estimate = "estimated" + ("_run_again" if again else "")
            sizes[estimate] = network.kept_bytes((1, 4, *latent), 2, again, sites)
    return {"kept_bytes": found}


@contextmanager
def resident(network: torch.nn.Module):
    """The plain way to a gradient: every weight on the device, and autograd keeps aliases of them."""
    swapped = []
    with torch.inference_mode(False), torch.enable_grad():
        try:
            for part in network.modules():
                for name, weight in part._parameters.items():
                    if weight is not None:
                        swapped.append((part._parameters, name, weight))
                        part._parameters[name] = alias(weight)
            yield
        finally:
            for weights, name, weight in swapped:
                weights[name] = weight


def streamed_costs(size: int, repeats: int) -> dict:
    """Processor seconds of a gradient pass whose layers fetch their weights again, over one that keeps them."""
    model = sd15().model
    network = model.diffusion_model
    x, conditioning = latent_and_prompt(size)
    streamed = [part for part in network.modules() if hasattr(part, "comfy_cast_weights")]

    def update(way, cast: bool) -> float:
        for part in streamed:
            part.comfy_cast_weights = cast
        started = time.process_time()
        with way:
            leaf = x.clone().requires_grad_()
            out = network(leaf, torch.tensor([500.0]), context=conditioning[0][0].clone(), transformer_options={})
            torch.autograd.grad(out.square().mean(), leaf)
        return time.process_time() - started

    ways = {
        "resident": lambda: update(resident(network), False),
        "streamed": lambda: update(differentiable(network), True),
        "run again": lambda: update(kept.with_blocks_run_again(model), True),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            times[name].append(run())
            print(f"  {name} {times[name][-1]:.1f} s", flush=True)
    best = {name: min(values) for name, values in times.items()}
    return {
        "streamed_time_ratio": best["streamed"] / best["resident"],
        "run_again_time_ratio": best["run again"] / best["resident"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, help="only these (all of it takes half an hour on a slow processor)"
    )
    parser.add_argument("--size", type=int, default=512, help="picture side for the SD1.5 update, in pixels")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4, help="of a whole picture")
    options = parser.parse_args()
    parts = options.parts or PARTS
    result: dict = {}
    if "layer" in parts:
        print(
            "One layer edited by Attention Regulation, 16 x 16, 8 heads, 2 targets, 20 iterations, float32, one "
            "thread:",
            flush=True,
        )
        result |= regulation.layer_costs(TARGETS)
        print(f"  {result['regulation_speedup']:.0f} x as fast as the published way", end=" ")
        print(f"({result['regulation_ms']:.2f} of {result['regulation_published_ms']:.0f} ms; ", end="")
        print(f"median of the rounds {result['regulation_speedup_median']:.0f} x), ", end="")
        print(f"largest difference of the edited scores {result['regulation_difference']:.1e}")
    if {"image", "update", "guided"} & set(parts):
        model, (x, conditioning) = sd15(), latent_and_prompt(options.size)
    if "image" in parts:
        print(
            f"A picture with Attention Regulation on the SD1.5 architecture, {options.size} x {options.size}, float32:",
            flush=True,
        )
        result |= regulation.image_costs(model, conditioning, x, TARGETS, max(options.repeats, 2), options.steps)
        print(
            f"  {result['regulation_image_ratio']:.3f} x plain, {result['regulation_layers']} layers edited in half of "
            f"the steps (published 1.488 x)"
        )
    if "update" in parts:
        print(
            f"One update on the SD1.5 architecture, {options.size} x {options.size}, float32, "
            f"{torch.get_num_threads()} threads:",
            flush=True,
        )
        result |= update_costs(model, conditioning, x, options.repeats)
        print(f"  time            {result['update_time_ratio']:.2f} x the published way's")
        print(
            f"  kept for backward {result['update_bytes_ratio']:.2f} x ({result['update_bytes'] / 1e9:.2f} of "
            f"{result['published_bytes'] / 1e9:.2f} GB)"
        )
        print(
            f"  one update takes {result['update_per_plain_step']:.2f} x a plain step with guidance (published way "
            f"{result['published_per_plain_step']:.2f})"
        )
    if "guided" in parts:
        print(f"A picture of {options.size} x {options.size} with losses that act in the prediction:", flush=True)
        costs = guided.guided_costs(model, conditioning, x, TARGETS, options.repeats, options.steps, SavedBytes)
        result |= costs
        if "update_bytes" in result:
            ratios = {name: count / result["update_bytes"] for name, count in costs["guided_bytes"].items()}
            result["guided_bytes_ratio"] = ratios
        for name, ratio in costs["guided_image_ratio"].items():
            kept, more = costs["guided_bytes"][name] / 1e9, costs["guided_calls"][name]
            print(f"  {name:20s} {ratio:.2f} x plain, {more} further rows, {kept:.2f} GB kept for backward")
    if "pictures" in parts:
        print("Whole pictures with the demo model:", flush=True)
        result |= picture_costs(max(options.repeats, 2))
        for name, ratio in result["picture_time_ratio"].items():
            extra = result["extra_network_calls"].get(name)
            print(
                f"  {name:20s} {ratio:.2f} x plain"
                + (f", {extra:g} extra calls in {result['picture_steps']} steps" if extra is not None else "")
            )
    if "kept" in parts:
        print("Kept for backward in half precision, at the published widths:", flush=True)
        result |= kept_bytes()
        for name, sizes in result["kept_bytes"].items():
            print(f"  {name:12s} {sizes['kept'] / 1e9:.2f} GB, run again {sizes['run_again'] / 1e9:.3f} GB", end=" ")
            print(f"(estimated {sizes['estimated'] / 1e9:.2f} and {sizes['estimated_run_again'] / 1e9:.3f})")
    if "recording" in parts:
        print("Recording in one block of the published width, 1024 x 1024, bfloat16, one row:", flush=True)
        result |= recording.recording_costs(max(options.repeats, 2))
    if "streamed" in parts:
        print(f"A gradient pass on the SD1.5 architecture, {options.size} x {options.size}, float32:", flush=True)
        result |= streamed_costs(options.size, max(options.repeats, 3))
        print(f"  streamed weights {result['streamed_time_ratio']:.2f} x resident ones")
        print(f"  run again        {result['run_again_time_ratio']:.2f} x")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
