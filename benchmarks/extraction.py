"""How well objects, attributes and relations are read from prompts whose meaning is known.

    python benchmarks/extraction.py --prompts tests/data/prompts/gpt.txt --json

Three formats of prompts with known meaning are recognised, anything else is only counted:

- blocks of three lines, `Objects: black car, person` / `Relation: black car left of person` / `Sentence: …`;
- one sentence a line after the pattern "The A is left of the B." (`vsr.txt`), which states its own meaning;
- a prompt a line with its meaning beside it (`cases.txt`, `users.txt`; the format is described in stated.py). Their
  figure is `right`: the share of prompts of which everything in the line holds.

What the figures mean, for one sentence with listed objects L (a name, with a colour in front of it if it has one) and
extracted objects E:

- A listed and an extracted object *match* if their names without colour are the same words (case and plural aside).
  Matching is one to one; among equal names the one with the right colour goes first.
- object_recall: matched / listed. object_precision: matched / extracted. A shelf that the sentence mentions and the
  list does not is counted as a mistake.
- attribute_binding: of the listed objects with a colour, the share whose match has this colour and no other. A
  listed object that was not found counts as unbound.
- relation_recall: of the listed relations, the share that was extracted between the matches of their objects, "a left
  of b" and "b right of a" being the same, and "on" being above. relation_precision: of the extracted relations in
  these four directions between listed objects, the share that is listed. The lists are not complete, so this is a
  lower bound, there to show that recall is not bought by guessing.

With `--tokenizers` it is also counted, for every text encoder that the host has, how many of the extracted objects are
spelled by the tokens at their positions: each tokenizer splits words in its own way, and puts its own text around the
prompt. Those that the host takes from a checkpoint are trained anew, small ones, on the even-numbered sentences.

All figures are ratios of sums over the file. They are also given for the even- and odd-numbered prompts, counted from
0: the grammar was developed on the even ones of gpt.txt. Of users.txt every third prompt (`--third held-out`) was never
looked at: its figure is the honest estimate for new prompts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
from stated import Stated, judge, read_stated  # noqa: E402

COLOURS = frozenset("white silver green brown black red yellow blue orange purple pink grey gray gold".split())
FIGURES = ("right", "object_recall", "object_precision", "attribute_binding", "relation_recall", "relation_precision")
_TEMPLATE = re.compile(
    r"The (?P<a>.+) is (?P<where>left of|right of|above|below|at the left side of|at the right side of) the (?P<b>.+)\."
)
_RELATION = re.compile(r"(?P<a>.+) (?P<where>left of|right of|above|below) (?P<b>.+)")


@dataclass(frozen=True)
class Example:
    """A sentence and what it says: objects as listed, relations (subject, predicate, object) between listed objects."""

    sentence: str
    objects: tuple[str, ...] | None = None
    relations: tuple[tuple[str, str, str], ...] = ()


@dataclass
class Counts:
    """Sums over sentences, from which the figures are made."""

    stated: int = 0
    right: int = 0
    listed: int = 0
    extracted: int = 0
    matched: int = 0
    coloured: int = 0
    bound: int = 0
    relations: int = 0
    relations_found: int = 0
    relations_extracted: int = 0
    relations_right: int = 0

    def add(self, other: Counts) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def figures(self) -> dict[str, float | None]:
        def ratio(part: int, whole: int) -> float | None:
            return round(part / whole, 4) if whole else None

        return {
            "right": ratio(self.right, self.stated),
            "object_recall": ratio(self.matched, self.listed),
            "object_precision": ratio(self.matched, self.extracted),
            "attribute_binding": ratio(self.bound, self.coloured),
            "relation_recall": ratio(self.relations_found, self.relations),
            "relation_precision": ratio(self.relations_right, self.relations_extracted),
        }


def read_examples(text: str) -> list[Example | Stated]:
    """Reads a file of prompts in any of the formats above."""
    if "||" in text:
        return [read_stated(line) for line in text.splitlines() if line.strip() and not line.startswith("# ")]
    if "Sentence:" in text:
        return [_read_block(block) for block in re.split(r"\n\s*\n", text.strip())]
    return [_read_line(line.strip()) for line in text.splitlines() if line.strip()]


def _read_block(block: str) -> Example:
    fields = dict(line.split(":", 1) for line in block.splitlines() if ":" in line)
    relations = [_RELATION.fullmatch(part.strip()) for part in fields.get("Relation", "").split(",") if part.strip()]
    return Example(
        fields["Sentence"].strip(),
        tuple(part.strip() for part in fields["Objects"].split(",") if part.strip()),
        tuple((r["a"], r["where"], r["b"]) for r in relations if r),
    )


def _read_line(line: str) -> Example:
    found = _TEMPLATE.fullmatch(line)
    if not found:
        return Example(line)
    where = found["where"].replace("at the ", "").replace(" side of", " of")
    return Example(line, (found["a"], found["b"]), ((found["a"], where, found["b"]),))


def split_colour(listed: str) -> tuple[str, str]:
    """ "black car" -> ("black", "car"); "orange" -> ("", "orange")."""
    first, _, rest = listed.partition(" ")
    return (first, rest) if rest and first in COLOURS else ("", listed)


def score_stated(stated: Stated, scene, singular) -> tuple[Counts, tuple[str, ...]]:
    """What a scene has of a prompt with its meaning beside it, and what is wrong with it."""
    verdict = judge(stated, scene, singular, COLOURS)
    counts = Counts(1, not verdict.faults, listed=len(stated.objects), matched=verdict.matched)
    counts.extracted, counts.coloured, counts.bound = len(scene.objects), len(stated.objects), verdict.bound
    counts.relations, counts.relations_found = len(stated.relations), verdict.relations
    return counts, verdict.faults


def score(example: Example, scene, singular) -> Counts:
    """Compares an extracted scene with what is listed. `singular` brings a word to its singular."""

    def name_of(text: str) -> str:
        return " ".join(singular(word) for word in text.lower().split())

    def colours_of(thing) -> set[str]:
        return {word for attribute in thing.attributes for word in attribute.text.lower().split() if word in COLOURS}

    counts = Counts(listed=len(example.objects), extracted=len(scene.objects), relations=len(example.relations))
    free = list(range(len(scene.objects)))
    match: dict[str, int] = {}
    for listed in example.objects:
        colour, name = split_colour(listed)
        same = [i for i in free if name_of(scene.objects[i].name) == name_of(name)]
        same.sort(key=lambda i: colours_of(scene.objects[i]) != ({colour} if colour else set()))
        if same:
            match[listed] = same[0]
            free.remove(same[0])
        if colour:
            counts.coloured += 1
            counts.bound += bool(same) and colours_of(scene.objects[same[0]]) == {colour}
    counts.matched = len(match)

    listed_of = {i: listed for listed, i in match.items()}
    said = {_normal(*relation) for relation in example.relations}
    found = {
        _normal(
            listed_of[r.subject], {"on": "above", "under": "below"}.get(r.predicate, r.predicate), listed_of[r.object]
        )
        for r in scene.relations
        if r.subject in listed_of and r.object in listed_of
    }
    found = {relation for relation in found if relation[1] in ("left of", "above")}
    counts.relations = len(said)
    counts.relations_found = len(said & found)
    counts.relations_extracted = len(found)
    counts.relations_right = len(said & found)
    return counts


def _normal(subject: str, predicate: str, other: str) -> tuple[str, str, str]:
    if predicate in ("right of", "below"):
        return (other, "left of" if predicate == "right of" else "above", subject)
    return (subject, predicate, other)


def load_core():
    """The pack's modules `core.prompt` and `core.prompt.lexicon`, loaded as the host would load the pack."""
    name = "prompt_fidelity"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return importlib.import_module(f"{name}.core.prompt"), importlib.import_module(f"{name}.core.prompt.lexicon")


