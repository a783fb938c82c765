"""The models that the shipped workflows draw with, and what they are asked to draw. The one place that says which."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """The model a workflow draws with, and prompts that it can draw. `loader`: node type, widgets and title."""

    loader: tuple[str, dict, str]
    size: tuple[int, int]
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    prompt: str
    latent: str = "EmptyLatentImage"
    download: dict | None = None  # name, url and directory of the file, as ComfyUI offers to fetch it
    guidance: float | None = None  # of Flux
    hint: str = ""
    seed: int = 0

    def sampling(self) -> dict:
        names = {"steps": self.steps, "cfg": self.cfg, "sampler": self.sampler, "scheduler": self.scheduler}
        return {**names, "negative prompt": ""}


def demo_model(name: str, prompt: str, seed: int, hint: str) -> Source:
    """One of the pack's own models, as its card says to sample it; from `seed` it lacks an object, plainly."""
    card = json.loads((ROOT / "assets" / f"tiny{name}.json").read_text())["sampling"]
    return Source(
        ("FidelityLoadDemoModel", {"model": name}, "Load Demo Model"),
        (card["width"], card["height"]),
        card["steps"],
        card["cfg"],
        card["sampler"],
        card["scheduler"],
        prompt,
        hint=hint,
        seed=seed,
    )


# What most demo workflows use.
DEMO = demo_model(
    "scenes",
    "a cat and a red backpack",
    3,
    "The demo model knows cat, dog, bird, bear, lion, horse, elephant, monkey, frog, turtle, rabbit and mouse; and, in "
    "ten colours, backpack, glasses, crown, suitcase, chair, balloon, bow, car, bowl, clock and apple.",
)
# For what TinyCLIP looks at, which knows shapes only.
SHAPES = demo_model(
    "shapes",
    "a red ball and a blue ring",
    2,
    "The demo model knows ball, ring, bar, pole, cross and cup in red, green, blue, yellow, purple, black and white.",
)


def checkpoint(file: str, url: str, **settings) -> Source:
    models = {"name": file, "url": url, "directory": "checkpoints"}
    return Source(
        ("CheckpointLoaderSimple", {"ckpt_name": file}, "Choose your checkpoint"), download=models, **settings
    )


_HUB = "https://huggingface.co"
SD15 = checkpoint(
    "v1-5-pruned-emaonly-fp16.safetensors",
    f"{_HUB}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
    size=(512, 512), steps=30, cfg=7.5, sampler="dpmpp_2m", scheduler="karras",
    prompt="a black car and a white clock",
)  # fmt: skip
SDXL = checkpoint(
    "sd_xl_base_1.0.safetensors",
    f"{_HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
    size=(1024, 1024), steps=30, cfg=6.0, sampler="dpmpp_2m", scheduler="karras",
    prompt="a red apple, a green bowl and a blue napkin on a wooden table",
)  # fmt: skip
FLUX = checkpoint(
    "flux1-dev-fp8.safetensors",
    f"{_HUB}/Comfy-Org/flux1-dev/resolve/main/flux1-dev-fp8.safetensors",
    size=(1024, 1024), steps=20, cfg=1.0, sampler="euler", scheduler="simple",
    prompt="a green dog, a purple cat and an orange bird on a sofa", latent="EmptySD3LatentImage", guidance=3.5,
)  # fmt: skip
