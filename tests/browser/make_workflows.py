"""Write `workflows/`: for every method a graph as an artist would lay it out, and one that optimises Space-Time Attention. `tools/thumbnails.py` then draws the thumbnails.

    python3 dev.py run tests/browser/make_workflows.py [--seed 2] [--screenshot graph.png]

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
from dataclasses import fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("conftest", ROOT / "tests" / "conftest.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))  # loads the pack, as for the tests
sys.path[:0] = [str(ROOT / "tests" / "browser"), os.environ["COMFYUI_PATH"]]

from comfy_page import ComfyPage, open_page  # noqa: E402
from live_server import start, stop  # noqa: E402
from prompt_fidelity.core.layout.settings import AttentionSettings  # noqa: E402
from prompt_fidelity.core.learned_weights import EPOCHS, RATE  # noqa: E402
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
NOTE = """## {title}

{idea}

**Press Run.** Both pictures are drawn from the same prompt and seed: above with the method, below without.

1. Write a prompt in *Extract Targets*. The demo model knows ball, ring, bar, pole, cross and cup in red, green, blue, yellow, purple, black and white.
2. Choose a preset in *Select Method*.
3. Change the seed in **both** samplers. The method is for pictures that lack something; others may stay much the same.
4. *View Attention Maps* shows where the model looked for each object, and what the method did.

**For a real model,** put *Load Checkpoint* in the place of *Load Demo Model*, choose the preset *{preset}* in *Select Method*, and the picture size and the sampler settings that your checkpoint likes.

Every node has a help page: select it and press **i** in the bar above it."""

OPTIMISED = "space_time_optimised"
OPTIMISED_STEPS = 10  # the search draws the picture many times: half of the demo model's steps
OPTIMISED_NOTE = """## Space-Time Attention, optimised

*Optimise Space-Time* draws the picture several times from the same noise. CLIP looks at it, the whole and every object's place, and each object's weight at each step is changed so that CLIP sees more of the prompt.

**Press Run** and wait about half a minute. Both pictures are drawn from the same prompt and seed: above with the weights that were found, below without any method.

1. Write a prompt in *Extract Targets*. The demo model knows ball, ring, bar, pole, cross and cup in red, green, blue, yellow, purple, black and white.
2. The seed must be the same in *Optimise Space-Time* and in **both** samplers, and so must steps, cfg and scheduler.
3. *Score Fidelity* says how well each picture fits the prompt: the whole of it, and the object that fits worst.
4. The text under *weights* can be pasted into *Space-Time Weights*, to use the weights again without a search.

**For a real model,** put *Load Checkpoint* in the place of *Load Demo Model*, *Load CLIP* and *Load CLIP Vision* (both with a whole CLIP model) in the place of *Load Demo CLIP*, and choose the preset *{preset}* in *Select Method*. It takes minutes on a graphics card.

Every node has a help page: select it and press **i** in the bar above it."""

WITH, WITHOUT, SAVED, PLAIN, MAPS, LOSS = "7", "10", "9", "12", "13", "14"
LAYOUT = "15"  # only for a method that works in regions
CLIP, SEARCH, SCORE, SCORE_PLAIN, SEARCH_PLOT, WEIGHTS = "16", "17", "18", "19", "20", "21"  # only where weights are optimised
PLACES = {  # node id: x, y, width, height, in columns from left to right as the data flows
    "1": (20, 70, 320, 80),
    "2": (380, 70, 420, 340),
    "3": (380, 480, 420, 110),
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
    LAYOUT: (380, 680, 420, 480),
}
OPTIMISED_PLACES = {
    **PLACES,
    "5": (860, 70, 320, 110),
    CLIP: (20, 680, 320, 80),
    SEARCH: (860, 680, 340, 760),
    SEARCH_PLOT: (1240, 1070, 580, 370),
    WEIGHTS: (1860, 1070, 320, 370),
    SCORE: (1600, 180, 220, 250),
    SCORE_PLAIN: (1600, 680, 220, 250),
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
OPTIMISED_GROUPS = (("CLIP, to score pictures", (0, 630, 350, 150), "#3f789e"), ("Find the weights", (840, 630, 370, 860), "#b58b2a"), ("What was found", (1220, 1000, 980, 490), "#88aa88"))
OPTIMISED_TITLES = {**TITLES, SEARCH_PLOT: "Loss over the epochs", WEIGHTS: "Weights", SCORE: "Score Fidelity, {title}", SCORE_PLAIN: "Score Fidelity, plain"}
LAYOUT_GROUP = ("Where the objects go", (360, 630, 460, 560), "#b58b2a")
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


def optimised_graph(seed: int) -> dict:
    """Space-Time Attention's graph, its weights optimised before they are applied, and both pictures scored."""
    nodes = graph("space_time", DEMO_PRESET, seed)
    for sampler in (WITH, WITHOUT):
        nodes[sampler]["inputs"]["steps"] = OPTIMISED_STEPS
    drawn = nodes[WITH]["inputs"]
    sampling = {name: drawn[name] for name in ("seed", "steps", "cfg", "scheduler")}
    wires = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "targets": ["2", 1], "layout": [LAYOUT, 0], "vae": ["1", 2]}
    clip = {"clip": [CLIP, 0], "clip_vision": [CLIP, 1]}
    search = {**wires, **clip, "latent": ["4", 0], **sampling, "epochs": EPOCHS, "learning_rate": RATE, "method": ["5", 0]}
    nodes[CLIP] = {"class_type": "FidelityLoadDemoCLIP", "inputs": {}}
    nodes[SEARCH] = {"class_type": "FidelityOptimiseSpaceTime", "inputs": search}
    nodes["6"]["inputs"]["method"] = [SEARCH, 0]
    nodes[SEARCH_PLOT] = {"class_type": "PreviewImage", "inputs": {"images": [SEARCH, 1]}}
    nodes[WEIGHTS] = {"class_type": "PreviewAny", "inputs": {"source": [SEARCH, 2]}}
    for node, decoded in ((SCORE, "8"), (SCORE_PLAIN, "11")):
        nodes[node] = {"class_type": "FidelityScore", "inputs": {"image": [decoded, 0], "targets": ["2", 1], **clip}}
    for saver, name in ((SAVED, "fidelity/" + OPTIMISED), (PLAIN, f"fidelity/{OPTIMISED}_plain")):
        nodes[saver]["inputs"]["filename_prefix"] = name
    return nodes