def run(examples: list[Example], show_errors: bool = False) -> dict:
    """Extracts every prompt and sums up: figures, counts, time per prompt."""
    prompt, lexicon = load_core()
    prompt.extract("A cat.")  # the tagger's model loads once, outside the timing
    total, judged, slowest, seconds, objects, empty = Counts(), 0, 0.0, 0.0, 0, 0
    for example in examples:
        start = time.process_time()
        scene = prompt.extract(prompt.parse_weights(example.sentence))
        taken = time.process_time() - start
        seconds, slowest = seconds + taken, max(slowest, taken)
        objects, empty = objects + len(scene.objects), empty + (not scene.objects)
        if example.objects is None:
            if show_errors:
                print(_described(example, scene))
            continue
        judged += 1
        if isinstance(example, Stated):
            counts, faults = score_stated(example, scene, lexicon.singular)
            total.add(counts)
            if show_errors and faults:
                print(f"{_described(example, scene)}\n    wrong:  {'; '.join(faults)}")
            continue
        counts = score(example, scene, lexicon.singular)
        total.add(counts)
        faulty = counts.matched < counts.listed or counts.matched < counts.extracted or counts.bound < counts.coloured
        if show_errors and (faulty or counts.relations_found < counts.relations):
            print(_described(example, scene))
    return {
        "prompts": len(examples),
        "judged": judged,
        **total.figures(),
        "counts": vars(total),
        "objects_per_prompt": round(objects / max(1, len(examples)), 2),
        "prompts_without_objects": empty,
        "ms_per_prompt": round(1000 * seconds / max(1, len(examples)), 2),
        "ms_slowest": round(1000 * slowest, 2),
    }


