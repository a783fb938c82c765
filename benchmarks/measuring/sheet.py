"""A contact sheet: a row for every prompt, a column for every way of drawing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from prompt_fidelity.core.show import render

from .artist import Drawn


class Sheet:
    def __init__(self) -> None:
        self.rows: list[list] = []
        self.titles: list[str] = []

    def add(self, prompt: str, ways: list[tuple[str, Drawn]]) -> None:
        self.titles.append(f'"{prompt}"')
        self.rows.append([(name, drawn.pictures[0]) for name, drawn in ways])

    def save(self, path: Path) -> None:
        picture = render.side_by_side(self.rows, titles=self.titles)
        Image.fromarray((picture[0] * 255).round().clamp(0, 255).numpy().astype(np.uint8)).save(path)
