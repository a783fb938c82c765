"""Write `workflows/`: for every method a graph as an artist would lay it out. `tools/thumbnails.py` then draws the thumbnails.

    python3 dev.py run tests/browser/make_workflows.py [NAME ...] [--seed 2] [--screenshot graph.png]

The graphs are saved by ComfyUI's own page, so they are what it would save. Run this again when a method is added or the
inputs of a node change.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import uuid
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("conftest", ROOT / "tests" / "conftest.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))  # loads the pack, as for the tests
sys.path[:0] = [str(ROOT / "tests" / "browser"), os.environ["COMFYUI_PATH"]]

from comfy_page import ComfyPage, open_page  # noqa: E402
from live_server import start, stop  # noqa: E402
from prompt_fidelity.core.layout.settings import AttentionSettings  # noqa: E402
from prompt_fidelity.core.methods import METHODS  # noqa: E402
from prompt_fidelity.core.methods.base import DEMO_PRESET, OutputMix  # noqa: E402

PROMPT = "a red ball and a blue ring"
IDEA = {
    "t_sam": "Words that belong together in the text encoder are made to look at the same place of the picture, other words at other places.",
    "attend_and_excite": "Every object of the prompt is made to have a place in the picture that looks at it strongly.",
    "attention_regulation": "Inside the attention, every object of the prompt is given its share of the picture. The model is not differentiated, so this is the method for small graphics cards.",
    "syngen": "Every colour is made to look where its object looks, and both where no other word does.",
    "divide_and_bind": "The objects divide the picture between them, each with regions of its own, and every colour is bound to its object.",
    "space_time": "*Predict Layout* looks where the model begins to draw each object, and there the object's own prompt is mixed in. Or choose the predictor *solver*, which goes by words such as \"to the left of\".",
}
BY_HAND = "layout_by_hand"  # Space-Time Attention with boxes that the artist moves
HAND_TITLE = "Layout by Hand"
HAND_IDEA = """*Predict Layout* proposes where the objects go. *Create Bounding Boxes* shows its boxes: **move and size them with the mouse**, then press Run again. The canvas needs *Nodes 2.0*: switch it on in the settings of ComfyUI if the node only says so. *Layout from Boxes* gives each box to the object that it is named after, and Space-Time Attention draws the object there.

What you did on the canvas stays until Predict Layout proposes something else. To start from its boxes again, change its seed."""
NOTE = """## {title}

{idea}

**Press Run.** Both pictures are drawn from the same prompt and seed: above with the method, below without.

1. Write a prompt in *Extract Targets*. The demo model knows ball, ring, bar, pole, cross and cup in red, green, blue, yellow, purple, black and white.
2. Choose a preset in *Select Method*.
3. Change the seed in **both** samplers. The method is for pictures that lack something; others may stay much the same.
4. *View Attention Maps* shows where the model looked for each object, and what the method did.

**For a real model,** put *Load Checkpoint* in the place of *Load Demo Model*, choose the preset *{preset}* in *Select Method*, and the picture size and the sampler settings that your checkpoint likes.

