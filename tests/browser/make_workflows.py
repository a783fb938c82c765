"""Write `subgraphs/` and `workflows/`: the blueprints and the graphs of recipes.py, laid out as an artist would.

`tools/thumbnails.py` draws their thumbnails.

    python3 dev.py run tests/browser/make_workflows.py [NUMBER ...] [--screenshot graph.png]

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
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("conftest", ROOT / "tests" / "conftest.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))  # loads the pack, as for the tests
sys.path[:0] = [str(ROOT / "tests" / "browser"), os.environ["COMFYUI_PATH"]]

from blueprint import Blueprint, build, shipped  # noqa: E402
from blueprints import BLUEPRINTS  # noqa: E402
from comfy_page import ComfyPage, open_page  # noqa: E402
from live_server import start, stop  # noqa: E402
from recipes import NOTE_BOX, RECIPES, Recipe  # noqa: E402

VIEW = {"scale": 0.8, "offset": [540, 620]}  # the note and what it speaks of, large enough to read, beside the sidebar

# The note, then every node: a type of the host or of the pack, or one instance of a blueprint.
DRAW = """async ([nodes, wires, note, noteBox, blueprints]) => {
    app.graph.clear()
    const put = (node, [x, y, width, height]) => { node.pos = [x, y], node.setSize([width, height]) }
    const text = LiteGraph.createNode('MarkdownNote')
    text.title = 'Read me', text.color = '#432', text.bgcolor = '#653'
    app.graph.add(text), put(text, noteBox)
    text.widgets[0].value = note
    const made = {}
    for (const [key, {kind, box, widgets, title, download}] of Object.entries(nodes)) {
        let node
        if (blueprints[kind]) {
            const {nodes, definitions: {subgraphs}} = structuredClone(blueprints[kind])
            const items = {nodes, subgraphs, links: [], groups: [], reroutes: []}
            const {created} = app.canvas._deserializeItems(items, {position: [0, 0]})
            node = created[0]
        } else {
            node = LiteGraph.createNode(kind)
            if (!node) throw Error(`no node ${kind}`)
            app.graph.add(node)
        }
        made[key] = node
        node.title = title ?? node.title
        put(node, box)
        if (kind.startsWith('Fidelity') || blueprints[kind]) node.properties.cnr_id = 'prompt-fidelity'
        if (download) node.properties.models = [download]
        for (const [name, value] of Object.entries(widgets)) {
            const widget = node.widgets.find(w => w.name === name)
            if (!widget) throw Error(`${kind} has no widget ${name}`)
            widget.value = value
        }
        for (const widget of node.widgets ?? []) if (widget.name === 'control_after_generate') widget.value = 'fixed'
        put(node, box)
    }
    const slot = (slots, name, where) => {
        const at = slots.findIndex(s => name === (s.name ?? s.type) || name === s.label)
        if (at < 0) throw Error(`${where} has no ${name}, but ${slots.map(s => s.name)}`)
        return at
    }
    for (const [from, output, to, input] of wires)
        made[from].connect(slot(made[from].outputs, output, from), made[to], slot(made[to].inputs, input, to))
    await new Promise(done => setTimeout(done, 500))
    return app.graph.serialize()
}"""


def drawn(comfy: ComfyPage, recipe: Recipe) -> dict:
    """The workflow file, as the page saves the graph that it was told to make."""
    nodes = {
        key: {**asdict(node), "kind": node.kind.name if isinstance(node.kind, Blueprint) else node.kind}
        for key, node in recipe.nodes.items()
    }
    used = {blueprint.name: shipped(blueprint) for blueprint in BLUEPRINTS}
    comfy.page.evaluate("app.canvas.ds.reset()")
    saved = tidy(comfy.page.evaluate(DRAW, [nodes, recipe.wires, recipe.note, NOTE_BOX, used]), recipe.name)
    return {**saved, "extra": {**saved.get("extra", {}), "ds": VIEW}}


def tidy(saved: dict, name: str) -> dict:
    """What the page writes, less the fields that say nothing; its random ids become steady ones."""
    saved = without_empty(saved)
    text = json.dumps({**saved, "id": steady(name)})
    for subgraph in saved.get("definitions", {}).get("subgraphs", []):
        text = text.replace(subgraph["id"], steady(subgraph["name"]))
        for slot in (*subgraph["inputs"], *subgraph["outputs"]):
            text = text.replace(slot["id"], steady(f"{subgraph['name']}/{slot['name']}"))
    return json.loads(text)


def steady(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"prompt-fidelity/{name}"))


def without_empty(value):
    if isinstance(value, dict):
        return {key: without_empty(part) for key, part in value.items() if part is not None and key != "localized_name"}
    return [without_empty(part) for part in value] if isinstance(value, list) else value


def written(file: Path, content: dict) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(file.relative_to(ROOT), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of workflows' names; all of them if none is given")
    parser.add_argument("--screenshot", type=Path, help="also write a picture of the first graph, after it ran")
    options = parser.parse_args()
    recipes = [recipe for recipe in RECIPES if not options.names or recipe.name.startswith(tuple(options.names))]

    process, server = start(Path(os.environ["COMFYUI_PATH"]), Path(tempfile.mkdtemp()))
    try:
        with open_page(server) as comfy:
            for blueprint in BLUEPRINTS:
                written(blueprint.file, build(comfy, blueprint, tidy))
            for recipe in recipes:
                written(ROOT / "workflows" / f"{recipe.name}.json", drawn(comfy, recipe))
                assert comfy.api_prompt()  # that the page can queue it
                if options.screenshot and recipe is recipes[0]:
                    comfy.queue()
                    comfy.screenshot(options.screenshot)
    finally:
        stop(process)


if __name__ == "__main__":
    main()
