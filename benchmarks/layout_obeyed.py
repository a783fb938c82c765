"""Is a layout obeyed? Boxes drawn at random, with no regard to the seed, and where the detector finds the objects.

    python3 dev.py run benchmarks/layout_obeyed.py [--json] [--model shapes|scenes] [--half dev|test] [--count 60]
    python3 dev.py run benchmarks/layout_obeyed.py --half dev --methods box_diff --set box_diff.step_size=9

Each prompt has boxes of its own, about as large as an object, none over another (benchmarks/measuring/boxes.py). All
ways draw the same prompts, boxes and seeds.

- inside: share of the wanted objects that are there, in their colour, with the centre in their box.
- success: share of pictures in which all objects are there in their colours, wherever they stand.
- obeyed: share of pictures in which they all stand in their boxes as well.
- extra: objects that nobody asked for, per picture. seconds: work per picture.
- told: how often the report's word on an object ("stands in its place") agrees with the detector, of the objects that
  the detector found.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass, field

from _pack import load_pack

load_pack()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from measuring.boxes import inside, random_layout  # noqa: E402
from measuring.cases import FIRST_SEED, Case  # noqa: E402
from measuring.contestants import PLAIN, contestants  # noqa: E402
from measuring.demo_models import DemoModel, add_arguments, chosen, in_time  # noqa: E402
from measuring.statistics import mcnemar, wilson  # noqa: E402
from prompt_fidelity.core.layout import Layout  # noqa: E402
from prompt_fidelity.core.layout.standing import standings  # noqa: E402

SHOWN = ("inside", "success", "obeyed", "extra", "seconds", "told")
METHODS = "space_time,layout_guidance,space_time+layout_guidance"


@dataclass
class Tally:
    """What was seen of one way of drawing."""

    inside: list[bool] = field(default_factory=list)  # of the objects
    right: list[bool] = field(default_factory=list)  # of the pictures
    obeyed: list[bool] = field(default_factory=list)
    extra: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    told: list[bool] = field(default_factory=list)  # of the objects found: whether the report says the same

    def take(self, model: DemoModel, picture: np.ndarray, case: Case, layout: Layout, seconds: float, said) -> None:
        found = model.detector.detect(picture)
        score, stand = model.detector.score(found, list(case.wanted)), inside(found, case, layout)
        self.inside += stand
        self.right.append(score.success)
        self.obeyed.append(score.success and all(stand))
        self.extra.append(score.extra)
        self.seconds.append(seconds)
        pairs = {(item.noun, item.colour) for item in found}
        self.told += [
            one.inside == where for one, where, wanted in zip(said or (), stand, case.wanted) if wanted in pairs
        ]

    def figures(self, plain: Tally) -> dict:
        gained, lost, p = mcnemar(plain.right, self.right)
        return {
            "inside": share(self.inside),
            "success": share(self.right),
            "obeyed": share(self.obeyed),
            "extra": round(float(np.mean(self.extra)), 3),
            "seconds": round(float(np.mean(self.seconds)), 3),
            "told": share(self.told) if self.told else None,
            "inside_interval": [round(edge, 3) for edge in wilson(sum(self.inside), len(self.inside))],
            "success_over_plain": round(share(self.right) - share(plain.right), 4),
            "against_plain": {"gained": gained, "lost": lost, "p": p},
        }


def share(seen: list[bool]) -> float:
    return round(sum(seen) / len(seen), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--methods", default=METHODS, help="comma-separated; a+b is a combination")
    parser.add_argument("--set", action="append", default=[], metavar="METHOD.SETTING=VALUE", help="change a setting")
    parser.add_argument("--seeds", type=int, default=2, help="seeds a prompt")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with torch.inference_mode():
        model, cases = chosen(options)
        artist = model.artist()
        ways = contestants(options.methods.split(","), options.set, artist.family)
        tallies = {name: Tally() for name in (PLAIN, *(way.name for way in ways))}
        by_number: dict[int, dict[str, Tally]] = {}
        first = FIRST_SEED[options.half]
        for number, case in in_time(cases, options.minutes):
            conditioning, targets = artist.encode(case.prompt)
            width, height = artist.sampling["width"], artist.sampling["height"]
            layout = random_layout(targets, width, height, np.random.default_rng([first, number]))
            # Every prompt has seeds of its own: pictures of one seed share their noise.
            seeds = list(range(first + number * options.seeds, first + (number + 1) * options.seeds))
            those = by_number.setdefault(len(case.wanted), {name: Tally() for name in tallies})
            for name, way in ((PLAIN, None), *((way.name, way) for way in ways)):
                if way is None:
                    drawn, said = artist.plain(conditioning, seeds), [None] * len(seeds)
                else:
                    drawn, maps = artist.in_layout(way.method, targets, conditioning, seeds, layout)
                    said = standings(maps, targets, layout)
                for picture, words in zip(drawn.pictures.numpy(), said, strict=True):
                    for tally in (tallies[name], those[name]):
                        tally.take(model, picture, case, layout, drawn.seconds, words)
    answer = {
        "model": model.name,
        "half": options.half,
        "prompts": len(tallies[PLAIN].right) // options.seeds,
        "seeds": options.seeds,
        "ways": {name: tally.figures(tallies[PLAIN]) for name, tally in tallies.items()},
        "by_objects": {
            number: {name: tally.figures(those[PLAIN]) for name, tally in those.items()}
            for number, those in sorted(by_number.items())
        },
    }
    for name, figures in answer["ways"].items():
        shown = ", ".join(f"{key} {figures[key]}" for key in SHOWN)
        print(f"  {name:<28} {shown}")
    if options.json:
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
