"""Write `workflows/`, the graphs of recipes.py as an artist would lay them out.

`tools/thumbnails.py` draws their thumbnails.

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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("conftest", ROOT / "tests" / "conftest.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))  # loads the pack, as for the tests
sys.path[:0] = [str(ROOT / "tests" / "browser"), os.environ["COMFYUI_PATH"]]

from comfy_page import ComfyPage, open_page  # noqa: E402
from live_server import start, stop  # noqa: E402
from recipes import RECIPES, Recipe  # noqa: E402

FIRST_VIEW = {"scale": 0.45, "offset": [580, 230]}  # the whole graph in a window of usual size, beside the sidebar


def laid_out(comfy: ComfyPage, prompt: dict, recipe: Recipe) -> dict:
    """The workflow file: the graph as the page saves it, with places, groups, titles, fixed seeds and a note."""
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
                if (node.type.startsWith('Fidelity')) node.properties.cnr_id = 'prompt-fidelity'
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
            recipe.places,
            {node: text.format(title=recipe.title) for node, text in recipe.titles.items()},
            [(text.format(title=recipe.title), place, colour) for text, place, colour in recipe.groups],
            recipe.note,
        ],
    )
    saved = without_empty(comfy.page.evaluate("app.graph.serialize()"))
    steady = str(uuid.uuid5(uuid.NAMESPACE_URL, f"prompt-fidelity/{recipe.name}"))  # the page draws a new one each time
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
        with open_page(server) as comfy:
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