Every node has a help page: select it and press **i** in the bar above it."""

WITH, WITHOUT, SAVED, PLAIN, MAPS, LOSS = "7", "10", "9", "12", "13", "14"
LAYOUT = "15"  # only for a method that works in regions
CANVAS, BOXES = "16", "17"  # only for a layout by hand
PLACES = {  # node id: x, y, width, height, in columns from left to right as the data flows
    "1": (20, 70, 320, 80),
    "2": (380, 70, 420, 340),
    "3": (380, 460, 420, 110),
    "4": (20, 480, 320, 110),
    "5": (860, 70, 320, 110),
    "6": (860, 320, 320, 230),
    WITH: (1240, 70, 320, 262),
    "8": (1600, 70, 200, 46),
    SAVED: (1840, 70, 340, 360),
    WITHOUT: (1240, 570, 320, 262),
    "11": (1600, 570, 200, 46),
    PLAIN: (1840, 570, 340, 360),
    MAPS: (2240, 70, 560, 700),
    LOSS: (2240, 830, 560, 350),
    LAYOUT: (380, 680, 420, 620),
    CANVAS: (860, 1040, 420, 560),
    BOXES: (1340, 1040, 420, 560),
}
GROUPS = (
    ("Prompt", (0, 0, 820, 620), "#3f789e"),
    ("Method", (840, 0, 360, 620), "#b58b2a"),
    ("Draw with {title}", (1220, 0, 980, 450), "#3f789e"),
    ("Draw plainly, for comparison", (1220, 500, 980, 450), "#777777"),
    ("What happened", (2220, 0, 600, 1200), "#88aa88"),
)
TITLES = {
    WITH: "KSampler, with {title}",
    SAVED: "with {title}",
    WITHOUT: "KSampler, plain",
    PLAIN: "plain",
    LOSS: "Loss plot",
    "3": "Negative prompt",
}
LAYOUT_GROUP = ("Where the objects go", (360, 610, 460, 720), "#b58b2a")
CANVAS_GROUP = ("Move the boxes by hand", (840, 970, 940, 660), "#b58b2a")
FIRST_VIEW = {"scale": 0.45, "offset": [580, 230]}  # the whole graph in a window of usual size, beside the sidebar


def graph(method: str, preset: str, seed: int) -> dict:
    """The graph in API format, with the demo model's own sampling settings."""

    def node(kind: str, **inputs) -> dict:
        return {"class_type": kind, "inputs": inputs}

    card = json.loads((ROOT / "assets" / "tinyshapes.json").read_text())["sampling"]
    sampling = {"steps": card["steps"], "cfg": card["cfg"], "sampler_name": card["sampler"], "scheduler": card["scheduler"]}
    drawn = {"positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": seed, "denoise": 1.0, **sampling}
    nodes = {
        "1": node("FidelityLoadDemoModel"),
        "2": node("FidelityExtractTargets", clip=["1", 1], text=PROMPT, words=""),
        "3": node("CLIPTextEncode", clip=["1", 1], text=""),
        "4": node("EmptyLatentImage", width=card["width"], height=card["height"], batch_size=1),
        "5": node("FidelitySelectMethod", **{"method": method, "method.preset": preset}),
        "6": node("FidelityApply", model=["1", 0], method=["5", 0], targets=["2", 1], strength=1.0),
        WITH: node("KSampler", model=["6", 0], **drawn),
        "8": node("VAEDecode", samples=[WITH, 0], vae=["1", 2]),
        SAVED: node("SaveImage", images=["8", 0], filename_prefix=f"fidelity/{method}"),
        WITHOUT: node("KSampler", model=["1", 0], **drawn),
        "11": node("VAEDecode", samples=[WITHOUT, 0], vae=["1", 2]),
        PLAIN: node("SaveImage", images=["11", 0], filename_prefix=f"fidelity/{method}_plain"),
        MAPS: node("FidelityViewMaps", record=["6", 1], targets=["2", 1], image=["8", 0]),
        LOSS: node("PreviewImage", images=[MAPS, 2]),
    }
    if issubclass(METHODS[method], OutputMix):
        settings = {field.name: field.default for field in fields(AttentionSettings)}
        predictor = {"predictor": "attention", **{f"predictor.{name}": value for name, value in settings.items()}}
        size = {"width": card["width"], "height": card["height"]}
        nodes[LAYOUT] = node("FidelityPredictLayout", targets=["2", 1], **size, **predictor, seed=seed, model=["1", 0], conditioning=["2", 0])
        nodes["6"]["inputs"]["layout"] = [LAYOUT, 0]
    return nodes


def through_the_canvas(nodes: dict) -> dict:
    """The predicted boxes go to the host's canvas, and from there to Apply."""
    card = json.loads((ROOT / "assets" / "tinyshapes.json").read_text())["sampling"]
    size = {"width": card["width"], "height": card["height"]}
    canvas = {"bboxes": [LAYOUT, 3], **size}
    boxes = {"targets": ["2", 1], "boxes": [CANVAS, 2], "json": "", **size}
    nodes |= {
        CANVAS: {"class_type": "CreateBoundingBoxes", "inputs": canvas},
        BOXES: {"class_type": "FidelityLayoutFromBoxes", "inputs": boxes},
    }
    nodes["6"]["inputs"]["layout"] = [BOXES, 0]
    nodes[SAVED]["inputs"]["filename_prefix"], nodes[PLAIN]["inputs"]["filename_prefix"] = f"fidelity/{BY_HAND}", f"fidelity/{BY_HAND}_plain"
    return nodes


