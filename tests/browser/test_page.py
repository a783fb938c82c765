"""The pack in ComfyUI's own page: blueprints open; workflows open without complaint, run, and show what happened.

What is seen on nodes is looked at in both node designs.
"""

import json
from pathlib import Path

import pytest
from api_prompt import api_prompt
from comfy_page import ComfyPage
from live_server import Server, pack_name
from sources import DEMO
from test_live_runs import graph
from tidiness import tidiness

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
CHECKPOINT = "CheckpointLoaderSimple"
# Wires that cross, by the workflow's number (3 in the others): where model and CLIP come from one node and go to two,
# one of them above, some have to. No wire lies behind a node.
CROSSINGS = {"4": 1, "5": 0, "6": 0}
TELLING = {"FidelityExtractTargets", "FidelityApply", "FidelityViewMaps", "FidelityScore"}  # nodes that report in words

# One graph that needs no file of ours: a wrong converter or page helper shows here.
STOCK = {
    "last_node_id": 2,
    "last_link_id": 1,
    "nodes": [
        {
            "id": 1,
            "type": "EmptyImage",
            "pos": [0, 0],
            "size": [300, 130],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
            "widgets_values": [64, 32, 1, 255],
        },
        {
            "id": 2,
            "type": "SaveImage",
            "pos": [400, 0],
            "size": [300, 270],
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
            "widgets_values": ["stock"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    "version": 0.4,
}


def test_the_page_offers_the_pack(comfy: ComfyPage):
    offered = comfy.page.evaluate("Object.keys(LiteGraph.registered_node_types)")
    assert TELLING | {"FidelitySelectMethod", "FidelityLoadDemoModel"} <= set(offered)


def test_a_stock_graph_is_queued_as_converted(comfy: ComfyPage, server: Server):
    comfy.page.evaluate("file => app.loadGraphData(file, true, true, 'stock')", STOCK)
    assert comfy.api_prompt() == api_prompt(STOCK, server.get_json("/object_info"))


def test_every_setting_of_every_method_can_be_chosen(comfy: ComfyPage):
    """Goes through methods and presets on the node itself: the widgets that appear hold values of their choices."""
    comfy.page.evaluate("app.graph.clear(), app.graph.add(LiteGraph.createNode('FidelitySelectMethod'))")
    options = comfy.page.evaluate("app.graph.nodes[0].widgets[0].options.values")
    assert {"t_sam", "attend_and_excite"} <= set(options)
    for method in options:
        comfy.page.evaluate("method => { app.graph.nodes[0].widgets[0].value = method }", method)
        if method == "auto":  # chooses the method itself, so there is nothing to set
            assert comfy.page.evaluate("app.graph.nodes[0].widgets.length") == 1
            continue
        presets = comfy.page.evaluate("app.graph.nodes[0].widgets[1].options.values")
        for preset in presets:
            comfy.page.evaluate("preset => { app.graph.nodes[0].widgets[1].value = preset }", preset)
            (node,) = comfy.api_prompt().values()
            assert (node["inputs"]["method"], node["inputs"]["method.preset"]) == (method, preset)
            assert comfy.wrong_widgets() == []
        assert len(node["inputs"]) > 2, f"the last preset of {method} shows its settings"


@pytest.mark.parametrize("name", [file.stem for file in WORKFLOWS])
def test_a_workflow_opens_tidily_as_it_was_written(comfy: ComfyPage, server: Server, design: str, name: str):
    file = comfy.load_template(pack_name(), name)
    comfy.settle()
    assert comfy.unknown_nodes() == []
    waits = [node["widgets_values"][0] for node in file["nodes"] if node["type"] == CHECKPOINT]
    assert comfy.wrong_widgets() == [f"{CHECKPOINT}.ckpt_name: {model}" for model in waits]
    assert comfy.api_prompt() == api_prompt(file, server.get_json("/object_info"))
    seen = tidiness(comfy)
    assert seen["overlaps"] == []
    assert seen["hidden"] == [], "wires behind nodes"
    assert len(seen["crossings"]) <= CROSSINGS.get(name[0], 3), seen["crossings"]
    assert seen["nodes"] <= 16
    assert file["extra"]["ds"]["scale"] >= 0.8, "the note could not be read"


@pytest.mark.parametrize("name", [file.stem for file in WORKFLOWS if file.stem[0] in "12"])
def test_a_workflow_runs_and_shows_and_has_its_verdict_after_a_reload(
    comfy: ComfyPage, server: Server, design: str, name: str
):
    """The others run on the server alone (tests/host/test_workflows.py). Nothing is clicked before the reload."""
    comfy.load_template(pack_name(), name)
    server.forget()  # a node taken from the cache reports nothing
    comfy.queue(timeout=150)
    comfy.until(lambda: comfy.pictures().get("FidelityViewMaps"), "pictures on View Attention Maps")
    verdict = comfy.wait_for_text("FidelityViewMaps", "✓")
    assert comfy.pictures()["SaveImage"] == 1
    if design == "Nodes 2.0":
        comfy.show_whole()
        comfy.until(lambda: comfy.shown_on("FidelityViewMaps")["pictures"], "pictures that are drawn")
        assert verdict in comfy.shown_on("FidelityViewMaps")["texts"]
    assert tidiness(comfy)["overlaps"] == [], "what a node shows makes it no larger than its place"
    comfy.reload()
    assert comfy.texts()["FidelityViewMaps"] == verdict


@pytest.mark.parametrize(
    "change, node, sentence",
    [
        ({"words": "zebra"}, "FidelityExtractTargets", 'The word "zebra" is not in the prompt.'),
        ({"sampler": "dpm_adaptive"}, None, "Attend-and-Excite cannot work with the sampler dpm_adaptive"),
    ],
)
def test_an_error_says_its_sentence_on_the_page(comfy: ComfyPage, design: str, change: dict, node, sentence: str):
    """In a message, also where a node of the host's failed, and on our node until the next run begins."""
    comfy.load_api(graph(seed=21, steps=2, **change))
    with pytest.raises(AssertionError) as error:
        comfy.queue()
    assert "." not in error.value.args[0]["exception_type"], "the path of a class tells the artist nothing"
    comfy.until(lambda: sentence in comfy.page.inner_text("body"), "the message")
    if node:
        comfy.wait_for_text(node, sentence)
    comfy.load_api(graph(seed=21, steps=2))
    comfy.queue()
    assert not any(sentence in text for text in comfy.texts().values())
    comfy.until(lambda: sentence not in comfy.page.inner_text("body"), "the end of the message")


def test_a_checkpoint_that_is_not_there_is_asked_for(comfy: ComfyPage):
    comfy.load_template(pack_name(), next(file.stem for file in WORKFLOWS if file.stem[0] == "7"))
    (model,) = comfy.page.evaluate("name => app.graph.nodes.find(n => n.type === name).properties.models", CHECKPOINT)
    assert model["directory"] == "checkpoints" and model["url"].startswith("https://")


@pytest.mark.parametrize("file", BLUEPRINTS, ids=lambda file: file.stem)
def test_a_blueprint_is_offered_and_opens_into_its_parts(comfy: ComfyPage, server: Server, file: Path):
    offered = {entry["name"] for entry in server.get_json("/global_subgraphs").values()}
    assert file.stem in offered
    inside = comfy.page.evaluate(
        """async file => { await app.loadGraphData(file, true, true, 'blueprint')
            const [node] = app.graph.nodes
            app.canvas.openSubgraph(node.subgraph)
            const inside = app.canvas.graph.nodes.map(node => node.type)
            app.canvas.setGraph(app.rootGraph ?? app.graph)
            return inside }""",
        json.loads(file.read_text(encoding="utf-8")),
    )
    assert len(inside) > 1 and all(not kind.startswith("Missing") for kind in inside)
    if file.stem == "Prompt Fidelity":
        assert {"FidelityExtractTargets", "FidelitySelectMethod", "FidelityApply"} <= set(inside)


def test_custom_settings_do_not_cover_the_next_node(comfy: ComfyPage, design: str):
    """Inside the one node and where methods are compared, `custom` of the method with most settings leaves what stands
    below clear.
    """
    comfy.page.evaluate(
        """async file => { await app.loadGraphData(file, true, true, 'blueprint')
            app.canvas.openSubgraph(app.graph.nodes[0].subgraph) }""",
        json.loads((ROOT / "subgraphs" / "Prompt Fidelity.json").read_text(encoding="utf-8")),
    )
    choose_custom(comfy)
    assert tidiness(comfy, "app.canvas.graph")["overlaps"] == []
    comfy.page.evaluate("app.canvas.setGraph(app.rootGraph ?? app.graph)")
    comfy.load_template(pack_name(), next(file.stem for file in WORKFLOWS if file.stem[0] == "4"))
    choose_custom(comfy)
    seen = tidiness(comfy)
    assert (seen["overlaps"], seen["hidden"]) == ([], [])


def choose_custom(comfy: ComfyPage) -> None:
    comfy.page.evaluate(
        """for (const node of app.canvas.graph.nodes.filter(node => node.type === 'FidelitySelectMethod')) {
            node.widgets[0].value = 'box_diff'
            node.widgets[1].value = 'custom'
        }"""
    )
    comfy.settle()


@pytest.mark.parametrize("design", ["Nodes 2.0"], indirect=True)
def test_a_box_that_is_moved_by_hand_moves_the_object(comfy: ComfyPage, design: str):
    """Predict Layout → the host's canvas, which works in Nodes 2.0 → a drag with the mouse → Layout from Boxes."""
    comfy.load_template(pack_name(), next(file.stem for file in WORKFLOWS if file.stem[0] == "3"))
    canvas = comfy.page.evaluate("app.graph.nodes.find(n => n.type === 'CreateBoundingBoxes').id")
    comfy.queue(timeout=150)
    predicted = comfy.boxes_on_canvas(canvas)
    assert len(predicted) == 2 and all(box["metadata"]["desc"] in DEMO.prompt for box in predicted)
    width, height = DEMO.size
    first = predicted[0]
    at = ((first["x"] + first["width"] / 2) / width, (first["y"] + first["height"] / 2) / height)
    comfy.drag_on_canvas(canvas, at, (at[0] + 0.35, at[1]))
    moved = comfy.boxes_on_canvas(canvas)
    assert moved[0]["x"] >= predicted[0]["x"] + 16, "the canvas moves boxes from line to line of its grid"
    assert moved[0]["width"] == pytest.approx(predicted[0]["width"], abs=8)
    assert moved[1] == predicted[1]
    comfy.queue(timeout=150)
    assert comfy.boxes_on_canvas(canvas) == moved, "what was done by hand is kept"


def test_the_page_was_quiet_and_stayed_at_home(comfy: ComfyPage, design: str):
    """After all of the above: no script threw anything, and nothing but this server was asked."""
    assert comfy.errors == []
    assert comfy.elsewhere == []
