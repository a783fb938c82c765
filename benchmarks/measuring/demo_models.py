"""The pack's demo models as benchmarks see them: `--model shapes` or `--model scenes`. The one place that knows which
model goes with which detector and which prompts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import ModuleType

import numpy as np
from tqdm import tqdm

from .artist import Artist
from .cases import PROMPTS, Case, excite_cases, scene_cases, shape_cases
from .judge import SceneJudge, ShapeJudge


@dataclass(frozen=True)
class DemoModel:
    """A demo model with its prompts (half, numbers of objects, count) and the detector of what it draws.

    `proof` are the prompts that methods are measured on: of scenes the kinds of the Attend-and-Excite set, which hold
    two objects whatever their number. `artist` takes the weights' file, None for the pack's own, which is at `weights`.
    """

    name: str
    artist: Callable[..., Artist]
    cases: Callable[[str, tuple[int, ...], int], list[Case]]
    proof: Callable[[str, tuple[int, ...], int], list[Case]]
    detector: ModuleType
    judge: Callable[[], ShapeJudge | SceneJudge]
    weights: Path

    def right(self, picture: np.ndarray, case: Case) -> bool:
        """Whether every object that the case asks for is there, in its own colour."""
        return self.detector.score(self.detector.detect(picture), list(case.wanted)).success


def shapes() -> DemoModel:
    from prompt_fidelity.host.models.demo_model import WEIGHTS
    from tinyshapes import detector

    return DemoModel("shapes", Artist.with_demo_model, shape_cases, shape_cases, detector, ShapeJudge, WEIGHTS)


def scenes() -> DemoModel:
    from prompt_fidelity.host.models.demo_scenes import WEIGHTS
    from tinyscenes import detector

    def proof(half: str, objects: tuple[int, ...], count: int) -> list[Case]:
        return excite_cases(half, count)

    return DemoModel("scenes", Artist.with_demo_scenes, scene_cases, proof, detector, SceneJudge, WEIGHTS)


MODELS: dict[str, Callable[[], DemoModel]] = {"shapes": shapes, "scenes": scenes}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--model, --half, --objects, --count, --minutes."""
    parser.add_argument("--model", choices=MODELS, default="shapes", help="which demo model draws")
    parser.add_argument("--half", choices=("dev", "test"), default="test", help="dev to tune, test to report")
    parser.add_argument("--objects", default="2,3", help="numbers of objects in the prompts")
    parser.add_argument("--count", type=int, default=PROMPTS, help="so many of the half's prompts")
    parser.add_argument("--minutes", type=float, default=inf, help="begin no further prompt after so long")


def in_time(cases: list[Case], minutes: float) -> Iterator[tuple[int, Case]]:
    """The prompts with their numbers, as many as are begun in time; the first in any case."""
    began = time.monotonic()
    for number, case in enumerate(tqdm(cases, desc="prompts", unit="prompt")):
        if number and time.monotonic() - began > 60 * minutes:
            return
        yield number, case


def chosen(options: argparse.Namespace) -> tuple[DemoModel, list[Case]]:
    """The model and its prompts that the arguments mean."""
    model = MODELS[options.model]()
    objects = tuple(int(number) for number in options.objects.split(","))
    return model, model.cases(options.half, objects, PROMPTS)[: options.count]
