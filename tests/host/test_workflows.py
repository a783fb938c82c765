"""Every shipped workflow runs in the real server, over HTTP and websocket, to a saved picture."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from api_prompt import api_prompt
from live_server import Server
from PIL import Image

CANVAS = "CreateBoundingBoxes"  # came after the oldest ComfyUI that the pack works on
WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))


def saved_pictures(server: Server, prompt: dict, outputs: dict[str, dict]) -> list[Image.Image]:
    savers = [node for node, what in prompt.items() if what["class_type"] == "SaveImage"]
    return [Image.open(io.BytesIO(server.image(entry))) for node in savers for entry in outputs[node]["images"]]


def unwrapped(value):
    """A prompt as the server keeps it: lists that are values come wrapped, so as not to be taken for wires."""
    if isinstance(value, dict):
        return (
            value["__value__"]
            if value.keys() == {"__value__"}
            else {key: unwrapped(part) for key, part in value.items()}
        )
    return value


def with_the_demo_model(prompt: dict) -> dict:
    """A workflow that waits for a checkpoint, with the demo model in its place: its wiring is what counts."""
    if not any(node["class_type"] == "CheckpointLoaderSimple" for node in prompt.values()):
        return prompt
    for node in prompt.values():
        if node["class_type"] == "CheckpointLoaderSimple":
            node.update(class_type="FidelityLoadDemoModel", inputs={"model": "shapes"})
        if node["class_type"].startswith("Empty"):
            node.update(class_type="EmptyLatentImage", inputs={"width": 128, "height": 128, "batch_size": 1})
        if node["class_type"] == "FidelityExtractTargets":
            node["inputs"]["text"] = "a red ball and a blue ring"
        if node["class_type"] == "BasicScheduler":
            node["inputs"]["steps"] = 4
    return prompt


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_runs_to_a_picture(server: Server, file: Path):
    workflow, known = json.loads(file.read_text()), server.get_json("/object_info")
    if CANVAS not in known and any(node["type"] == CANVAS for node in workflow["nodes"]):
        pytest.skip(f"this ComfyUI is older than its {CANVAS}")
    prompt = with_the_demo_model(api_prompt(workflow, known))
    server.forget()  # a picture from the cache would carry the prompt of an earlier run
    run = server.run(prompt, timeout=180, workflow=workflow)

    pictures = saved_pictures(server, prompt, run.outputs)
    latent = next(node["inputs"] for node in prompt.values() if node["class_type"] == "EmptyLatentImage")
    assert pictures
    for picture in pictures:
        assert picture.size == (latent["width"], latent["height"])
        assert np.asarray(picture).std() > 1, "the picture is one flat colour"
        assert json.loads(picture.text["prompt"]) == unwrapped(prompt)
        assert json.loads(picture.text["workflow"])["nodes"], "the saved picture does not carry its workflow"


def test_a_stock_graph_runs(server: Server):
    """The test's own client: if this fails, the fault is not the pack's."""
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 255}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "stock"}},
    }
    run = server.run(prompt, timeout=60)
    (picture,) = saved_pictures(server, prompt, run.outputs)
    assert picture.size == (64, 32)
    assert picture.getpixel((0, 0)) == (0, 0, 255)


def test_a_refused_prompt_says_why(server: Server):
    prompt = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "nothing"}}}
    with pytest.raises(AssertionError, match="required_input_missing"):
        server.run(prompt, timeout=60)
