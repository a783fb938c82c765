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
_NAMED = {
    "shapes": re.compile(rf"\b({'|'.join(data.COLOURS)}) ({'|'.join(data.NOUNS)})\b"),
    "scenes": re.compile(rf"(?:\b({'|'.join(scenes.COLOURS)}) )?\b({'|'.join(scenes.NOUNS)})\b"),
}
_EXAMPLES = {"shapes": (data, "a red ball and a blue ring"), "scenes": (scenes, "a cat and a red backpack")}
_RELATED = re.compile(rf"^a \w+ \w+ ({'|'.join(data.RELATIONS)}) a \w+ \w+$")


@dataclass(frozen=True)
class Case:
    """A prompt and the (noun, colour) pairs it asks for; none where only CLIP can judge. `relation`: of the first to
    the second. `kind`: of the prompt, where there are several.
    """

    prompt: str
    wanted: tuple[tuple[str, str], ...] = ()
    relation: str | None = None
    kind: str = ""


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
        found.setdefault(scenes.caption_of(names), Case(scenes.caption_of(names), tuple(names)))
        turn += 1  # whether or not it was a new one: of animals alone there are few
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


def excite_cases(half: str, count: int = PROMPTS) -> list[Case]:
    """`count` different prompts of the half in the three kinds of the Attend-and-Excite set: two animals, an animal and
    a coloured object, two coloured objects, in turn as long as there are any. The halves share no pair of nouns.
    """
    rng = np.random.default_rng(2027)
    pairs = {kinds: _noun_pairs(rng, kinds, half) for kinds in _KINDS}
    found: dict[str, Case] = {}
    turn = 0
    while len(found) < count:
        kinds = _KINDS[turn % len(_KINDS)]
        again, at = divmod(turn // len(_KINDS), len(pairs[kinds]))
        nouns = pairs[kinds][at]
        nouns = nouns[::-1] if again % 2 and kinds[0] == kinds[1] else nouns
        colours = [str(colour) for colour in rng.permutation(list(scenes.COLOURS))]
        names = tuple((noun, scenes.OWN if kind == "animal" else colours.pop()) for noun, kind in zip(nouns, kinds))
        prompt = scenes.caption_of(list(names))
        found.setdefault(prompt, Case(prompt, names, kind=" and ".join(kinds)))
        turn += 1
    return list(found.values())


def _noun_pairs(rng: np.random.Generator, kinds: tuple[str, str], half: str) -> list[tuple[str, str]]:
    """The half's share of all pairs of different nouns of these kinds, shuffled; order doesn't tell pairs apart."""
    first, second = (scenes.ANIMALS if kind == "animal" else scenes.OBJECTS for kind in kinds)
    both = [(a, b) for i, a in enumerate(first) for b in (second if first is not second else second[i + 1 :])]
    mixed = [both[i] for i in rng.permutation(len(both))]
    middle = len(mixed) // 2
    return mixed[:middle] if half == "dev" else mixed[middle:]


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


def read_cases(path: Path, judged_by: str | None) -> list[Case]:
    """One prompt a line; empty lines and lines that begin with # are passed over. `judged_by`: whose detector looks at
    the pictures, "shapes" or "scenes"; None for CLIP. Raises ValueError for what cannot be judged.
    """
    named = _NAMED[judged_by or "shapes"]
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    cases = []
    for prompt in (line for line in lines if line and not line.startswith("#")):
        wanted = tuple((noun, colour or scenes.OWN) for colour, noun in named.findall(prompt))
        if judged_by and not wanted:
            known, example = _EXAMPLES[judged_by]
            raise ValueError(
                f'"{prompt}" names none of the demo model\'s {judged_by}. Write prompts such as "{example}" '
                f"(colours {', '.join(known.COLOURS)}; {judged_by} {', '.join(known.NOUNS)}), or give a --checkpoint."
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
