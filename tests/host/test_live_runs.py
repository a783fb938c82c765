"""Runs on the real server, as an artist makes them: progress on the node, errors in plain words, cancel and queue
again.
"""

import asyncio
import io
import json
import re
import struct

import numpy as np
import pytest
from live_server import Server, messages
from PIL import Image

PROMPT = "a red ball and a blue ring"
TEXT_EVENT, PREVIEW_EVENT = 3, 4  # the host's BinaryEventTypes.TEXT and PREVIEW_IMAGE_WITH_METADATA


def graph(
    sampler: str = "euler", seed: int = 1, prompt: str = PROMPT, words: str = "", end: float = 1.0, steps: int = 8
) -> dict:
    def node(kind: str, **inputs) -> dict:
        return {"class_type": kind, "inputs": inputs}

    return {
        "model": node("FidelityLoadDemoModel"),
        "targets": node("FidelityExtractTargets", clip=["model", 1], text=prompt, words=words),
        "negative": node("CLIPTextEncode", clip=["model", 1], text=""),
        "method": node("FidelitySelectMethod", **{"method": "attend_and_excite", "method.preset": "published"}),
        "apply": node(
            "FidelityApply", model=["model", 0], method=["method", 0], targets=["targets", 1],
            strength=0.1, start_percent=0.0, end_percent=end,
        ),
        "latent": node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "sampler": node(
            "KSampler", model=["apply", 0], positive=["targets", 0], negative=["negative", 0],
            latent_image=["latent", 0], seed=seed, steps=steps, cfg=3.0, sampler_name=sampler,
            scheduler="normal", denoise=1.0,
        ),
        "picture": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "maps": node(
            "FidelityViewMaps", record=["apply", 1], targets=["targets", 1], image=["picture", 0], attributes=False
        ),
        "save": node("SaveImage", images=["picture", 0], filename_prefix="live"),
    }  # fmt: skip


def follow(server: Server, prompt: dict, at_text=None, at_preview=None) -> tuple[str, dict, list[tuple[str, str]]]:
    """Queues a prompt; returns how it ended ("execution_success", "execution_error", ...), that message's data, and the
    texts (node, text) that came for the nodes. `at_text(node, text)` is called with each, and `at_preview(where,
    picture)` with each preview, which the server sends to a client that asks for them.
    """

    async def run():
        import aiohttp

        texts = []
        async with aiohttp.ClientSession(server.url) as session, session.ws_connect("/ws?clientId=live") as socket:
            if at_preview:
                await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
            async with session.post("/prompt", json={"prompt": prompt, "client_id": "live"}) as answer:
                reply = await answer.json()
            if answer.status != 200:
                return "refused", reply, texts
            async for message in messages(socket, server.patience("a prompt")):
                if message.type == aiohttp.WSMsgType.BINARY:
                    event, length = struct.unpack(">II", message.data[:8])
                    first, rest = message.data[8 : 8 + length], message.data[8 + length :]
                    if event == TEXT_EVENT:
                        texts.append((first.decode(), rest.decode()))
                        if at_text:
                            at_text(*texts[-1])
                    elif event == PREVIEW_EVENT and at_preview:
                        at_preview(json.loads(first), Image.open(io.BytesIO(rest)))
                elif message.type == aiohttp.WSMsgType.TEXT:
                    event = json.loads(message.data)
                    if (
                        event["type"] in ("execution_success", "execution_error", "execution_interrupted")
                        and event["data"]["prompt_id"] == reply["prompt_id"]
                    ):
                        return event["type"], event["data"], texts

    return asyncio.run(run())


def picture(server: Server, prompt: dict) -> bytes:
    return server.image(server.run(prompt).outputs["save"]["images"][0])


def test_the_nodes_say_what_they_found_and_how_far_they_are(server: Server):
    ended, _, texts = follow(server, graph(seed=11))
    assert ended == "execution_success"
    by_node = {node: [text for other, text in texts if other == node] for node, _ in texts}
    steps = [text for text in by_node["apply"] if text.startswith("step ")]
    assert steps[0].startswith("step 1/8, loss ") and "→" in steps[-1]
    # What is to stay is the nodes' output, which the host keeps with the run.
    server.forget()
    outputs = server.run(graph(seed=11)).outputs
    found, verdict = (outputs[node]["text"][0] for node in ("targets", "maps"))
    assert "ball" in found and "ring" in found
    assert all(re.search(f"[✓✗] {thing}", verdict) for thing in ("red ball", "blue ring"))


def test_the_maps_are_shown_on_the_node_while_the_sampler_goes_on(server: Server):
    """To a browser that takes previews of other nodes than the running one; the picture is the same without."""
    prompt = graph(seed=16)
    server.forget()
    plain = pixels(picture(server, prompt))
    server.forget()
    shown = []
    ended, _, _ = follow(server, prompt, at_preview=lambda where, image: shown.append((where, image)))
    assert ended == "execution_success"
    ours = [image for where, image in shown if where["display_node_id"] == "apply"]
    assert not any(where["display_node_id"] == "maps" for where, _ in shown)
    assert ours and {image.size for image in ours} == {(128, 128)}
    pixel = np.asarray(ours[-1]).astype(int)
    assert (pixel[..., 0] - pixel[..., 2]).max() > 60, "the red ball's tint"
    assert (pixel[..., 2] - pixel[..., 0]).max() > 60, "the blue ring's tint"
    assert pixels(picture(server, prompt)) == plain, "from the cache: the run that was shown"


@pytest.mark.parametrize(
    "change, node, sentence",
    [
        ({"sampler": "dpm_adaptive"}, "KSampler", "dpm_adaptive"),
        ({"words": "zebra"}, "FidelityExtractTargets", "zebra"),
        ({"end": 0.0}, "FidelityApply", "start_percent"),
    ],
)
def test_an_error_names_the_node_and_what_is_wrong_and_the_next_run_is_clean(server: Server, change, node, sentence):
    ended, data, _ = follow(server, graph(seed=12, **change))
    assert ended == "execution_error"
    assert data["node_type"] == node and sentence in data["exception_message"]
    assert follow(server, graph(seed=12))[0] == "execution_success"


def test_cancel_in_the_middle_then_the_same_picture_as_ever(server: Server):
    server.forget()
    expected = picture(server, graph(seed=13))
    server.forget()
    cancelled = []

    def cancel(node: str, text: str) -> None:
        if text.startswith("step 2/") and not cancelled:
            cancelled.append(text)
            server.post("/interrupt", {})

    ended, _, texts = follow(server, graph(seed=13), cancel)
    assert cancelled and ended == "execution_interrupted"
    assert not any(text.startswith("step 4/") for _, text in texts)
    assert pixels(picture(server, graph(seed=13))) == pixels(expected)


def test_queueing_again_with_another_prompt_and_back(server: Server):
    """The nodes' outputs come from the host's cache the second time, the run does not."""
    first = pixels(picture(server, graph(seed=14)))
    other = pixels(picture(server, graph(seed=14, prompt="a green bar and a yellow pole")))
    server.forget()
    assert other != first and pixels(picture(server, graph(seed=14))) == first
    reseeded = graph(seed=15)
    record = server.run(reseeded).outputs["maps"]
    assert record["images"]


def pixels(data: bytes) -> bytes:
    return Image.open(io.BytesIO(data)).tobytes()
