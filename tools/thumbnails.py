"""Run every workflow on the real host and draw its card from its own pictures: workflows/NAME.json -> NAME.jpg.

    python3 dev.py run tools/thumbnails.py [NUMBER ...]

What is shown is what the artist gets: prompt, seed and settings are those in the file. A workflow that waits for a
checkpoint shows the model's name.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "host")]

from _pack import load_pack  # noqa: E402

load_pack()

from api_prompt import api_prompt  # noqa: E402
from live_server import Server, start, stop  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

SIDE = 512
INK, PAPER = (40, 42, 48), (244, 241, 234)
CHECKPOINT = "CheckpointLoaderSimple"


def pictures(server: Server, workflow: dict) -> dict[str, list[Image.Image]]:
    """What the workflow's nodes show, by their titles; both pictures of Compare Images under "a" and "b"."""
    prompt = api_prompt(workflow, server.get_json("/object_info"))
    outputs = server.run(prompt, timeout=300, workflow=workflow).outputs
    titles = {str(node["id"]): node.get("title", node["type"]) for node in workflow["nodes"]}
    shown: dict[str, list[Image.Image]] = {}
    for node, output in outputs.items():
        for key, entries in output.items():
            if key in ("images", "a_images", "b_images"):
                name = titles.get(node, node) if key == "images" else key[0]
                shown[name] = [Image.open(io.BytesIO(server.image(entry))).convert("RGB") for entry in entries]
    return shown


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """The plain picture above, the other below, each named."""
    card = Image.new("RGB", (SIDE, SIDE), PAPER)
    draw, half = ImageDraw.Draw(card), SIDE // 2
    for y, (name, picture) in zip((0, half), (("without", left), ("with", right))):
        card.paste(picture.resize((half, half), Image.Resampling.BICUBIC), (half, y))
        draw.text((half // 2, y + half // 2), name, INK, ImageFont.load_default(44), anchor="mm")
    return card


def grid(tiles: list[Image.Image], across: int) -> Image.Image:
    side = SIDE // across
    card = Image.new("RGB", (SIDE, SIDE), PAPER)
    for i, tile in enumerate(tiles[: across * across]):
        card.paste(tile.resize((side, side), Image.Resampling.BICUBIC), (i % across * side, i // across * side))
    return card


def fitted(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    scale = min(SIDE / picture.width, SIDE / picture.height)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    card = Image.new("RGB", (SIDE, SIDE), PAPER)
    card.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return card


def lettered(family: str) -> Image.Image:
    card = Image.new("RGB", (SIDE, SIDE), INK)
    draw = ImageDraw.Draw(card)
    draw.text((SIDE // 2, 210), family, PAPER, ImageFont.load_default(110), anchor="mm")
    draw.text((SIDE // 2, 330), "choose your checkpoint", PAPER, ImageFont.load_default(36), anchor="mm")
    return card


def card(number: str, family: str, server: Server, workflow: dict) -> Image.Image:
    if any(node["type"] == CHECKPOINT for node in workflow["nodes"]):
        return lettered(family)
    shown = pictures(server, workflow)
    if number == "1":
        return beside(shown["b"][0], shown["a"][0])
    if number == "2":
        return fitted(shown["FidelityViewMaps"][0])
    if number == "3":
        return fitted(shown["a"][0])
    if number == "4":
        return grid([shown[name][i] for name in ("Plain", "Method 1", "Method 2", "Method 3") for i in range(4)], 4)
    if number == "5":
        return fitted(shown["The seeds, best first"][0])
    return fitted(shown["Loss over the epochs"][0])


def main() -> None:
    files = [
        file for file in sorted((ROOT / "workflows").glob("*.json")) if file.name[0] in (sys.argv[1:] or "123456789")
    ]
    process, server = start(Path(os.environ["COMFYUI_PATH"]), Path(tempfile.mkdtemp()))
    try:
        for file in files:
            number, family = file.stem[0], file.stem[2:].split(",")[0]
            picture = card(number, family, server, json.loads(file.read_text(encoding="utf-8")))
            picture.save(file.with_suffix(".jpg"), quality=88)
            print(f"wrote {file.with_suffix('.jpg').name}", flush=True)
    finally:
        stop(process)


if __name__ == "__main__":
    main()
