"""Render the emoji that TinyScenes draws, once, into one small file. Needs cairosvg and the unpacked npm package:

    npm pack @iconify-json/fluent-emoji-flat@1.2.6 && tar xzf iconify-json-fluent-emoji-flat-1.2.6.tgz
    python benchmarks/tinyscenes/sprites.py package/icons.json

Fluent Emoji by Microsoft, MIT licence. Nothing else needs cairosvg: training, detector and tests read the file.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import cairosvg
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tinyscenes.data import NOUNS, SIZES, SPRITES  # noqa: E402

OVERSAMPLE = 4  # drawn larger and averaged: cairo's own smoothing is coarse at these sizes
MARGIN = 1  # pixels left free around a sprite, so that its outline never touches its box


def render(body: str, units: int, size: int) -> np.ndarray:
    """One emoji, cropped to what it covers and fitted into a square [size, size, 4], colours not premultiplied."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {units} {units}">{body}</svg>'
    inner = (size - 2 * MARGIN) * OVERSAMPLE
    box = _open(svg, 16 * units).getbbox()
    scale = inner / max(box[2] - box[0], box[3] - box[1])
    image = _open(svg, round(16 * units * scale))
    left, top, right, bottom = image.getbbox()
    whole = Image.new("RGBA", (size * OVERSAMPLE,) * 2)
    at = (whole.width - (right - left)) // 2, (whole.height - (bottom - top)) // 2
    whole.paste(image.crop((left, top, right, bottom)), at)
    return np.asarray(whole.resize((size, size), Image.Resampling.BOX))


def _open(svg: str, side: int) -> Image.Image:
    return Image.open(io.BytesIO(cairosvg.svg2png(svg.encode(), output_width=side, output_height=side))).convert("RGBA")


def main() -> None:
    package = json.loads(Path(sys.argv[1]).read_text())
    units = package.get("width", 32)
    rows = []
    for icon in NOUNS.values():
        row = Image.new("RGBA", (sum(SIZES), max(SIZES)))
        for index, size in enumerate(SIZES):
            row.paste(Image.fromarray(render(package["icons"][icon]["body"], units, size)), (sum(SIZES[:index]), 0))
        rows.append(np.asarray(row))
    SPRITES.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(SPRITES, optimize=True)
    print(f"{SPRITES.name}: {len(rows)} nouns at {SIZES}, {SPRITES.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