def in_tokens(sentences: list[str]) -> dict[str, float]:
    """The share of the sentences' objects that the tokens at their positions spell, by family and encoder."""
    sys.path.append(str(ROOT / "tests" / "host"))  # where small encoders of every family are made
    from small_encoders import HERE, small_clip
    from spelling import spelled_objects

    shares = {}
    for family in HERE:
        for encoder, (spelled, objects) in spelled_objects(small_clip(family), sentences).items():
            shares[f"{family}: {encoder}"] = round(spelled / objects, 4)
    return shares


def _described(example: Example, scene) -> str:
    names = [thing.phrase for thing in scene.objects]
    relations = [f"{names[r.subject]} {r.predicate} {names[r.object]}" for r in scene.relations]
    listed = (
        ""
        if example.objects is None or isinstance(example, Stated)
        else f"\n    listed: {', '.join(example.objects)}; {', '.join(' '.join(r) for r in example.relations)}"
    )
    return f"{example.sentence}{listed}\n    found:  {', '.join(names)}; {', '.join(relations)}"


def third(examples: list, held_out: bool) -> list:
    """Every third example, which was only ever looked at as a number, or the others."""
    return [example for number, example in enumerate(examples) if (number % 3 == 2) == held_out]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Score the extraction of objects, attributes and relations from prompts."
    )
    parser.add_argument("--prompts", type=Path, required=True, help="file of prompts (gpt.txt, vsr.txt or plain lines)")
    parser.add_argument("--errors", action="store_true", help="show the prompts that were not read as listed")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object in the last line")
    parser.add_argument(
        "--third", choices=("seen", "held-out"), help="of users.txt: what was developed on, or the rest"
    )
    parser.add_argument(
        "--tokenizers", action="store_true", help="also look for the objects in the tokens of every text encoder"
    )
    options = parser.parse_args()
    if options.tokenizers:  # they are ComfyUI's, which all else here does without
        from _pack import load_pack

        load_pack()

    examples = read_examples(options.prompts.read_text(encoding="utf-8"))
    if options.third:
        examples = third(examples, options.third == "held-out")
    halves = {"even": run(examples[0::2]), "odd": run(examples[1::2])}
    result = run(examples, options.errors)
    print(f"{options.prompts.name}: {result['prompts']} prompts, {result['judged']} with known meaning")
    print(f"  {'':<20}{'all':>9}{'even':>9}{'odd':>9}")
    for name in FIGURES:
        shown = (figures[name] for figures in (result, *halves.values()))
        print(f"  {name:<20}" + "".join(f"{'–':>9}" if value is None else f"{100 * value:7.1f} %" for value in shown))
    print(
        f"  {result['objects_per_prompt']} objects per prompt, {result['prompts_without_objects']} prompts without any"
    )
    print(f"  {result['ms_per_prompt']} ms per prompt, the slowest {result['ms_slowest']} ms")
    if options.tokenizers:
        result["tokenizers"] = in_tokens([example.sentence for example in examples])
        for name, share in result["tokenizers"].items():
            print(f"  {name:<28}{100 * share:7.2f} % of the objects are spelled by their tokens")
    if options.json:
        for half, figures in halves.items():
            result[half] = {name: figures[name] for name in FIGURES}
        print(json.dumps(result))


if __name__ == "__main__":
    main()
