"""What a subgraph blueprint is made of, and how ComfyUI's own page builds the file of one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from comfy_page import ComfyPage

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Blueprint:
    """One node that opens into several; named as the artist finds it.

    nodes: key → (type, (x, y, width, height), {widget: value}, title or None).
    wires: (from, output name, to, input name). inputs: (name, type, [(key, input name), ...]), widgets among them;
    outputs: (name, type, key, output name). size: of the one node.
    """

    name: str
    description: str
    aliases: tuple[str, ...]
    nodes: dict[str, tuple]
    wires: tuple[tuple[str, str, str, str], ...]
    inputs: tuple[tuple, ...]
    outputs: tuple[tuple, ...]
    size: tuple[int, int]

    @property
    def file(self) -> Path:
        return ROOT / "subgraphs" / f"{self.name}.json"


# Nodes are made, set and wired by the page itself, and so is their subgraph: by what "Convert to Subgraph" does.
BUILD = """async ({name, nodes, wires, inputs, outputs, size}) => {
    app.graph.clear()
    const made = {}
    for (const [key, [type, [x, y, width, height], widgets, title]] of Object.entries(nodes)) {
        const node = made[key] = LiteGraph.createNode(type)
        app.graph.add(node)
        node.pos = [x, y], node.setSize([width, height])
        if (title) node.title = title
        if (type.startsWith('Fidelity')) node.properties.cnr_id = 'prompt-fidelity'
        for (const [widget, value] of Object.entries(widgets)) node.widgets.find(w => w.name === widget).value = value
        if (title === 'strength')
            Object.assign(node.properties, {min: 0, max: 3, step: 0.05, precision: 2, display: 'slider'})
        for (const widget of node.widgets ?? []) if (widget.name === 'control_after_generate') widget.value = 'fixed'
    }
    const slot = (slots, name) => {
        const at = slots.findIndex(s => s.name === name)
        if (at < 0) throw Error(name)
        return at
    }
    for (const [from, output, to, input] of wires)
        made[from].connect(slot(made[from].outputs, output), made[to], slot(made[to].inputs, input))
    const {node, subgraph} = app.graph.convertToSubgraph(new Set(Object.values(made)))
    const inner = Object.fromEntries(Object.entries(made).map(([key, {type, title}]) =>
        [key, subgraph.nodes.find(n => n.type === type && n.title === title)]))
    // The page puts some widgets on the outside by itself.
    for (const input of [...subgraph.inputs]) subgraph.removeInput(input)
    for (const [input, type, ends] of inputs) {
        const at = subgraph.addInput(input, type)
        for (const [key, end] of ends) at.connect(inner[key].inputs[slot(inner[key].inputs, end)], inner[key])
    }
    for (const [output, type, key, end] of outputs)
        subgraph.addOutput(output, type).connect(inner[key].outputs[slot(inner[key].outputs, end)], inner[key])
    const right = Math.max(...Object.values(nodes).map(([, [x, , width]]) => x + width))
    subgraph.inputNode.pos = [-260, 100], subgraph.outputNode.pos = [right + 320, 100]
    node.title = subgraph.name = name
    node.pos = [0, 0], node.setSize(size)
    node.properties.cnr_id = 'prompt-fidelity'
    await new Promise(done => setTimeout(done, 500))
    return app.graph.serialize()
}"""


def build(comfy: ComfyPage, blueprint: Blueprint, tidy) -> dict:
    """The blueprint's file: a graph of the one node and its definition. `tidy` gives steady ids and drops the rest."""
    parts = {key: getattr(blueprint, key) for key in ("name", "nodes", "wires", "inputs", "outputs", "size")}
    saved = tidy(comfy.page.evaluate(BUILD, parts), blueprint.name)
    (definition,) = saved["definitions"]["subgraphs"]
    definition["category"], definition["description"] = "Prompt Fidelity", blueprint.description
    extra = {"BlueprintDescription": blueprint.description, "BlueprintSearchAliases": list(blueprint.aliases)}
    return {**saved, "extra": extra}


def shipped(blueprint: Blueprint) -> dict:
    return json.loads(blueprint.file.read_text(encoding="utf-8"))