def laid_out(comfy: ComfyPage, prompt: dict, name: str, title: str, note: str) -> dict:
    """The workflow file: the graph as the page saves it, with places, groups, titles, fixed seeds and a note."""
    groups = (*GROUPS, *([LAYOUT_GROUP] if LAYOUT in prompt else []), *(OPTIMISED_GROUPS if SEARCH in prompt else ()))
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
            OPTIMISED_PLACES if SEARCH in prompt else PLACES,
            {node: text.format(title=title) for node, text in (OPTIMISED_TITLES if SEARCH in prompt else TITLES).items()},
            [(text.format(title=title), place, colour) for text, place, colour in groups],
            note,
        ],
    )
    saved = without_empty(comfy.page.evaluate("app.graph.serialize()"))
    steady = str(uuid.uuid5(uuid.NAMESPACE_URL, f"prompt-fidelity/{name}"))  # the page draws a new one every time
    return {**saved, "id": steady, "extra": {**saved.get("extra", {}), "ds": FIRST_VIEW}}


def without_empty(value):
    """What the page writes, less the fields that say nothing."""
    if isinstance(value, dict):
        return {key: without_empty(part) for key, part in value.items() if part is not None and key != "localized_name"}
    return [without_empty(part) for part in value] if isinstance(value, list) else value


def graphs(options: argparse.Namespace) -> dict[str, tuple[dict, str, str]]:
    """By the workflow's name: its graph in API format, the title of what is tried, and the note."""
    found = {}
    for name, method in METHODS.items():
        first = next(iter(method.PRESETS))
        preset = DEMO_PRESET if DEMO_PRESET in method.PRESETS else first
        found[name] = graph(name, preset, options.seed), method.title, NOTE.format(title=method.title, idea=IDEA[name], preset=first)
    method = METHODS["space_time"]
    note = OPTIMISED_NOTE.format(preset=next(iter(method.PRESETS)))
    found[OPTIMISED] = optimised_graph(options.seed), f"{method.title}, optimised", note
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=2, help="of the pictures: plainly, this one lacks an object")
    parser.add_argument("--screenshot", type=Path, help="also write a picture of the first graph, after it ran")
    parser.add_argument("--only", nargs="*", help="names of the workflows to write, instead of all")
    options = parser.parse_args()

    process, server = start(Path(os.environ["COMFYUI_PATH"]), Path(tempfile.mkdtemp()))
    try:
        with open_page(server.url) as comfy:
            for name, (prompt, title, note) in graphs(options).items():
                if options.only and name not in options.only:
                    continue
                workflow = laid_out(comfy, prompt, name, title, note)
                assert comfy.api_prompt().keys() == prompt.keys(), "the page shows another graph"
                (ROOT / "workflows" / f"{name}.json").write_text(json.dumps(workflow, indent=1) + "\n")
                print(f"workflows/{name}.json", flush=True)
                if options.screenshot and name == (options.only or list(METHODS))[0]:
                    comfy.queue()
                    comfy.screenshot(options.screenshot)
    finally:
        stop(process)


if __name__ == "__main__":
    main()
