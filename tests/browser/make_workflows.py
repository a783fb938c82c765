"""Write `workflows/`: for every method a graph as an artist would lay it out, and a thumbnail of what it draws.

    python3 dev.py run tests/browser/make_workflows.py [--seed 3] [--screenshot graph.png]

The graphs are saved by ComfyUI's own page, so they are what it would save. Run this again when a method is added or the
inputs of a node change.
"""

import argparse
import importlib.util
import io
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("conftest", ROOT / "tests" / "conftest.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))  # loads the pack, as for the tests
sys.path[:0] = [str(ROOT / "tests" / "browser"), os.environ["COMFYUI_PATH"]]

from comfy_page import ComfyPage, open_page  # noqa: E402
from live_server import Server, start, stop  # noqa: E402
from PIL import Image  # noqa: E402

PROMPT = "a red ball and a blue ring"
SIDE = 128
SAMPLING = {"steps": 20, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
NOTE = """## {title}

Press **Run**. Both samplers start from the same noise: the upper one with {title}, the lower one without.
*View Attention Maps* shows where the model looked for each object, and what was done about it.

**With your own model:** replace *Load Demo Model* by *Load Checkpoint* (Stable Diffusion 1.5, 2.x or SDXL), set *Empty
Latent Image* to its size (512 or 1024) and the samplers to what you use with it.

Right-click a node and choose the help for what its settings do."""

WITH, WITHOUT, SAVED, PLAIN, MAPS = "8", "9", "12", "13", "14"
PLACES = {  # node id: x, y, width, height, in columns from left to right as the data flows
    "1": (0, 0, 300, 90),
    "2": (340, 0, 360, 280),
    "3": (340, 330, 360, 110),
    "4": (340, 490, 360, 110),
    "5": (740, 0, 300, 90),
    "6": (740, 140, 300, 200),
    WITH: (1080, 0, 300, 270),
    WITHOUT: (1080, 330, 300, 270),
    "10": (1420, 0, 200, 50),
    "11": (1420, 330, 200, 50),
    SAVED: (1660, 0, 300, 280),
    PLAIN: (1660, 330, 300, 270),
    MAPS: (2000, 0, 560, 700),
}
TITLES = {
    WITH: "KSampler with the method",
    WITHOUT: "KSampler without",
    PLAIN: "Without the method",
    "3": "Negative prompt",
}


def graph(method: str, preset: str, seed: int) -> dict:
    """The graph in API format."""

    def node(kind: str, **inputs) -> dict:
        return {"class_type": kind, "inputs": inputs}

    drawn = {"positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": seed, **SAMPLING}
    return {
        "1": node("FidelityLoadDemoModel"),
        "2": node("FidelityExtractTargets", clip=["1", 1], text=PROMPT, words=""),
        "3": node("CLIPTextEncode", clip=["1", 1], text=""),
        "4": node("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1),
        "5": node("FidelitySelectMethod", **{"method": method, "method.preset": preset}),
        "6": node("FidelityApply", model=["1", 0], method=["5", 0], targets=["2", 1], strength=1.0),
        WITH: node("KSampler", model=["6", 0], **drawn),
        WITHOUT: node("KSampler", model=["1", 0], **drawn),
        "10": node("VAEDecode", samples=[WITH, 0], vae=["1", 2]),
        "11": node("VAEDecode", samples=[WITHOUT, 0], vae=["1", 2]),
        SAVED: node("SaveImage", images=["10", 0], filename_prefix=f"fidelity_{method}"),
        PLAIN: node("PreviewImage", images=["11", 0]),
        MAPS: node("FidelityViewMaps", record=["6", 1], targets=["2", 1], image=["10", 0]),
    }


def laid_out(comfy: ComfyPage, prompt: dict, title: str) -> dict:
    """The workflow file: the graph as the page saves it, with places, titles, fixed seeds and a note."""
    comfy.page.evaluate(
        """async ([prompt, places, titles, note]) => {
            await app.loadApiJson(prompt, 'workflow')
            const text = LiteGraph.createNode('MarkdownNote')
            text.pos = [0, 150], text.size = [300, 450], text.title = 'Read me'
            app.graph.add(text)
            text.widgets[0].value = note
            for (const node of app.graph.nodes) {
                const place = places[node.id]
                if (place) node.pos = place.slice(0, 2), node.setSize(place.slice(2))
                if (titles[node.id]) node.title = titles[node.id]
                for (const widget of node.widgets ?? [])
                    if (widget.name === 'control_after_generate') widget.value = 'fixed'
            }
        }""",
        [prompt, PLACES, TITLES, NOTE.format(title=title)],
    )
    return without_empty(comfy.page.evaluate("app.graph.serialize()"))


def without_empty(value):
    """What the page writes, less the fields that say nothing."""
    if isinstance(value, dict):
        return {key: without_empty(part) for key, part in value.items() if part is not None and key != "localized_name"}
    return [without_empty(part) for part in value] if isinstance(value, list) else value


def thumbnail(server: Server, outputs: dict[str, dict], side: int = 384) -> Image.Image:
    """Above: without and with the method; below: where the model looked for the first two objects."""
    entries = outputs[PLAIN]["images"][:1] + outputs[SAVED]["images"][:1] + outputs[MAPS]["images"][:2]
    sheet = Image.new("RGB", (2 * side, 2 * side))
    for i, entry in enumerate(entries):
        picture = Image.open(io.BytesIO(server.image(entry))).convert("RGB")
        sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (i % 2 * side, i // 2 * side))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=3, help="of the pictures")
    parser.add_argument("--screenshot", type=Path, help="also write a picture of the first graph, after it ran")
    options = parser.parse_args()

    from prompt_fidelity.core.methods import METHODS

    folder = ROOT / "workflows"
    process, server = start(Path(os.environ["COMFYUI_PATH"]), Path(tempfile.mkdtemp()))
    try:
        with open_page(server.url) as comfy:
            for name, method in METHODS.items():
                prompt = graph(name, next(iter(method.PRESETS)), options.seed)
                workflow = laid_out(comfy, prompt, method.title)
                assert comfy.api_prompt().keys() == prompt.keys(), "the page shows another graph"
                (folder / f"{name}.json").write_text(json.dumps(workflow, indent=1) + "\n")
                thumbnail(server, server.run(comfy.api_prompt()).outputs).save(folder / f"{name}.jpg", quality=88)
                print(f"workflows/{name}.json", flush=True)
                if options.screenshot and name == next(iter(METHODS)):
                    server.forget()
                    comfy.queue()
                    comfy.screenshot(options.screenshot)
    finally:
        stop(process)


if __name__ == "__main__":
    main()
