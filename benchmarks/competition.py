"""Can attention control help here at all? Whether the maps of plain pictures tell which objects will be drawn wrong.

    python3 dev.py run benchmarks/competition.py [--half dev] [--objects 3] [--count 8] [--seeds 0-7] [--json]

For every object that the demo model was asked for: is it there in its colour, and what did its noun's cross-attention
look like (mean over the run)? For each property of the map, AUC is the chance that an object drawn right has more of it
than one drawn wrong: 0.5 says that the property has nothing to do with it. A low peak of the wrong ones is neglect,
which Attend-and-Excite repairs; a high overlap with another noun is competition for the same place.
"""

from __future__ import annotations

import argparse
import json
from statistics import mean

from _pack import load_pack

load_pack()

import torch  # noqa: E402
from measuring.artist import Artist  # noqa: E402
from measuring.cases import HALVES, read_seeds, shape_cases  # noqa: E402
from prompt_fidelity.core.maps.distances import cosine_matrix  # noqa: E402
from tinyshapes import detector  # noqa: E402

PROPERTIES = ("peak", "mean", "overlap")


def properties(maps: torch.Tensor) -> torch.Tensor:
    """Maps [T, h, w] of one picture's nouns → [T, 3]: peak, mean, and the largest cosine with another noun's map."""
    flat = maps.flatten(1)
    overlap = cosine_matrix(flat[None])[0] - 2 * torch.eye(len(flat))
    return torch.stack([flat.amax(1), flat.mean(1), overlap.amax(1)], dim=1)


def auc(right: list[float], wrong: list[float]) -> float:
    """The chance that one of `right` is larger than one of `wrong`; equals count half."""
    return mean((r > w) + (r == w) / 2 for r in right for w in wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=HALVES, default="dev")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--count", type=int, default=8, help="prompts")
    parser.add_argument("--seeds", default="0-7")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    seen: dict[bool, list[list[float]]] = {True: [], False: []}
    with torch.inference_mode():
        artist = Artist.with_demo_model()
        for case in shape_cases(options.half, (options.objects,))[: options.count]:
            conditioning, targets = artist.encode(case.prompt)
            drawn, maps = artist.observed(targets, conditioning, read_seeds(options.seeds))
            for picture, own in zip(drawn.pictures.numpy(), maps):
                there = {(item.noun, item.colour) for item in detector.detect(picture)}
                for name, values in zip(case.wanted, properties(own).tolist(), strict=True):
                    seen[name in there].append(values)
    answer = {
        "objects": len(seen[True]) + len(seen[False]),
        "right": len(seen[True]) / max(1, len(seen[True]) + len(seen[False])),
    }
    print(f"{answer['objects']} objects, {answer['right']:.1%} drawn right")
    if all(seen.values()):
        for index, name in enumerate(PROPERTIES):
            right, wrong = ([values[index] for values in seen[drawn]] for drawn in (True, False))
            answer[name] = {"right": mean(right), "wrong": mean(wrong), "auc": auc(right, wrong)}
            print(f"{name:8s} right {mean(right):.4f}  wrong {mean(wrong):.4f}  AUC {answer[name]['auc']:.3f}")
    if options.json:
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
