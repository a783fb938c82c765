"""Draw docs/first-picture.jpg: the first workflow on ComfyUI's own page, after Run, with the verdict that it shows.

python3 dev.py run tools/readme_picture.py
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("conftest", ROOT / "tests" / "conftest.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))  # loads the pack, as for the tests
sys.path[:0] = [str(ROOT / "tests" / "browser"), os.environ["COMFYUI_PATH"]]

from comfy_page import ComfyPage, open_page  # noqa: E402
from live_server import Server, pack_name, start, stop  # noqa: E402
from PIL import Image  # noqa: E402

WIDTH = 1600  # large enough for the nodes' words to be read when the picture is opened
MOST_BYTES = 200_000
LEFT_OUT = ("MarkdownNote", "SaveImage")  # what the page beside it says, and what shows a picture again


def drawn(comfy: ComfyPage, server: Server) -> Image.Image:
    """The workflow's graph after a run, without what is left out."""
    comfy.nodes_2(True)
    (name,) = (file.stem for file in (ROOT / "workflows").glob("1 *.json"))
    comfy.load_template(pack_name(), name)
    comfy.queue(timeout=300)
    comfy.wait_for_text("FidelityViewMaps", "✓")
    comfy.page.evaluate(
        "kinds => app.graph.nodes.filter(node => kinds.includes(node.type)).forEach(node => app.graph.remove(node))",
        list(LEFT_OUT),
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.png"
        comfy.screenshot(file)
        return Image.open(io.BytesIO(file.read_bytes())).convert("RGB")


def main() -> None:
    process, server = start(Path(os.environ["COMFYUI_PATH"]), Path(tempfile.mkdtemp()))
    try:
        with open_page(server) as comfy:
            picture = drawn(comfy, server)
    finally:
        stop(process)
    picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    file = ROOT / "docs" / "first-picture.jpg"
    picture.save(file, quality=85)
    assert file.stat().st_size <= MOST_BYTES, file.stat().st_size
    print(f"wrote {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
