"""From the pictures' figures to the benchmark's answer."""

from __future__ import annotations

from math import isnan
from statistics import mean, median

from .statistics import by_prompt, mcnemar, sign_test, wilson


def compare(rows: list[dict], plain: list[dict], placebo: list[dict] | None) -> dict:
    """One way of drawing against plain sampling and its placebo, on the same pictures.

    The figures' means; `nothing_else` is the share of successes without an object that nobody asked for; `interval` is
    the 95 % interval of success; p_value and p_placebo are McNemar's (of the success, or a sign test of the minimum
    object's similarity where CLIP judges), `detected` the share of pictures in which every noun is there, in whatever
    colour; p_prompts that of plain sampling counted by prompt; None where there is
    nothing to compare with, or one picture of each prompt.
    """
    shapes = "success" in rows[0]  # or scenes: what a detector reads
    figures = ("presence", "binding", "success", "extra", "residual") if shapes else ("full_prompt", "minimum_object")
    answer = {name: mean(row[name] for row in rows) for name in (*figures, "distance", "saturation", "moved")}
    if shapes:
        related = [row["relation"] for row in rows if not isnan(row["relation"])]
        answer["relation"] = mean(related) if related else None
        answer["detected"] = mean(row["presence"] == 1 for row in rows)
        answer["nothing_else"] = mean(row["success"] > 0 and row["extra"] == 0 for row in rows)
    answer["pictures"] = len(rows)
    answer["time_ratio"] = median(row["seconds"] / row["plain_seconds"] for row in rows)
    answer["seconds"] = mean(row["seconds"] for row in rows)
    if shapes:
        answer["interval"] = wilson(round(sum(row["success"] for row in rows)), len(rows))
    for name, others in (("p_value", plain), ("p_placebo", placebo)):
        answer[name] = None
        if others and others is not rows:
            gained, lost, p = _test(others, rows, shapes)
            answer |= {name: p, f"gained_{name}": gained, f"lost_{name}": lost}
    answer["p_prompts"] = _test_by_prompt(plain, rows, shapes) if answer["p_value"] is not None else None
    if not shapes:
        answer |= {"presence": None, "binding": None, "success": None}
    return answer


def _test(before: list[dict], after: list[dict], shapes: bool) -> tuple[int, int, float]:
    if shapes:
        return mcnemar([row["success"] > 0 for row in before], [row["success"] > 0 for row in after])
    pairs = [(b["minimum_object"], a["minimum_object"]) for b, a in zip(before, after, strict=True)]
    more, less = sum(a > b for b, a in pairs), sum(a < b for b, a in pairs)
    return more, less, sign_test(more, less)


def _test_by_prompt(before: list[dict], after: list[dict], shapes: bool) -> float | None:
    prompts, figure = [row["prompt"] for row in before], "success" if shapes else "minimum_object"
    if len(set(prompts)) == len(prompts):
        return None
    return by_prompt(prompts, [row[figure] for row in before], [row[figure] for row in after])[2]


def lines(methods: dict[str, dict]) -> list[str]:
    """The table that is printed."""
    columns = _SHAPES if any("interval" in answer for answer in methods.values()) else _CLIP
    rows = [["", *columns], *([name, *(show(a) for show in columns.values())] for name, a in methods.items())]
    table = _aligned(rows)
    against = [(name, part, a) for name, answer in methods.items() for part, a in answer.get("against", {}).items()]
    return table + [f"{name} against {part}: {_changed(a)}, p {_p(a['p_value'])}" for name, part, a in against]


# Of the same three kinds of prompts, as read in the paper of Attention Regulation (arXiv 2403.06381), of Stable
# Diffusion: the share of pictures in which a detector finds all objects.
_PUBLISHED = {"plain": 0.467, "attend_and_excite": 0.608, "attention_regulation": 0.662}


def by_kind(kinds: dict[str, dict[str, dict]]) -> list[str]:
    """The table of the kinds of prompts: success, and the share of pictures with every noun; nothing without kinds."""
    if not kinds:
        return []
    names = list(dict.fromkeys(name for ways in kinds.values() for name in ways))
    rows = [["success (all nouns there)", *kinds, "read in the papers, all kinds: all objects there"]]
    for name in names:
        own = [_both(ways[name]) if name in ways else "" for ways in kinds.values()]
        rows.append([name, *own, f"{_PUBLISHED[name]:.1%}" if name in _PUBLISHED else ""])
    return ["", *_aligned(rows)]


def _both(answer: dict) -> str:
    return f"{answer['success']:.1%} ({answer['detected']:.1%})"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _changed(a: dict) -> str:
    return f"+{a['gained_p_value']}/-{a['lost_p_value']}" if a["p_value"] is not None else ""


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


_COST = {
    "gained/lost": _changed,
    "p plain": lambda a: _p(a["p_value"]),
    "by prompt": lambda a: _p(a["p_prompts"]),
    "p placebo": lambda a: _p(a["p_placebo"]),
    "time": lambda a: f"{a['time_ratio']:.2f} x",
    "distance": lambda a: f"{a['distance']:.3f}",
    "saturation": lambda a: f"{a['saturation']:+.3f}",
    "moved": lambda a: f"{a['moved']:.2f}",
}
_SHAPES = {
    "success": lambda a: f"{a['success']:.1%}",
    "95 %": lambda a: "{:.0%}-{:.0%}".format(*a["interval"]),
    "nothing else": lambda a: f"{a['nothing_else']:.1%}",
    "presence": lambda a: f"{a['presence']:.1%}",
    "binding": lambda a: f"{a['binding']:.1%}",
    "relation": lambda a: "" if a["relation"] is None else f"{a['relation']:.1%}",
    **_COST,
    "residual": lambda a: f"{a['residual']:.3f}",
}
_CLIP = {
    "full prompt": lambda a: f"{a['full_prompt']:.3f}",
    "minimum object": lambda a: f"{a['minimum_object']:.3f}",
    **_COST,
}
