"""The one CSV: every picture's figures, appended as they come, so that a stopped benchmark goes on where it was."""

from __future__ import annotations

import csv
from pathlib import Path

KEY = ("name", "settings", "prompt", "seed")


class Table:
    """Rows by (name, settings, prompt, seed). `settings` tells apart runs of one method with different settings or
    weights.
    """

    def __init__(self, path: Path, figures: tuple[str, ...]) -> None:
        self.path = path
        self.columns = (*KEY, *figures, "distance", "saturation", "moved", "updates", "seconds", "plain_seconds")
        self.rows: dict[tuple, dict] = {}
        if path.is_file():
            _drop_cut_off_line(path)
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) != self.columns:
                    raise ValueError(
                        f"{path} was written by another version or judge of the benchmark. Choose another --out, or "
                        f"remove it."
                    )
                for row in reader:
                    self._keep({name: value if name in KEY else float(value) for name, value in row.items()})
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(self.columns)

    def _keep(self, row: dict) -> None:
        self.rows[tuple(str(row[name]) for name in KEY)] = row

    def has(self, name: str, settings: str, prompt: str, seed: int) -> bool:
        return (name, settings, prompt, str(seed)) in self.rows

    def add(self, rows: list[dict]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerows(rows)
        for row in rows:
            self._keep(row)

    def select(self, name: str, settings: str, keys: list[tuple[str, int]]) -> list[dict]:
        """The rows of a way of drawing, one for each (prompt, seed), in their order; those not
        drawn yet are left out.
        """
        wanted = ((name, settings, prompt, str(seed)) for prompt, seed in keys)
        return [self.rows[key] for key in wanted if key in self.rows]


def _drop_cut_off_line(path: Path) -> None:
    """A benchmark that is stopped may leave half a line."""
    written = path.read_bytes()
    whole = written[: written.rfind(b"\n") + 1]
    if whole != written:
        path.write_bytes(whole)
