"""One network under one of the host's loaders, in a process of its own: a part of gpu.py, which starts it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from measuring.loaders import LOADERS, Peak, drop_models, load_network, start_host

SIDES = {"sd15": 512, "sdxl": 1024}  # of a picture, in pixels
SMALL = {"sd15": "sd1", "sdxl": "sdxl"}  # the tiny networks of a dry run
PROMPT = "a black car and a white clock"
SEED = 0
EVERYWHERE = ("t_sam",)  # measured with every loader; the other methods with WIDE alone
WIDE = "default"
DTYPES = ("float32", "float16", "bfloat16")  # of "resident"; the first is what everything is compared with


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=SIDES)
    parser.add_argument("loader", choices=LOADERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--reserve", type=float, required=True, help="GB that the host is to leave free")
    parser.add_argument("--size", type=int)
    parser.add_argument("--small", action="store_true")
    return parser.parse_args()


options = arguments()
dynamic = start_host(options.loader, options.reserve)
import torch  # noqa: E402


class Trial:
    """One network, loaded one way: what a picture costs and where an update points."""

    def __init__(self, network: str, folder: Path, options: argparse.Namespace):
        from prompt_fidelity.host.text import encode_with_targets

        self.network, self.folder, self.options = network, folder, options
        self.until = time.monotonic() + 60 * options.minutes
        self.peak = Peak()
        self.side = options.size or (64 if options.small else SIDES[network])
        with torch.inference_mode():
            self.clip = self._text_encoder()
            self.positive, targets = encode_with_targets(self.clip, PROMPT)
            self.negative, _ = encode_with_targets(self.clip, "")
        self.targets = targets
        self.noise = torch.randn(1, 4, self.side // 8, self.side // 8, generator=torch.Generator().manual_seed(SEED))

    def _text_encoder(self):
        from prompt_fidelity.host.models import random_models
        from prompt_fidelity.host.models.assemble import assemble_clip

        if self.options.small:
            return random_models.load_random_model(SMALL[self.network])[1]
        _, tokenizer, encoder, settings = random_models.FAMILIES[SMALL[self.network]]
        widths = {name: {} for name in settings}
        limits = {f"{name}_model_config": {"max_position_embeddings": 77} for name in settings}
        shapes = encoder(device="meta", dtype=torch.float32, model_options=limits)
        weights = random_models.random_weights(shapes, SEED + 1, _device(), prefers=False)
        return assemble_clip(tokenizer, encoder, widths, weights)

    def weights(self) -> Path:
        """The file with the network's weights, in float16; written by whoever needs it first."""
        import kept
        import safetensors.torch
        from prompt_fidelity.host.models.random_models import random_weights

        file = self.folder / f"{self.network}.safetensors"
        if not file.is_file():
            values = random_weights(kept.network_of(self.network, torch.float32), SEED, _device())
            named = {f"model.diffusion_model.{name}": value.half().cpu() for name, value in values.items()}
            safetensors.torch.save_file(named, file)
        return file

    def model(self, dtype: torch.dtype):
        from prompt_fidelity.host.models.random_models import load_random_model

        with torch.inference_mode():
            if self.options.small:
                return load_random_model(SMALL[self.network], dtype=dtype)[0]
            return load_network(self.weights(), dtype)

    def method(self, name: str, **settings):
        from prompt_fidelity.core.methods import METHODS

        return METHODS[name](replace(METHODS[name]().settings, **settings))

    def patched(self, model, method):
        from prompt_fidelity.core.layout import Layout
        from prompt_fidelity.core.layout.boxes import Box, Placement
        from prompt_fidelity.host.sampling.install import attach

        halves = (Box(0.05, 0.2, 0.45, 0.8), Box(0.55, 0.2, 0.95, 0.8))
        placed = tuple(Placement(i, self.targets.objects[i].phrase, box) for i, box in enumerate(halves))
        with torch.inference_mode():
            return attach(model, method, self.targets, layout=Layout(placed, self.side, self.side))

    def draw(self, model, steps: int) -> float:
        """Seconds of a picture."""
        import comfy.sample

        started = time.perf_counter()
        with torch.inference_mode():
            comfy.sample.sample(
                model, self.noise, steps, 7.0, "euler", "normal", self.positive, self.negative,
                torch.zeros_like(self.noise), seed=SEED, disable_pbar=True,
            )  # fmt: skip
        return time.perf_counter() - started

    def update(self, model) -> torch.Tensor:
        """Where one update of T-SAM moves the latent, as the network sees it."""
        seen = []

        def note(apply_model, given):
            seen.append(given["input"][:1].detach().float().cpu())
            return apply_model(given["input"], given["timestep"], **given["c"])

        watched = model.clone()
        watched.set_model_unet_function_wrapper(note)
        patched, record = self.patched(watched, self.method("t_sam", acts_on="latent", refine_steps=0))
        self.draw(patched, 1)
        if record.updates != 1:
            raise RuntimeError(f"there were {record.updates} updates instead of one")
        return seen[-1] - seen[0]

    def pictures(self, model, methods: list[str]) -> dict[str, dict]:
        """Name -> seconds and peak bytes; without those that the time did not suffice for."""
        peak, found = self.peak, {}
        self.draw(model, 2)  # kernels are chosen and weights come in
        ways = [("plain", None)]
        for name in methods:
            acts = hasattr(self.method(name).settings, "acts_on")
            for how in ("prediction", "latent") if acts else ("",):
                ways.append((f"{name} in the {how}" if how else name, (name, {"acts_on": how} if how else {})))
        for title, way in ways:
            if time.monotonic() > self.until:
                break
            drawn = model if way is None else self.patched(model, self.method(way[0], **way[1]))[0]
            with peak.watching():
                seconds = self.draw(drawn, self.options.steps)
            found[title] = {"seconds": seconds, "peak_bytes": peak.bytes}
            say(f"  {title}: {seconds:.2f} s, {peak.bytes / 1e9:.2f} GB")
        return found

    def run(self, loader: str) -> dict:
        """Everything; what does not fit the card is named under "too_large"."""
        found: dict = {"too_large": []}
        for name in DTYPES if loader == "resident" else ("float16",):
            model = self.model(getattr(torch, name))
            try:
                moved = self.update(model)
                torch.save(moved, self.folder / f"{self.network}-{loader}-{name}.pt")
                if name == "float16":
                    found["pictures"] = self.pictures(model, self._methods(loader))
            except torch.OutOfMemoryError:
                found["too_large"].append(name)
            del model
            drop_models()
        return found

    def _methods(self, loader: str) -> list[str]:
        from prompt_fidelity.core.methods import METHODS

        return [
            name
            for name in METHODS
            if name in (self.options.methods or METHODS) and (loader == WIDE or name in EVERYWHERE)
        ]


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    say(f"{options.network}, {options.loader}{', dynamic VRAM' if dynamic else ''}")
    found = Trial(options.network, options.folder, options).run(options.loader)
    print(json.dumps({**found, "dynamic_vram": dynamic}))


if __name__ == "__main__":
    main()
