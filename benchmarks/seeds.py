"""Does Pick Seeds pick well? Many prompts, the first part of the run for each of N seeds, and what became of them all.

    python3 dev.py run benchmarks/seeds.py [--json] [--model shapes|scenes] [--half dev|test] [--count 40] [--seeds 8]

Every seed of a prompt is drawn to its end as well, and judged by the detector, so that one can say:

- auc: within a prompt, how often the seed of a picture that came out right is ranked above one of a picture that did
  not, after 20, 30 and 40 % of the run (.5 is chance; prompts whose pictures are all right or all wrong say nothing).
- single: success of one seed, the mean over all of them. chosen: success of the best at `--share` of the run.
- times: the time of picking (all seeds at once) and drawing over that of drawing one picture, as the node does it.
- equal_time: success of a single seed with as many more steps as take as long.
- best: success of a choice that knows how they all come out.

Scores are those of the node (core/search/seeds.py), which was made on the dev half.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass

from _pack import load_pack

load_pack()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from measuring.artist import Artist  # noqa: E402
from measuring.cases import FIRST_SEED, Case  # noqa: E402
from measuring.demo_models import DemoModel, add_arguments, chosen, in_time  # noqa: E402
from measuring.statistics import mcnemar, wilson  # noqa: E402
from prompt_fidelity.core.methods import METHODS  # noqa: E402
from prompt_fidelity.core.search.seeds import Signs, ranked, signs_of  # noqa: E402
from prompt_fidelity.host.sampling.install import attach  # noqa: E402
from prompt_fidelity.host.seeds import FirstPart, decoder, look_at_seeds  # noqa: E402

SHARES = (0.2, 0.3, 0.4)


@dataclass(frozen=True)
class Prompt:
    """One prompt's seeds: which came out right, and their signs at each share of the run."""

    case: Case
    right: list[bool]
    signs: dict[float, list[Signs]]
    longer: bool  # whether the first seed is right with as many more steps as picking takes

    def scores(self, share: float) -> list[float]:
        """In the order of the seeds."""
        order = list(range(len(self.right)))
        by_place = {one.seed: one.score for one in ranked(order, self.signs[share])}
        return [by_place[i] for i in order]

    def chosen(self, share: float) -> bool:
        return self.right[int(np.argmax(self.scores(share)))]


def look_at(model: DemoModel, artist: Artist, case: Case, seeds: list[int], shares: set[float], longer: int) -> Prompt:
    """Draws a prompt's seeds to their ends, and the first of them once more in `longer` steps."""
    conditioning, targets = artist.encode(case.prompt)
    wanted = {max(round(each * artist.sampling["steps"]), 1): each for each in shares}
    signs: dict[float, list[Signs]] = {}
    step = 0

    def watch(maps: torch.Tensor, progress: float) -> None:
        nonlocal step
        step += 1
        if step in wanted:
            signs[wanted[step]] = [signs_of(one[None], targets) for one in maps]

    listening, _ = attach(artist.model, METHODS["attend_and_excite"](), targets, strength=0.0, watch=watch)
    pictures = artist.drawn_by(listening, conditioning, seeds).pictures.numpy()
    slow = artist.drawn_by(artist.model, conditioning, seeds[:1], steps=longer).pictures.numpy()
    return Prompt(case, [model.right(p, case) for p in pictures], signs, model.right(slow[0], case))


def auc(scores: list[float], right: list[bool]) -> float | None:
    """How often a right one is scored above a wrong one, ties for half; None if there is nothing to compare."""
    scores, right = np.array(scores), np.array(right)
    good, bad = scores[right], scores[~right]
    if not len(good) or not len(bad):
        return None
    above = good[:, None] - bad[None]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def measured_time(artist: Artist, case: Case, seeds: list[int], share: float, repeats: int = 3) -> float:
    """Time of Pick Seeds and the picture after it, over that of the picture: the least of `repeats` each."""
    conditioning, targets = artist.encode(case.prompt)
    s = artist.sampling
    part = FirstPart(s["steps"], s["cfg"], s["sampler"], s["scheduler"], 1.0, share, at_once=len(seeds))
    latent = {"samples": torch.zeros_like(artist.noise(seeds[:1]))}
    decode = decoder(artist.vae, artist.model.get_model_object("latent_format"))
    picking, drawing = [], []
    for _ in range(repeats):
        began = artist.clock()
        look_at_seeds(artist.model, conditioning, artist.negative, targets, latent, seeds, part, decode)
        picking.append(artist.clock() - began)
        drawing.append(artist.drawn_by(artist.model, conditioning, seeds[:1]).seconds)
    return 1.0 + min(picking) / min(drawing)


def answer(prompts: list[Prompt], share: float, times: float) -> dict:
    areas = {}
    for each in SHARES:
        known = [area for one in prompts if (area := auc(one.scores(each), one.right)) is not None]
        areas[f"{each:.0%}"] = round(float(np.mean(known)), 3) if known else None
    single = float(np.mean([np.mean(one.right) for one in prompts]))
    picked, first = [one.chosen(share) for one in prompts], [one.right[0] for one in prompts]
    gained, lost, p = mcnemar(first, picked)
    return {
        "prompts": len(prompts),
        "seeds": len(prompts[0].right),
        "share": share,
        "auc": areas,
        "single": round(single, 3),
        "chosen": round(float(np.mean(picked)), 3),
        "chosen_interval": [round(edge, 3) for edge in wilson(sum(picked), len(picked))],
        "gain": round(float(np.mean(picked)) - single, 3),
        "times": round(times, 2),
        "equal_time": round(float(np.mean([one.longer for one in prompts])), 3),
        "best": round(float(np.mean([any(one.right) for one in prompts])), 3),
        "against_first_seed": {"gained": gained, "lost": lost, "p": p},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, default=8, help="seeds a prompt")
    parser.add_argument("--share", type=float, default=0.2, help="share of the run at which the seed is chosen")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with torch.inference_mode():
        model, cases = chosen(options)
        artist = model.artist()
        # Every prompt has seeds of its own: pictures of one seed share their noise.
        first = FIRST_SEED[options.half]
        times = measured_time(artist, cases[0], list(range(first, first + options.seeds)), options.share)
        steps, shares = round(times * artist.sampling["steps"]), {*SHARES, options.share}
        prompts = []
        for number, case in in_time(cases, options.minutes):
            begin = first + number * options.seeds
            seeds = list(range(begin, begin + options.seeds))
            prompts.append(look_at(model, artist, case, seeds, shares, steps))
    result = {"model": model.name, "half": options.half, **answer(prompts, options.share, times)}
    for name, value in result.items():
        print(f"  {name:<20} {value}")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
