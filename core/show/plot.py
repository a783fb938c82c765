"""The losses of a run, or of an optimisation, as a line chart."""

from __future__ import annotations

from math import ceil, floor, log10

from PIL import Image, ImageDraw
from torch import Tensor

from ..control.record import Record, RunLog
from ..drawing import FAINT, INK, LINE_COLOURS, PAPER, font, line_height, shortened, to_image

# Drawn so much larger and then reduced: Pillow's lines are not smooth by themselves.
_OVERSAMPLING = 2
_MOST_LINES = 12

# A line is a list of (progress in percent, loss, whether it is a step's first evaluation).
_Line = list[tuple[float, float, bool]]


def loss_plot(record: Record | RunLog, width: int = 960, height: int = 540) -> Tensor:
    """Loss per target over the run, or its share of the attention if scores were edited; a batch's mean.

    [1, height, width, 3] in 0..1. A filled dot is a step's first evaluation, a ring where its updates took the loss
    within the step, or the edit the share; a dotted vertical line marks a refinement. With nothing to draw the picture
    says why.
    """
    chart = _Chart(width, height)
    lines = _lines(record)
    if not lines:
        chart.empty(_reason(record))
        return chart.image()
    points = [point for line in lines.values() for point in line]
    chart.axes(
        [x for x, _, _ in points],
        [y for _, y, _ in points],
        _title(record),
        _legend_room(width, lines),
        _measure(record),
    )
    for entry in record.measured():
        if entry.refined:
            chart.refinement(entry.progress * 100, int(entry.updates.max()))
    for i, (name, line) in enumerate(lines.items()):
        chart.line(line, LINE_COLOURS[i % len(LINE_COLOURS)])
        chart.legend(i, name, line, LINE_COLOURS[i % len(LINE_COLOURS)])
    return chart.image()


def epochs_plot(lines: dict[str, list[float]], title: str, width: int = 960, height: int = 540) -> Tensor:
    """Values by name, one per epoch from 0 on, as a line chart [1, height, width, 3] in 0..1."""
    chart = _Chart(width, height)
    drawn: dict[str, _Line] = {
        name: [(float(epoch), value, True) for epoch, value in enumerate(values)] for name, values in lines.items()
    }
    points = [point for line in drawn.values() for point in line]
    chart.axes(
        [x for x, _, _ in points],
        [y for _, y, _ in points],
        title,
        _legend_room(width, drawn),
        "loss",
        across="updates of the weights",
        least=1.0,
    )
    for i, (name, line) in enumerate(list(drawn.items())[:_MOST_LINES]):
        chart.line(line, LINE_COLOURS[i % len(LINE_COLOURS)])
        chart.legend(i, name, line, LINE_COLOURS[i % len(LINE_COLOURS)])
    return chart.image()


def _measure(record: Record | RunLog) -> str:
    return "share" if record.edited() else "loss"


def _title(record: Record | RunLog) -> str:
    images = (record.edited()[0].before if record.edited() else record.measured()[0].first).shape[0]
    what = "share of the attention" if record.edited() else "loss"
    return f"{record.method.title}: {what} per target" + (f", mean of {images} images" if images > 1 else "")


def _reason(record: Record | RunLog) -> str:
    if record.method is None:
        return "Nothing has been recorded yet."
    return f"{record.method.title} made no {'edit' if record.method.kind == 'score_edit' else 'update'} in this run."


def _lines(record: Record | RunLog) -> dict[str, _Line]:
    """One line per target: every step's first loss, and the one that its updates reached if there were several."""
    lines: dict[str, _Line] = {}
    for entry in record.edited():
        before, after = entry.before.mean(0), entry.after.mean(0)  # [T]
        for t, name in enumerate(_distinct(entry.names)[:_MOST_LINES]):
            points = [(entry.progress * 100, float(before[t]), True), (entry.progress * 100, float(after[t]), False)]
            lines.setdefault(name, []).extend(points)
    for entry in record.measured():
        first, last = entry.first.mean(0), entry.outcome[0].mean(0)  # [T]
        for t, name in enumerate(_distinct(entry.names)[:_MOST_LINES]):
            line = lines.setdefault(name, [])
            line.append((entry.progress * 100, float(first[t]), True))
            if entry.evaluations > 1 or entry.after is not None:
                line.append((entry.progress * 100, float(last[t]), False))
    return lines