@dataclass(frozen=True)
class Recipe:
    """One workflow file: its name, the graph, and what its note says."""

    name: str
    method: str
    title: str
    idea: str
    by_hand: bool = False

    def graph(self, seed: int) -> dict:
        presets = METHODS[self.method].PRESETS
        nodes = graph(self.method, DEMO_PRESET if DEMO_PRESET in presets else next(iter(presets)), seed)
        return through_the_canvas(nodes) if self.by_hand else nodes


RECIPES = [
    *(Recipe(name, name, method.title, IDEA[name]) for name, method in METHODS.items()),
    Recipe(BY_HAND, "space_time", HAND_TITLE, HAND_IDEA, by_hand=True),
]


def laid_out(comfy: ComfyPage, prompt: dict, recipe: Recipe) -> dict:
    """The workflow file: the graph as the page saves it, with places, groups, titles, fixed seeds and a note."""
    title = METHODS[recipe.method].title
    groups = [*GROUPS, *([LAYOUT_GROUP] if LAYOUT in prompt else []), *([CANVAS_GROUP] if CANVAS in prompt else [])]
    comfy.page.evaluate(
        """async ([prompt, places, titles, groups, note]) => {
            await app.loadApiJson(prompt, 'workflow')
            const text = LiteGraph.createNode('MarkdownNote')
            text.pos = [-420, 30], text.size = [380, 470], text.title = 'What to do'
            text.color = '#432', text.bgcolor = '#653'
            app.graph.add(text)
            text.widgets[0].value = note
            for (const node of app.graph.nodes) {
                const place = places[node.id]
                if (place) node.pos = place.slice(0, 2), node.setSize(place.slice(2))
                if (titles[node.id]) node.title = titles[node.id]
                if (node.type.startsWith('Fidelity')) node.properties.cnr_id = 'comfyui-prompt-fidelity'
                for (const widget of node.widgets ?? [])
                    if (widget.name === 'control_after_generate') widget.value = 'fixed'
            }
            for (const [title, [x, y, width, height], color] of groups) {
                const group = new LiteGraph.LGraphGroup(title)
                group.pos = [x, y], group.size = [width, height], group.color = color
                app.graph.add(group)
            }
        }""",
        [
            prompt,
            PLACES,
            {node: text.format(title=title) for node, text in TITLES.items()},
            [(text.format(title=title), place, colour) for text, place, colour in groups],
            NOTE.format(title=recipe.title, idea=recipe.idea, preset=next(iter(METHODS[recipe.method].PRESETS))),
        ],
    )
    saved = without_empty(comfy.page.evaluate("app.graph.serialize()"))
    steady = str(uuid.uuid5(uuid.NAMESPACE_URL, f"prompt-fidelity/{recipe.name}"))  # the page draws a new one every time
    return {**saved, "id": steady, "extra": {**saved.get("extra", {}), "ds": FIRST_VIEW}}


def without_empty(value):
    """What the page writes, less the fields that say nothing."""
    if isinstance(value, dict):
        return {key: without_empty(part) for key, part in value.items() if part is not None and key != "localized_name"}
    return [without_empty(part) for part in value] if isinstance(value, list) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="workflows to write; all of them if none is named")
    parser.add_argument("--seed", type=int, default=2, help="of the pictures: plainly, this one lacks an object")
    parser.add_argument("--screenshot", type=Path, help="also write a picture of the first graph, after it ran")
    options = parser.parse_args()
    recipes = [recipe for recipe in RECIPES if not options.names or recipe.name in options.names]

    process, server = start(Path(os.environ["COMFYUI_PATH"]), Path(tempfile.mkdtemp()))
    try:
        with open_page(server.url) as comfy:
            for recipe in recipes:
                prompt = recipe.graph(options.seed)
                workflow = laid_out(comfy, prompt, recipe)
                assert comfy.api_prompt().keys() == prompt.keys(), "the page shows another graph"
                (ROOT / "workflows" / f"{recipe.name}.json").write_text(json.dumps(workflow, indent=1) + "\n")
                print(f"workflows/{recipe.name}.json", flush=True)
                if options.screenshot and recipe is recipes[0]:
                    comfy.queue()
                    comfy.screenshot(options.screenshot)
    finally:
        stop(process)


if __name__ == "__main__":
    main()
