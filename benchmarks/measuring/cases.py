"""Which pictures are drawn: prompts with what they ask for, and seeds, in two halves that share neither."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tinyscenes import data as scenes
from tinyshapes import data

HALVES = ("dev", "test")
PROMPTS = 200  # in each half
FIRST_SEED = {"dev": 0, "test": 1000}
SEEDS = 4  # in each half: all pictures of one seed share their noise, which may flatter them all
_NAMED = re.compile(rf"\b({'|'.join(data.COLOURS)}) ({'|'.join(data.NOUNS)})\b")
_RELATED = re.compile(rf"^a \w+ \w+ ({'|'.join(data.RELATIONS)}) a \w+ \w+$")


@dataclass(frozen=True)
class Case:
    """A prompt and the (noun, colour) pairs it asks for; none where only CLIP can judge. `relation`: of the first to
    the second.
    """

    prompt: str
    wanted: tuple[tuple[str, str], ...] = ()
    relation: str | None = None


def shape_cases(half: str, objects: tuple[int, ...], count: int = PROMPTS) -> list[Case]:
    """`count` different prompts of the half, the numbers of objects in turn; no prompt is in both halves."""
    rng = np.random.default_rng(2024)
    found: dict[str, Case] = {}
    while len(found) < 2 * count:
        names = data.sample_names(rng, objects[len(found) % len(objects)])
        prompt = data.enumerate_caption(names)
        found.setdefault(prompt, Case(prompt, tuple(names)))
    both = list(found.values())
    # Pairs of neighbours have the same number of objects only if cut in the middle, so each half keeps the turn.
    return both[:count] if half == "dev" else both[count:]


# Of two objects, as in the Attend-and-Excite prompts: animals without a colour, the others with one.
_KINDS = (("animal", "animal"), ("animal", "object"), ("object", "object"))


def scene_cases(half: str, objects: tuple[int, ...], count: int = PROMPTS) -> list[Case]:
    """`count` different prompts of scenes of the half, numbers of objects and kinds in turn; no prompt is in both
    halves.
    """
    rng = np.random.default_rng(2026)
    found: dict[str, Case] = {}
    turn = 0
    while len(found) < 2 * count:
        number = objects[turn % len(objects)]
        kinds = _KINDS[turn // len(objects) % len(_KINDS)] if number == 2 else ("animal", "object", "object")[:number]
        names = _scene_names(rng, kinds)
        before = len(found)
        found.setdefault(scenes.caption_of(names), Case(scenes.caption_of(names), tuple(names)))
        turn += len(found) > before
    both = list(found.values())
    return both[:count] if half == "dev" else both[count:]


def _scene_names(rng: np.random.Generator, kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    """A different (noun, colour) of each kind."""
    colours = [str(colour) for colour in rng.permutation(list(scenes.COLOURS))]
    nouns = {
        kind: [str(noun) for noun in rng.permutation(of)]
        for kind, of in (("animal", scenes.ANIMALS), ("object", scenes.OBJECTS))
    }
    return [(nouns[kind].pop(), scenes.OWN if kind == "animal" else colours.pop()) for kind in kinds]


def relation_cases(half: str, count: int = PROMPTS) -> list[Case]:
    """`count` different prompts of the half, each of two objects and how they stand; no prompt is in both halves."""
    rng = np.random.default_rng(2025)
    found: dict[str, Case] = {}
    while len(found) < 2 * count:
        names, relation = data.sample_names(rng, 2), str(rng.choice(data.RELATIONS))
        first, second = (f"a {colour} {noun}" for noun, colour in names)
        prompt = f"{first} {relation} {second}"
        found.setdefault(prompt, Case(prompt, tuple(names), relation))
    both = list(found.values())
    return both[:count] if half == "dev" else both[count:]


def read_cases(path: Path, judged_by_shapes: bool) -> list[Case]:
    """One prompt a line; empty lines and lines that begin with # are passed over. Raises ValueError for what cannot be
    judged.
    """
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    cases = []
    for prompt in (line for line in lines if line and not line.startswith("#")):
        wanted = tuple((noun, colour) for colour, noun in _NAMED.findall(prompt))
        if judged_by_shapes and not wanted:
            raise ValueError(
                f'"{prompt}" names none of the demo model\'s shapes. Write prompts such as "a red ball and a blue '
                f'ring" '
                f"(colours {', '.join(data.COLOURS)}; shapes {', '.join(data.NOUNS)}), or give a --checkpoint."
            )
        related = _RELATED.match(prompt)
        cases.append(Case(prompt, wanted, related.group(1) if related else None))
    if not cases:
        raise ValueError(f"{path} holds no prompt.")
    return cases


def read_seeds(text: str) -> list[int]:
    """ "3" or "0-7", both ends included."""
    first, _, last = text.partition("-")
    seeds = list(range(int(first), int(last or first) + 1))
    if not seeds:
        raise ValueError(f"--seeds {text} holds no seed: write the smaller number first.")
    return seeds
