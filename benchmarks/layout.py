"""How well the solver turns a prompt's relations into boxes.

    python benchmarks/layout.py --prompts tests/data/prompts/gpt.txt --json

Two formats of prompts with known meaning are read (see benchmarks/extraction.py). The figures:

- relations_held: of the relations that the file states, given to the solver with the file's objects, the share that
  holds: the two boxes lie apart along the relation's axis, in its order.
- relations_end_to_end: of the same relations, the share that holds in the layout of what is read from the sentence
  alone, between the extracted objects of the listed names. An object that was not found loses its relations.
- overlap_violations: pairs of objects without a relation whose boxes share more than 10 % of the smaller one. -
outside: boxes that leave the picture. - seconds: processor time of the slowest layout of `--objects` objects (default
5) in a chain of mixed relations, over ten runs.

The first four are over every picture shape in `--sizes`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from extraction import Example, load_core, read_examples, split_colour  # noqa: E402

load_core()

from prompt_fidelity.core.layout import Layout, SolverSettings, solve  # noqa: E402
from prompt_fidelity.core.prompt import extract, parse_weights  # noqa: E402
from prompt_fidelity.core.prompt.lexicon import singular  # noqa: E402
from prompt_fidelity.core.prompt.targets import Relation, Target, Targets  # noqa: E402

SIZES = ((512, 512), (768, 512), (512, 896), (1024, 256))


def as_targets(names: list[str], relations: list[tuple[int, str, int]]) -> Targets:
    objects = tuple(Target(name, name, (i + 1,)) for i, name in enumerate(names))
    return Targets("", objects, tuple(Relation(*relation) for relation in relations), (), (), 77, 77)


def given(example: Example) -> Targets:
    """The file's own objects and relations."""
    names = list(example.objects)
    return as_targets(names, [(names.index(a), where, names.index(b)) for a, where, b in example.relations])


def read(example: Example) -> tuple[Targets, dict[str, int]]:
    """What is read from the sentence, and the index of each listed object in it."""
    scene = extract(parse_weights(example.sentence).text)
    targets = as_targets(
        [thing.phrase for thing in scene.objects], [(r.subject, r.predicate, r.object) for r in scene.relations]
    )
    index: dict[str, int] = {}
    for listed in example.objects:
        colour, name = split_colour(listed)
        same = [
            i for i, thing in enumerate(scene.objects) if _plain(thing.name) == _plain(name) and i not in index.values()
        ]
        same.sort(key=lambda i: colour not in scene.objects[i].phrase.lower().split())
        if same:
            index[listed] = same[0]
    return targets, index


def _plain(text: str) -> str:
    return " ".join(singular(word) for word in text.lower().split())


def overlaps(layout: Layout) -> int:
    related = {frozenset((r.subject, r.object)) for r in layout.relations}
    pairs = combinations(layout.placements, 2)
    return sum(a.box.shared(b.box) > 0.1 for a, b in pairs if frozenset((a.target, b.target)) not in related)


def slowest(count: int, repeats: int = 10) -> float:
    """Seconds of the slowest of `repeats` layouts, after one to warm up."""
    predicates = ("left of", "above", "next to", "in")
    targets = as_targets(
        [f"thing {i}" for i in range(count)], [(i, predicates[i % 4], i + 1) for i in range(count - 1)]
    )
    times = []
    for seed in range(repeats + 1):
        started = time.process_time()
        solve(targets, 768, 512, SolverSettings(seed=seed))
        times.append(time.process_time() - started)
    return max(times[1:])


def run(examples: list[Example], sizes=SIZES, seed: int = 0, objects: int = 5, show_errors: bool = False) -> dict:
    stated = held = end_to_end = violations = outside = 0
    for example in examples:
        if not example.objects:
            continue
        known, (targets, index) = given(example), read(example)
        for width, height in sizes:
            layouts = [solve(t, width, height, SolverSettings(seed=seed)) for t in (known, targets)]
            violations += sum(overlaps(layout) for layout in layouts)
            outside += sum(not placement.box.is_inside for layout in layouts for placement in layout.placements)
            for listed, relation in zip(example.relations, known.relations):
                stated += 1
                held += bool(layouts[0].holds(relation))
                found = listed[0] in index and listed[2] in index
                kept = found and bool(layouts[1].holds(Relation(index[listed[0]], listed[1], index[listed[2]])))
                end_to_end += kept
                if show_errors and not kept and (width, height) == sizes[0]:
                    names = [target.phrase for target in targets.objects]
                    said = ", ".join(f"{names[r.subject]} {r.predicate} {names[r.object]}" for r in targets.relations)
                    print(f"{example.sentence}\n    listed: {' '.join(listed)}\n    read:   {said}")
    return {
        "prompts": len(examples),
        "relations": stated,
        "relations_held": round(held / stated, 4) if stated else None,
        "relations_end_to_end": round(end_to_end / stated, 4) if stated else None,
        "overlap_violations": violations,
        "outside": outside,
        "seconds": round(slowest(objects), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Score the layouts that the solver makes of prompts.")
    parser.add_argument("--prompts", type=Path, required=True, help="file of prompts (gpt.txt or vsr.txt)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--objects", type=int, default=5, help="objects in the timed layout")
    parser.add_argument(
        "--errors", action="store_true", help="show the relations that do not hold from the sentence alone"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object in the last line")
    options = parser.parse_args()
    result = run(
        read_examples(options.prompts.read_text(encoding="utf-8")), SIZES, options.seed, options.objects, options.errors
    )
    for name, value in result.items():
        print(f"  {name:<22} {value}")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
