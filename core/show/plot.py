"""The losses of a run, or of an optimisation, as a line chart."""

from __future__ import annotations

from math import ceil, floor, log10

from PIL import Image, ImageDraw
from torch import Tensor

from ..control.record import Record, RunLog
from ..drawing import FAINT, INK, LINE_COLOURS, PAPER, font, line_height, shortened, to_image
from ..fonts import writable
from ..prompt.naming import told_apart

# Drawn so much larger and then reduced: Pillow's lines are not smooth by themselves.
_OVERSAMPLING = 2
_MOST_LINES = 12

# A line is a list of (progress in percent, loss, whether it is a step's first evaluation).
_Line = list[tuple[float, float, bool]]


def loss_plot(record: Record | RunLog, width: int = 960, height: int = 540) -> Tensor:
    """What the method moved, object by object, over the run: losses, or shares of the attention if scores were edited;
    else where there is neither, the peaks of the objects' maps. A batch's mean.

    [1, height, width, 3] in 0..1. A filled dot is a step's first evaluation, a ring where its updates took the loss
    within the step; a dotted vertical line marks a refinement. An edited share has two lines: thin and with rings
    without the edit, and with it. Only where nothing was recorded the picture says so.
    """
    chart = _Chart(width, height)
    lines = _lines(record)
    if not lines:
        chart.empty("Nothing has been recorded yet.")
        return chart.image()
    before = _shares_before(record)
    points = [point for line in (*lines.values(), *before.values()) for point in line]
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
        colour = LINE_COLOURS[i % len(LINE_COLOURS)]
        if name in before:
            chart.line(before[name], colour, thickness=0.8)
        chart.line(line, colour)
        chart.legend(i, name, line, colour)
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
    if record.edited():
        return "share"
    return "loss (lower is better)" if record.measured() else "peak"


def _title(record: Record | RunLog) -> str:
    if record.edited():
        images, what = record.edited()[0].before.shape[0], "share of the attention, thin: without the edit"
    elif record.measured():
        images, what = record.measured()[0].first.shape[0], "loss of each object"
    else:
        images, what = record.maps.mean.shape[0], "nothing was moved by a loss; highest attention to each object"
    title = f"{record.method.title}: {what}" if record.method is not None else what
    return title + (f", mean of {images} images" if images > 1 else "")


def _lines(record: Record | RunLog) -> dict[str, _Line]:
    """One line per object: every step's first loss, and what its updates made of it; edited shares; or peaks."""
    lines: dict[str, _Line] = {}
    for entry in record.edited():
        for t, name in enumerate(_distinct(entry.names)[:_MOST_LINES]):
            lines.setdefault(name, []).append((entry.progress * 100, float(entry.after.mean(0)[t]), True))
    for entry in record.measured():
        first, last = entry.first.mean(0), entry.outcome[0].mean(0)  # [T]
        for t, name in enumerate(_distinct(entry.names)[:_MOST_LINES]):
            line = lines.setdefault(name, [])
            line.append((entry.progress * 100, float(first[t]), True))
            if entry.evaluations > 1 or entry.after is not None:
                line.append((entry.progress * 100, float(last[t]), False))
    return lines or _peaks(record)


def _shares_before(record: Record | RunLog) -> dict[str, _Line]:
    """Each object's share of the attention without the edit."""
    lines: dict[str, _Line] = {}
    for entry in record.edited():
        for t, name in enumerate(_distinct(entry.names)[:_MOST_LINES]):
            lines.setdefault(name, []).append((entry.progress * 100, float(entry.before.mean(0)[t]), False))
    return lines


def _peaks(record: Record | RunLog) -> dict[str, _Line]:
    """The highest value of every object's map over the run, from the steps that were kept."""
    maps = record.maps
    if maps.mean is None:
        return {}
    columns = [i for i, name in enumerate(maps.names) if name in told_apart(record.targets.objects)]
    steps = max(maps.steps - 1, 1)
    return {
        maps.names[column]: [
            (100 * (step - 1) / steps, float(one[:, column].float().amax(dim=(1, 2)).mean()), True)
            for step, one in maps.frames
        ]
        for column in columns[:_MOST_LINES]
    }


def _distinct(names: tuple[str, ...]) -> list[str]:
    """Names made unique: a prompt may have two cats."""
    return [f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _legend_room(width: int, lines: dict[str, _Line]) -> int:
    longest = max(font(15, name).getlength(name) for name in lines)
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
        self._text(measure, self.left - 50, self.top - 12, 14, "lm")

    def refinement(self, x: float, updates: int) -> None:
        top, bottom = self.y_range[1], self.y_range[0]
        dash = (top - bottom) / 60
        for i in range(0, 60, 2):
            self._line([(x, bottom + i * dash), (x, bottom + (i + 1) * dash)], (150, 150, 158), 1)
        self._text(f"{updates} updates", self._x(x) + 4, self.top + 2, 12)

    def line(self, points: _Line, colour: tuple[int, int, int], thickness: float = 2) -> None:
        """Through each step's first point alone: what happens within a step is a stroke and a ring beside it."""
        through = [(x, y) for x, y, first in points if first] or [(x, y) for x, y, _ in points]
        self._line(through, colour, thickness)
        for (x, y, first), (x_next, y_next, within) in zip(points, points[1:]):
            if first and not within and x_next == x:
                self._line([(x, y), (x_next, y_next)], colour, 0.8)
        for x, y, first in points:
            centre, radius = (self._x(x) * self.scale, self._y(y) * self.scale), (3.2 if first else 3.6) * self.scale
            self.draw.circle(
                centre, radius, fill=colour if first else PAPER, outline=colour, width=int(1.6 * self.scale)
            )

    def legend(self, row: int, name: str, points: _Line, colour: tuple[int, int, int]) -> None:
        left, top = self.right + 20, self.top + row * 42
        self.draw.rectangle([v * self.scale for v in (left, top + 7, left + 18, top + 10)], fill=colour)
        room = (self.width - left - 34) * self.scale
        name = writable(name, f"object {row + 1}")
        self._text(shortened(name, self._face(15, name), room), left + 26, top, 15)
        self._text(f"{points[0][1]:.3f} to {points[-1][1]:.3f}", left + 26, top + line_height(font(15)), 13)

    def _x(self, x: float) -> float:
        low, high = self.x_range
        return self.left + (x - low) / (high - low) * (self.right - self.left)

    def _y(self, y: float) -> float:
        low, high = self.y_range
        return self.bottom - (y - low) / (high - low) * (self.bottom - self.top)

    def _face(self, size: float, text: str = ""):
        return font(size * self.scale, text)

    def _line(self, points: list[tuple[float, float]], colour: tuple[int, int, int], thickness: float) -> None:
        places = [(self._x(x) * self.scale, self._y(y) * self.scale) for x, y in points]
        self.draw.line(places, fill=colour, width=max(int(thickness * self.scale), 1), joint="curve")

    def _text(self, text: str, x: float, y: float, size: float, anchor: str = "lt") -> None:
        self.draw.text((x * self.scale, y * self.scale), text, font=self._face(size, text), fill=INK, anchor=anchor)


def _padded(low: float, high: float, share: float, least: float) -> tuple[float, float]:
    """[low, high] with `share` of its length more at either end, and never narrower than `least`."""
    span = max(high - low, least)
    return low - share * span, low + span + share * span
