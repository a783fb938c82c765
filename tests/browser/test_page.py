"""The pack in ComfyUI's own page: workflows open without complaint, run, and show on our nodes what happened."""

from pathlib import Path

import pytest
from api_prompt import api_prompt
from comfy_page import ComfyPage
from live_server import Server, pack_name

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
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
def test_a_workflow_opens_and_runs(comfy: ComfyPage, server: Server, name: str):
    file = comfy.load_template(pack_name(), name)
    assert comfy.unknown_nodes() == []
    assert comfy.wrong_widgets() == []
    prompt = comfy.api_prompt()
    assert prompt == api_prompt(file, server.get_json("/object_info"))

    server.forget()  # a node taken from the cache reports nothing
    comfy.queue(timeout=150)

    types = {node["class_type"] for node in prompt.values()}
    expected = {kind for kind in types & TELLING} | {"pictures"}
    showing = "FidelityViewMaps" if "FidelityViewMaps" in types else "SaveImage"

    def shown() -> set[str]:
        reported = {kind for kind, text in comfy.texts().items() if text}
        return reported | ({"pictures"} if comfy.pictures().get(showing) else set())

    # The page draws what the websocket brought a moment later.
    comfy.until(lambda: expected <= shown(), f"{sorted(expected)} on the page")


def test_the_verdict_is_there_again_after_a_reload(comfy: ComfyPage):
    """In both designs of nodes, with its lines; a cancelled run takes it away."""
    comfy.load_template(pack_name(), sorted(file.stem for file in WORKFLOWS)[0])
    comfy.queue(timeout=150)
    said = comfy.wait_for_text("FidelityViewMaps", "✓")
    saved = comfy.page.evaluate("app.graph.serialize()")
    for newer in (False, True):
        comfy.nodes_2(newer)
        comfy.page.evaluate("file => app.loadGraphData(file, true, true, 'again')", saved)
        assert comfy.wait_for_text("FidelityViewMaps", "✓") == said
    comfy.nodes_2(False)
    comfy.page.evaluate("app.api.dispatchCustomEvent('execution_interrupted', {})")
    comfy.until(lambda: not comfy.texts().get("FidelityViewMaps"), "the old verdict's end")


def test_a_box_that_is_moved_by_hand_moves_the_object(comfy: ComfyPage):
    """Predict Layout → the host's canvas → a drag with the mouse → Layout from Boxes."""
    comfy.nodes_2(True)
    try:
        comfy.load_template(pack_name(), "layout_by_hand")
        comfy.queue(timeout=150)
        predicted = comfy.boxes_on_canvas(16)
        assert [box["metadata"]["desc"] for box in predicted] == ["red ball", "blue ring"]
        red, blue = ((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in predicted)
        at = (red[0] / 128, red[1] / 128)
        comfy.drag_on_canvas(16, at, (at[0] - 0.35, at[1]))
        moved = comfy.boxes_on_canvas(16)
        assert moved[0]["x"] <= predicted[0]["x"] - 16, "the canvas moves boxes from line to line of its grid"
        assert moved[0]["width"] == pytest.approx(predicted[0]["width"], abs=8)
        assert moved[1] == predicted[1]
        comfy.queue(timeout=150)
        assert comfy.boxes_on_canvas(16) == moved, "what was done by hand is kept"
        centre = round((moved[0]["x"] + moved[0]["width"] / 2) / 1.28)
        said = comfy.wait_for_text("FidelityLayoutFromBoxes", f"{centre}% from the left")
        assert "red ball" in said.splitlines()[0]
    finally:
        comfy.nodes_2(False)


def test_the_page_was_quiet_and_stayed_at_home(comfy: ComfyPage):
    """After all of the above: no script threw anything, and nothing but this server was asked."""
    assert comfy.errors == []
    assert comfy.elsewhere == []