def _distinct(names: tuple[str, ...]) -> list[str]:
    """Names made unique: a prompt may have two cats."""
    return [f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _legend_room(width: int, lines: dict[str, _Line]) -> int:
    longest = max(font(15).getlength(name) for name in lines)
    return int(min(max(longest + 40, 150), width * 0.3))


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover [low, high] from inside."""
    raw = (high - low) / wanted
    power = 10.0 ** floor(log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    return [i * step for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


class _Chart:
    """A canvas that knows where a loss at some point of the run belongs."""

    def __init__(self, width: int, height: int) -> None:
        self.scale = _OVERSAMPLING
        self.width, self.height = width, height
        self.canvas = Image.new("RGB", (width * self.scale, height * self.scale), PAPER)
        self.draw = ImageDraw.Draw(self.canvas)

    def image(self) -> Tensor:
        return to_image(self.canvas.resize((self.width, self.height), Image.Resampling.LANCZOS))[None]

    def empty(self, sentence: str) -> None:
        face = self._face(20)
        text = shortened(sentence, face, self.width * self.scale * 0.9)
        self.draw.text(
            (self.width * self.scale / 2, self.height * self.scale / 2), text, font=face, fill=INK, anchor="mm"
        )

    def axes(
        self,
        xs: list[float],
        ys: list[float],
        title: str,
        legend_room: int,
        measure: str,
        across: str = "progress of the run (%)",
        least: float = 10.0,
    ) -> None:
        self.left, self.right = 70, self.width - legend_room - 20
        self.top, self.bottom = 50, self.height - 62
        self.x_range = _padded(min(xs), max(xs), 0.03, least=least)
        # From zero, so that a small change looks small.
        lowest, highest = _padded(min(*ys, 0.0), max(ys), 0.06, least=1e-3)
        self.y_range = (0.0 if min(ys) >= 0 else lowest, highest)
        self._text(title, self.left, 14, 18)
        for y in ticks(*self.y_range):
            self._line([(self.x_range[0], y), (self.x_range[1], y)], FAINT, 1)
            self._text(f"{y:.4g}", self.left - 8, self._y(y), 14, "rm")
        for x in ticks(*self.x_range, wanted=8):
            self._line([(x, self.y_range[0]), (x, self.y_range[1])], FAINT, 1)
            self._text(f"{x:.4g}", self._x(x), self.bottom + 8, 14, "mt")
        corner = (self.x_range[0], self.y_range[0])
        self._line([(self.x_range[0], self.y_range[1]), corner, (self.x_range[1], self.y_range[0])], INK, 1.5)
        self._text(across, (self.left + self.right) / 2, self.height - 28, 14, "mt")
        self._text(measure, self.left - 8, self.top - 10, 14, "rm")

    def refinement(self, x: float, updates: int) -> None:
        top, bottom = self.y_range[1], self.y_range[0]
        dash = (top - bottom) / 60
        for i in range(0, 60, 2):
            self._line([(x, bottom + i * dash), (x, bottom + (i + 1) * dash)], (150, 150, 158), 1)
        self._text(f"{updates} updates", self._x(x) + 4, self.top + 2, 12)

    def line(self, points: _Line, colour: tuple[int, int, int]) -> None:
        self._line([(x, y) for x, y, _ in points], colour, 2)
        for x, y, first in points:
            centre, radius = (self._x(x) * self.scale, self._y(y) * self.scale), (3.2 if first else 3.6) * self.scale
            self.draw.circle(
                centre, radius, fill=colour if first else PAPER, outline=colour, width=int(1.6 * self.scale)
            )

    def legend(self, row: int, name: str, points: _Line, colour: tuple[int, int, int]) -> None:
        left, top = self.right + 20, self.top + row * 42
        self.draw.rectangle([v * self.scale for v in (left, top + 7, left + 18, top + 10)], fill=colour)
        room = (self.width - left - 34) * self.scale
        self._text(shortened(name, self._face(15), room), left + 26, top, 15)
        self._text(f"{points[0][1]:.3f} to {points[-1][1]:.3f}", left + 26, top + line_height(font(15)), 13)

    def _x(self, x: float) -> float:
        low, high = self.x_range
        return self.left + (x - low) / (high - low) * (self.right - self.left)

    def _y(self, y: float) -> float:
        low, high = self.y_range
        return self.bottom - (y - low) / (high - low) * (self.bottom - self.top)

    def _face(self, size: float):
        return font(size * self.scale)

    def _line(self, points: list[tuple[float, float]], colour: tuple[int, int, int], thickness: float) -> None:
        places = [(self._x(x) * self.scale, self._y(y) * self.scale) for x, y in points]
        self.draw.line(places, fill=colour, width=max(int(thickness * self.scale), 1), joint="curve")

    def _text(self, text: str, x: float, y: float, size: float, anchor: str = "lt") -> None:
        self.draw.text((x * self.scale, y * self.scale), text, font=self._face(size), fill=INK, anchor=anchor)


def _padded(low: float, high: float, share: float, least: float) -> tuple[float, float]:
    """[low, high] with `share` of its length more at either end, and never narrower than `least`."""
    span = max(high - low, least)
    return low - share * span, low + span + share * span
