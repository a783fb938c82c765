"""Draw docs/gallery.jpg: the first prompts of the benchmark's test half, plainly and with what `auto` takes.

    python3 dev.py run tools/gallery.py

Nothing is picked: prompts and seeds are the first ones, whatever comes out.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from _pack import load_pack  # noqa: E402

load_pack()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from measuring.cases import FIRST_SEED, excite_cases  # noqa: E402
from measuring.demo_models import MODELS  # noqa: E402
from PIL import Image  # noqa: E402
from prompt_fidelity.core.methods import METHODS  # noqa: E402
from prompt_fidelity.core.methods.auto import Auto  # noqa: E402
from prompt_fidelity.core.show import render  # noqa: E402
from prompt_fidelity.host.sampling.install import attach  # noqa: E402

PROMPTS, SEEDS, SIDE = 9, 3, 128


def main() -> None:
    rows, titles = [], []
    with torch.inference_mode():
        artist = MODELS["scenes"]().artist()
        for case in excite_cases("test")[:PROMPTS]:
            seeds = [FIRST_SEED["test"] + i for i in range(SEEDS)]
            conditioning, targets = artist.encode(case.prompt)
            model, _ = attach(artist.model, Auto(METHODS), targets)
            ways = [("plain", artist.plain(conditioning, seeds)), ("auto", artist.drawn_by(model, conditioning, seeds))]
            rows.append([(name, picture) for name, drawn in ways for picture in drawn.pictures])
            titles.append(f'"{case.prompt}"')
    sheet = (render.side_by_side(rows, titles, height=SIDE)[0] * 255).round().clamp(0, 255)
    Image.fromarray(sheet.numpy().astype(np.uint8)).save(ROOT / "docs" / "gallery.jpg", quality=88)


if __name__ == "__main__":
    main()
