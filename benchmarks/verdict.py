"""Does the verdict on View Attention Maps agree with a detector that looks at the picture?

    python3 dev.py run benchmarks/verdict.py --json                # dev and test half, plain and with a method
    python3 dev.py run benchmarks/verdict.py --model scenes --look-again thorough
    python3 dev.py run benchmarks/verdict.py --half dev --fit      # the best thresholds, from what was drawn

Every object of every picture counts once. Thresholds (core/show/verdict.py) are fitted on the dev half; the test half,
which shares no prompt and no seed with it, gives the figure to report. The verdict by the attention maps alone is
given beside that by what the model sees in its picture, and what seeing took of a picture's time. Prompts are of two
and three shapes, or, of scenes, of the Attend-and-Excite set's kinds. What was drawn is kept in the --out folder, so
that thresholds are tried without drawing again.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from types import ModuleType

from _pack import ROOT, load_pack

load_pack()

import torch  # noqa: E402
from measuring.artist import Artist  # noqa: E402
from measuring.cases import FIRST_SEED, HALVES, PROMPTS, Case  # noqa: E402
from measuring.contestants import contestants  # noqa: E402
from measuring.demo_models import MODELS, DemoModel  # noqa: E402
from prompt_fidelity.core.control.record import RunLog  # noqa: E402
from prompt_fidelity.core.show.verdict import THRESHOLDS, Thresholds, verdicts  # noqa: E402
from prompt_fidelity.host.sampling.install import attach  # noqa: E402
from prompt_fidelity.host.sampling.second_look import CHOICES  # noqa: E402
from tqdm import tqdm  # noqa: E402

PLAIN = "plain"
# What is tried with --fit, around what is set.
TRIED = {"attention": (0.3, 0.4, 0.5, 0.6), "place": (0.4, 0.55, 0.7, 0.85), "words": (0.75, 0.83, 0.9, 0.97)}
TRIED |= {"overlap": (0.8, 0.9, 1.0), "colour": (0.0, 0.05, 0.15), "gain": (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)}

Drawn = tuple[RunLog, torch.Tensor, list[list[bool]]]


def draw(artist: Artist, detector: ModuleType, way: str, case: Case, seeds: list[int], look_again: str) -> Drawn:
    """The run's record, its pictures, and for each picture and object whether the detector finds it in its colour."""
    conditioning, targets = artist.encode(case.prompt)
    name = "attend_and_excite" if way == PLAIN else way
    method = contestants([name], [], artist.family)[0].method
    by = copy.copy(artist)
    by.model, record = attach(
        artist.model, method, targets, strength=0.0 if way == PLAIN else 1.0, look_again=look_again
    )
    pictures = by.plain(conditioning, seeds).pictures
    found = [{(one.noun, one.colour) for one in detector.detect(picture)} for picture in pictures.numpy()]
    run = record.latest
    # Of the record, what a verdict takes.
    kept = RunLog(targets=run.targets, maps=run.maps, evidence=run.evidence, run_seconds=run.run_seconds)
    return kept, pictures, [[wanted in there for wanted in case.wanted] for there in found]


def drawn(artist: Artist, demo: DemoModel, way: str, half: str, options: argparse.Namespace) -> list[Drawn]:
    """All pictures of a half, from the folder if they were drawn before."""
    file = options.out / f"{options.model}_{half}_{way}_{options.count}x{options.seeds}_{options.look_again}.pt"
    if not file.is_file():
        seeds = [FIRST_SEED[half] + i for i in range(options.seeds)]
        cases = demo.proof(half, (2, 3), PROMPTS)[: options.count]
        everything = [
            draw(artist, demo.detector, way, case, seeds, options.look_again)
            for case in tqdm(cases, desc=f"{half}, {way}")
        ]
        options.out.mkdir(parents=True, exist_ok=True)
        torch.save(everything, file)
    return torch.load(file, weights_only=False)


def agreement(pictures: list[Drawn], thresholds: Thresholds = THRESHOLDS) -> dict:
    """Shares of the objects: where verdict and detector agree, and what each of them holds for drawn."""
    pairs = [
        (one.there, truth)
        for run, images, right in pictures
        for seen, truths in zip(verdicts(run, images, thresholds), right, strict=True)
        for one, truth in zip(seen, truths, strict=True)
    ]
    count = len(pairs)
    return {
        "objects": count,
        "agreement": sum(said == truth for said, truth in pairs) / count,
        "drawn": sum(truth for _, truth in pairs) / count,
        "said": sum(said for said, _ in pairs) / count,
        "missed": sum(said and not truth for said, truth in pairs) / count,
        "false alarms": sum(truth and not said for said, truth in pairs) / count,
    }


def by_maps(pictures: list[Drawn]) -> list[Drawn]:
    """The same pictures, as if the model had not been asked about them."""
    return [(replace(run, evidence=None), images, right) for run, images, right in pictures]


def time_for_looking(pictures: list[Drawn]) -> float:
    """What the second look took of the time of everything else, the recording of maps included."""
    asked = [run for run, _, _ in pictures if run.evidence is not None]
    looking = sum(run.evidence.seconds for run in asked)
    return looking / (sum(run.run_seconds for run in asked) - looking) if asked else 0.0


def fitted(pictures: list[Drawn]) -> Thresholds:
    """Of all thresholds that are tried, those that agree with the detector most often."""
    asked = any(run.evidence is not None for run, _, _ in pictures)
    grid = {name: values for name, values in TRIED.items() if (name == "gain") == asked}
    tried = [replace(THRESHOLDS, **dict(zip(grid, values, strict=True))) for values in product(*grid.values())]
    return max(tqdm(tried, desc="thresholds"), key=lambda limits: agreement(pictures, limits)["agreement"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="shapes", help="which demo model draws")
    parser.add_argument("--half", choices=HALVES, help="one half only")
    parser.add_argument("--methods", default=f"{PLAIN},attention_regulation", help="ways of drawing, comma-separated")
    parser.add_argument("--count", type=int, default=40, help="so many of the half's prompts")
    parser.add_argument("--seeds", type=int, default=2, help="pictures of each prompt")
    parser.add_argument("--fit", action="store_true", help="look for better thresholds on the dev half: minutes")
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "verdict", help="folder for what was drawn")
    parser.add_argument("--look-again", choices=CHOICES, default="on", help="as in Apply Attention Control")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_grad_enabled(False)
    with torch.inference_mode():
        demo = MODELS[options.model]()
        artist = demo.artist()
        ways = options.methods.split(",")
        halves = [options.half] if options.half else list(HALVES)
        pictures = {(half, way): drawn(artist, demo, way, half, options) for half in halves for way in ways}
        answer = {
            half: {
                way: agreement(pictures[half, way])
                | {
                    "by maps": agreement(by_maps(pictures[half, way]))["agreement"],
                    "time": time_for_looking(pictures[half, way]),
                }
                for way in ways
            }
            for half in halves
        }
        for half, way in pictures:
            row = answer[half][way]
            print(
                f"{half:4}  {way:22} {row['objects']:4} objects, {row['drawn']:.0%} drawn; verdict agrees for "
                f"{row['agreement']:.1%} (said there and is not {row['missed']:.1%}, missed though there "
                f"{row['false alarms']:.1%}), by the maps alone for {row['by maps']:.1%}; the second look took "
                f"{row['time']:.0%} of the picture's time"
            )
        if options.fit and "dev" in halves:
            best = fitted([one for way in ways for one in pictures["dev", way]])
            print(f"best on dev: {asdict(best)}")
            answer["fitted"] = asdict(best)
    if options.json:
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
