"""What was applied and what it did, in the artist's words."""

from __future__ import annotations

import math

from ..control.record import Record, RunLog
from ..layout.standing import standings

# Below this relative change of the loss, the method may have been too weak. What it did to the picture is not known.
_HARDLY = 0.03
# The same for the change of a target's share of the attention.
_HARDLY_SHARE = 0.005
_NOTHING = {
    "latent_loss": "no update",
    "score_edit": "no edit",
    "output_mix": "not mixed",
    "rearrangement": "nothing moved",
}
# So many runs get a line each.
_MOST_RUNS = 8
# So many images get a column of their own; of larger batches the mean is shown.
_MOST_COLUMNS = 4


def report(record: Record, run: RunLog | None = None, sure: bool = True) -> str:
    """A readable account of a run, the latest unless one is given: method and settings, where it was active, each
    target's loss, time, warnings; and a line on every other run of the same queue entry.

    `sure`: whether the run is that of the picture it is shown with.
    """
    run = run or record.latest
    if run.method is None:
        return "Nothing has been recorded yet. Connect the MODEL of Apply Attention Control to a sampler and run it."
    sections = [
        _heading(run),
        _runs(record, run),
        _activity(run),
        _losses(run),
        _shares(run),
        _places(run),
        _second_look(run),
        _notes(run, sure),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def headline(record: Record | RunLog) -> str:
    """The run in one line, for a node's face or a table: "T-SAM: 25 updates, loss 0.41 → 0.22"."""
    if record.method is None:
        return "nothing recorded yet"
    if record.mixes:
        return f"{record.method.title}: mixed in {_count(len(record.mixes), 'step')}"
    edited = record.edited()
    if edited:
        before, after = (f"{float(shares.mean()):.1%}" for shares in (edited[0].before, edited[-1].after))
        return f"{record.method.title}: {_count(len(edited), 'step')} edited, share of a target {before} → {after}"
    if record.rearranged() and not record.measured():
        return f"{record.method.title}: noise rearranged before step {record.rearranged()[0].index + 1}"
    if not record.measured():
        return f"{record.method.title}: {_NOTHING[record.method.kind]}"
    before, after = overall_loss(record)
    return f"{record.method.title}: {_count(record.updates, 'update')}, loss {_number(before)} → {_number(after)}"


def overall_loss(record: Record | RunLog) -> tuple[float, float]:
    """Mean over the images of the loss at the run's first evaluation and at its last."""
    measured = record.measured()
    return float(measured[0].totals[0].mean()), float(measured[-1].outcome[1].mean())


def _heading(record: RunLog) -> list[str]:
    method = record.method
    lines = [f"{method.title}, preset {method.preset} (arXiv {method.paper}), strength {record.strength:g}"]
    if record.reason:
        lines.append(f"Chosen by auto: {record.reason}")
    if record.targets.prompt:
        lines.append(f'Prompt: "{record.targets.prompt}"')
    names = [target.phrase for target in record.targets.objects]
    lines.append(f"Targets: {', '.join(names) if names else 'none'}")
    lines.append(f"Settings: {method.settings_text()}")
    return lines


def _runs(record: Record, shown: RunLog) -> list[str]:
    """How many runs there were, if it was more than one; what each did, if they are few."""
    if record.count < 2:
        return []
    numbered = list(enumerate(record.runs, record.count - len(record.runs) + 1))
    which = next((f"run {number}" for number, run in numbered if run is shown), "an earlier run")
    lines = [f"{record.count} runs of this model in this queue entry. What follows, and the maps, are of {which}."]
    if record.count <= _MOST_RUNS:
        lines += [f"  Run {number}: {headline(run)}." for number, run in numbered]
    return lines


def _activity(record: RunLog) -> list[str]:
    if not record.finished:
        return ["The run is not over yet, or it ended before it was recorded."]
    lines = []
    if record.pieces > 1:
        lines.append(f"The run was made in {record.pieces} pieces.")
    if record.interrupted:
        lines.append("The run was interrupted; this is what was done until then.")
    start, end = record.window
    of_all = f" of {record.total_steps}" if record.total_steps is not None else ""
    if record.steps:
        lines.append(
            f"Active in {len(record.steps)}{of_all} steps, between {start:.0%} and {end:.0%} of the run: "
            f"{_count(record.updates, 'update')}, {_count(record.evaluations, 'extra network call')}."
        )
    if record.mixes:
        lines.append(
            f"Mixed in {len(record.mixes)}{of_all} steps, between {start:.0%} and {end:.0%} of the run, "
            f"in {_count(max(entry.layers for entry in record.mixes), 'layer')}."
        )
        first, last = record.mixes[0], record.mixes[-1]
        weights = zip(first.names, first.weights, last.weights, strict=True)
        lines += [f"  {name}: weight {_change(before, after)}" for name, before, after in weights]
    for entry in record.rearranged():
        far = entry.shifts.abs().amax(dim=2).float().mean(dim=0).tolist()
        moved = ", ".join(
            f"{name} by {_count(round(cells), 'cell')}" for name, cells in zip(entry.names, far, strict=True)
        )
        lines.append(f"Before step {entry.index + 1} the noise was rearranged: {moved}.")
    if record.edits:
        lines.append(
            f"Edited in {len(record.edited())}{of_all} steps, between {start:.0%} and {end:.0%} of the run, "
            "without further network calls."
        )
    refined = [entry for entry in record.steps if entry.refined]
    if refined:
        each = ", ".join(f"{int(entry.updates.max())} updates at {entry.progress:.0%}" for entry in refined)
        lines.append(f"Refined {_count(len(refined), 'time')}: {each}.")
    moved = [float(entry.moved.mean()) for entry in record.steps if entry.moved is not None]
    if moved:
        lines.append(
            f"The latent was moved by {sum(moved) / len(moved):.1%} of its size a step, at most by {max(moved):.1%}."
        )
    whole = f" of {record.run_seconds:.1f} s" if record.run_seconds else ""
    sampler = f" (sampler {record.sampler})" if record.sampler else ""
    if record.method.kind != "latent_loss":
        lines.append(f"Time of the whole run: {record.run_seconds or 0:.1f} s{sampler}.")
    else:
        lines.append(f"Time spent on the updates: {record.seconds:.1f} s{whole}{sampler}.")
    return lines


def _losses(record: RunLog) -> list[str]:
    measured = record.measured()
    if not measured:
        return []
    first, final = measured[0], measured[-1]
    before, total_before = first.first, first.totals[0]  # [B, T], [B]
    after, total_after = final.outcome
    images = before.shape[0]
    if images > _MOST_COLUMNS:
        columns = [f"mean of {images} images"]
        before, after = before.mean(0, keepdim=True), after.mean(0, keepdim=True)
        total_before, total_after = total_before.mean(0, keepdim=True), total_after.mean(0, keepdim=True)
    else:
        columns = [f"image {i + 1}" for i in range(images)] if images > 1 else [""]
    rows = [["", *columns]] if images > 1 else []
    for t, name in enumerate(final.names):
        rows.append([name, *(_change(b[t], a[t]) for b, a in zip(before, after, strict=True))])
    rows.append(["all together", *(_change(b, a) for b, a in zip(total_before, total_after, strict=True))])
    return ["Loss when the method began → when it ended (lower is better):", *_table(rows)]


def _shares(record: RunLog) -> list[str]:
    """Each edited step: its layers, and what share of the attention every target had and got."""
    edited = record.edited()
    if not edited:
        return []
    images = edited[0].before.shape[0]
    mean = f", mean of {images} images" if images > 1 else ""
    layers = list(dict.fromkeys(entry.layers for entry in edited))
    rows = [["step", *edited[0].names]]
    for entry in edited:
        moved = zip(entry.before.mean(0).tolist(), entry.after.mean(0).tolist(), strict=True)
        step = f"{entry.index + 1} ({entry.progress:.0%})" + (
            f" [{layers.index(entry.layers) + 1}]" if len(layers) > 1 else ""
        )
        rows.append([step, *(f"{before:.1%} → {after:.1%}" for before, after in moved)])
    if len(layers) == 1:
        named = [f"Edited layers, in every step: {', '.join(layers[0])}."]
    else:
        named = [f"Edited layers [{i}]: {', '.join(group)}." for i, group in enumerate(layers, start=1)]
    return [*named, f"Each target's share of the attention, before → after the edit{mean}:", *_table(rows)]


def _places(record: RunLog) -> list[str]:
    """Each placed object, and whether its attention peaks in its place."""
    if record.layout is None or record.maps.mean is None:
        return []
    images = standings(record.maps.shown(record.targets)[1], record.targets, record.layout)
    if not images or not images[0]:
        return []
    lines = ["Does each object stand in its place? (by where its attention peaks, and the share of it that lies there)"]
    for objects in zip(*images, strict=True):
        there = sum(one.inside for one in objects)
        mean = sum(one.share for one in objects) / len(objects)
        word = ("yes" if there else "no") if len(objects) == 1 else f"in {there} of {len(objects)} images"
        lines.append(f"  {objects[0].name}: {word} ({mean:.0%})")
    return lines


def _second_look(record: RunLog) -> list[str]:
    """What the model said of its finished picture."""
    seen = record.evidence
    if seen is None:
        return []
    lines = [
        f"After the last step the model looked at the picture again {_count(seen.looks, 'time')}, through noise "
        f"({_count(seen.passes, 'network call')}, {seen.seconds:.1f} s). How much better the prompt explains it than "
        "one without the object:"
    ]
    for target, gains in zip(record.targets.objects, seen.gains.T.tolist(), strict=True):
        if not math.isnan(gains[0]):
            shown = gains if len(gains) <= _MOST_COLUMNS else [sum(gains) / len(gains)]
            mean = "" if len(gains) <= _MOST_COLUMNS else f", mean of {len(gains)} images"
            lines.append(f"  {target.phrase}: {', '.join(f'{gain:+.0%}' for gain in shown)}{mean}")
    return lines


def _notes(record: RunLog, sure: bool) -> list[str]:
    lines = notes(record, sure)
    return ["Please note:", *(f"- {note}" for note in lines)] if lines else []


def notes(record: RunLog, sure: bool = True) -> list[str]:
    """What the artist should know of a run, each once: its warnings, what was skipped, what had no effect."""
    found = list(record.warnings)
    if not sure:
        found.append(
            "Nothing was sampled with this model in this queue entry: the picture comes from the cache, and these maps "
            "from the last time that it was sampled, maybe for another picture. To be sure, change the seed and queue "
            "again."
        )
    for entry in (*record.steps, *record.edits, *record.mixes, *record.arranged):
        found += [f"At {entry.progress:.0%} of the run: {reason}." for reason in entry.skipped]
    if any(not entry.unconditional for entry in record.mixes):
        found.append(
            "The negative prompt was not run together with the positive one (guidance 1, or little memory), so the "
            "attention to "
            "the whole prompt was taken off in its place."
        )
    if record.finished:
        found += [*_unrecognised(record), *_judgement(record)]
    return list(dict.fromkeys(found))


def _missed(record: RunLog) -> int:
    """Steps whose beginning was not seen, in a run that was not cut short."""
    if record.recognised is None or record.interrupted:
        return 0
    return max((record.total_steps or 0) - record.recognised, 0)


def _unrecognised(record: RunLog) -> list[str]:
    """What to say of steps that the sampler took unseen."""
    missed = _missed(record)
    if not missed or record.strength <= 0:
        return []
    if record.recognised == 0:
        return [
            f"None of the {_count(record.total_steps, 'step')} of the sampler {record.sampler} could be told apart, as "
            "it calls the model at noise levels of its own. So the method never acted, whatever its window, and the "
            "picture is the plain one. Choose another sampler, for example euler or dpmpp_2m."
        ]
    return [
        f"Of the {_count(record.total_steps, 'step')} of the sampler {record.sampler} only {record.recognised} could "
        "be told apart, as it calls the model at noise levels of its own; in the others the method could not act."
    ]


def _judgement(record: RunLog) -> list[str]:
    """What the artist should do if the method had little or nothing to do."""
    if record.strength <= 0:
        return ["The strength is 0, so the picture is the plain one."]
    if not record.method.applies(record.targets):
        return []  # the method's own warning says why
    if not record.acted:
        if record.interrupted:
            return []
        if record.recognised == 0 and record.total_steps:
            return []  # said already
        start, end = record.window
        if start >= end:
            return [
                "The start and end set on the Apply node leave nothing of the method's own window "
                f"({_span(*record.method.window)}), so nothing was changed. Let them overlap it."
            ]
        which = "the steps that could be told apart" if _missed(record) else "this run's steps"
        return [
            f"The method's window ({start:.0%} to {end:.0%}) holds none of {which}, so nothing was changed. "
            "Widen start and end; with a denoise below 1 the sampling begins late, so end must be later."
        ]
    if record.method.kind in ("output_mix", "rearrangement"):
        return []
    if not record.measured() and not record.edited() and (record.mixes or record.rearranged()):
        return []  # one part of a combination had no step, another has changed the picture
    if record.method.kind == "score_edit":
        return _judgement_of_edits(record)
    if not record.measured():
        return ["No loss could be computed in any step, so the picture is the plain one."]
    before, after = overall_loss(record)
    if record.updates == 0:
        return ["The loss was already as low as it can be, so the latent was not moved."] if before == 0 else []
    if record.updates > 1 and abs(before - after) < _HARDLY * max(abs(before), 1e-12):
        return [
            "The loss hardly changed while the method acted. Compare with a picture at strength 0; if they look the "
            "same, raise the strength or the method's step size."
        ]
    return []


def _judgement_of_edits(record: RunLog) -> list[str]:
    edited = record.edited()
    if not edited:
        return ["No layer could be edited in any step, so the picture is the plain one."]
    gained = [float((entry.after - entry.before).abs().max()) for entry in edited]
    if max(gained) < _HARDLY_SHARE:
        return [
            "The targets' shares of the attention hardly changed. Compare with a picture at strength 0; if they look "
            "the same, raise the strength or the method's share."
        ]
    return []


def _span(start: float, end: float) -> str:
    return f"{start:.0%} to {end:.0%}"


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _change(before, after) -> str:
    return f"{_number(float(before))} → {_number(float(after))}"


def _number(value: float) -> str:
    """Three significant places: 12.3, 0.412, 0.004."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
