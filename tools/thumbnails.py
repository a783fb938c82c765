"""Draw every workflow on the real host and write its thumbnail beside it: workflows/NAME.json -> workflows/NAME.jpg.

    python3 dev.py run tools/thumbnails.py [NAME ...]

Above the picture drawn plainly and the one drawn with the method, below where the model looked for the objects.
Prompt, seeds and all settings are those in the workflow's file, so what is shown is what the artist gets.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from _pack import load_pack  # noqa: E402

load_pack()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402
from prompt_fidelity.core.drawing import PAPER  # noqa: E402
from prompt_fidelity.core.methods import METHODS  # noqa: E402
from prompt_fidelity.core.methods.auto import Auto  # noqa: E402
from prompt_fidelity.core.show import render  # noqa: E402
from prompt_fidelity.core.show.colours import colours_of  # noqa: E402
from prompt_fidelity.core.show.pictures import object_sheets  # noqa: E402
from prompt_fidelity.host.layout.predictors import PREDICTORS  # noqa: E402
from prompt_fidelity.nodes.apply import FidelityApply  # noqa: E402
from prompt_fidelity.nodes.demo import FidelityLoadDemoCLIP, FidelityLoadDemoModel  # noqa: E402
from prompt_fidelity.nodes.layout import FidelityPredictLayout  # noqa: E402
from prompt_fidelity.nodes.optimise import FidelityOptimiseSpaceTime  # noqa: E402
from prompt_fidelity.nodes.targets import FidelityExtractTargets  # noqa: E402
from torch.nn.functional import interpolate  # noqa: E402

import nodes as host  # noqa: E402

SIDE = 512  # square, as the template browser shows them
CELL = 256  # height of each picture, before the whole sheet is brought to SIDE


def widgets(workflow: dict, kind: str) -> list:
    """The widget values of the workflow's first node of a type, in their order on the node."""
    return next(node["widgets_values"] for node in workflow["nodes"] if node["type"] == kind)


def draw(model, vae, positive, negative, workflow: dict) -> torch.Tensor:
    """What the workflow's KSampler and VAE Decode make of `model`: a picture [1, H, W, 3]."""
    seed, _, steps, cfg, sampler, scheduler, denoise = widgets(workflow, "KSampler")
    width, height, _ = widgets(workflow, "EmptyLatentImage")
    latent = host.EmptyLatentImage().generate(width, height, 1)[0]
    drawn = host.KSampler().sample(model, seed, steps, cfg, sampler, scheduler, positive, negative, latent, denoise)[0]
    return host.VAEDecode().decode(vae, drawn)[0]


def predicted_layout(workflow: dict, targets, model, positive):
    """What the workflow's Predict Layout gives; None in a workflow without one."""
    if all(node["type"] != "FidelityPredictLayout" for node in workflow["nodes"]):
        return None
    width, height, predictor, *settings, seed, _ = widgets(workflow, "FidelityPredictLayout")
    names = (field.name for field in fields(PREDICTORS[predictor]))
    chosen = {"predictor": predictor, **dict(zip(names, settings, strict=True))}
    return FidelityPredictLayout.execute(targets, width, height, chosen, seed, model, positive).args[0]


def optimised(workflow: dict, method, model, positive, negative, targets, layout, vae):
    """The method as the workflow's Optimise Space-Time gives it; as it is in a workflow without that node."""
    if all(node["type"] != "FidelityOptimiseSpaceTime" for node in workflow["nodes"]):
        return method
    seed, _, steps, cfg, scheduler, epochs, rate = widgets(workflow, "FidelityOptimiseSpaceTime")
    latent = host.EmptyLatentImage().generate(*widgets(workflow, "EmptyLatentImage")[:2], 1)[0]
    clip, vision = FidelityLoadDemoCLIP.execute().args
    inputs = (
        model,
        positive,
        negative,
        targets,
        layout,
        vae,
        clip,
        vision,
        latent,
        seed,
        steps,
        cfg,
        scheduler,
        epochs,
        rate,
        method,
    )
    return FidelityOptimiseSpaceTime.execute(*inputs).args[0]


def thumbnail(workflow: dict) -> Image.Image:
    """Two pictures and two maps on one square sheet."""
    name, *preset = widgets(workflow, "FidelitySelectMethod")
    method = Auto(METHODS) if name == "auto" else METHODS[name](METHODS[name].PRESETS[preset[0]])
    model, clip, vae = FidelityLoadDemoModel.execute().args
    positive, targets, _ = FidelityExtractTargets.execute(clip, *widgets(workflow, "FidelityExtractTargets")).args
    negative = host.CLIPTextEncode().encode(clip, *widgets(workflow, "CLIPTextEncode"))[0]
    layout = predicted_layout(workflow, targets, model, positive)
    method = optimised(workflow, method, model, positive, negative, targets, layout, vae)
    patched, record = FidelityApply.execute(model, method, targets, *widgets(workflow, "FidelityApply"), layout).args

    plain = draw(model, vae, positive, negative, workflow)
    controlled = draw(patched, vae, positive, negative, workflow)
    names, maps = record.maps.shown(targets)
    # Enlarged first: the names on the maps of a 128-pixel picture could not be read.
    large = interpolate(controlled.movedim(-1, 1), size=(CELL, CELL), mode="bicubic").movedim(1, -1).clamp(0, 1)
    overlays = object_sheets(large, maps, names, colours_of(targets))[1:]
    sheet = render.side_by_side(
        [
            [("plain", plain[0]), (method.title, controlled[0])],
            [(f"attention to {name}", overlay) for name, overlay in zip(names[:2], overlays[:2], strict=True)],
        ],
        height=CELL,
    )
    picture = Image.fromarray((sheet[0] * 255).round().clamp(0, 255).numpy().astype(np.uint8))
    return ImageOps.pad(picture, (SIDE, SIDE), Image.Resampling.LANCZOS, color=PAPER)


def main() -> None:
    chosen = sys.argv[1:] or sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    for name in chosen:
        workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
        with torch.inference_mode():
            picture = thumbnail(workflow)
        picture.save(ROOT / "workflows" / f"{name}.jpg", quality=88)
        print(f"wrote workflows/{name}.jpg, {picture.width} x {picture.height}", flush=True)


if __name__ == "__main__":
    main()
