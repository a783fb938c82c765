"""Do the methods help? Many prompts, fixed seeds, drawn plainly, with each method and with its placebo, and judged.

    python3 dev.py run benchmarks/fidelity.py                                   # the test half, every method: hours
    python3 dev.py run benchmarks/fidelity.py --half dev --methods t_sam --set t_sam.step_size=3
    python3 dev.py run benchmarks/fidelity.py --short --json
    python3 dev.py run benchmarks/fidelity.py --model scenes --methods attention_regulation,focus,taca
    python3 dev.py run benchmarks/fidelity.py --checkpoint sd15.safetensors --clip-vision clip.safetensors \\
        --prompts my.txt --seeds 0-3

Pictures of the demo models are judged by a detector (are the objects there, in their colours?), those of a real
checkpoint by CLIP (similarity to the prompt, and to the object that fares worst). The model of scenes is asked for the
three kinds of the Attend-and-Excite prompts (two animals; an animal and a coloured object; two coloured objects), and
its figures are given by kind too. A method has to beat plain sampling and its placebo, random updates of the same size,
on the same seeds (McNemar's exact test, and a sign test by prompt). Settings are tuned on the dev half; the test half,
which shares no prompt and no seed with it, gives the figures to report.

Every picture's figures go to a CSV at once: started again, the benchmark goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from pathlib import Path

from _pack import ROOT, load_pack

load_pack()

import torch  # noqa: E402
from measuring.artist import Artist, Drawn  # noqa: E402
from measuring.cases import (  # noqa: E402
    FIRST_SEED,
    HALVES,
    PROMPTS,
    SEEDS,
    Case,
    read_cases,
    read_seeds,
    relation_cases,
)
from measuring.contestants import PLACEBO, PLAIN, Contestant, contestants  # noqa: E402
from measuring.demo_models import MODELS, DemoModel  # noqa: E402
from measuring.judge import ClipJudge, cost_in_quality  # noqa: E402
from measuring.sheet import Sheet  # noqa: E402
from measuring.summary import by_kind, compare, lines  # noqa: E402
from measuring.table import Table  # noqa: E402
from prompt_fidelity.core.methods import METHODS  # noqa: E402
from tqdm import tqdm  # noqa: E402

SHORT_PROMPTS = 24
SHORT_METHODS = "space_time"
BATCH = 8


class Benchmark:
    """Draws, judges and keeps what is not in the table yet."""

    def __init__(
        self, artist: Artist, judge, table: Table, model_id: str, runners: list[Contestant], placebos: bool = True
    ) -> None:
        self.artist, self.judge, self.table, self.runners, self.placebos = artist, judge, table, runners, placebos
        sampling = json.dumps(artist.sampling, sort_keys=True)
        self.settings = {PLAIN: _fingerprint(model_id, sampling)}
        for runner in runners:
            blocks = artist.blocks if artist.blocks != "auto" else runner.method.blocks_for(artist.family)
            where = [blocks] if blocks != "auto" else []
            print_of = _fingerprint(model_id, sampling, repr(runner.method), runner.method.settings_text(), *where)
            self.settings |= {runner.name: print_of, runner.placebo: print_of}

    def missing(self, name: str, case: Case, seeds: list[int]) -> bool:
        return not all(self.table.has(name, self.settings[name], case.prompt, seed) for seed in seeds)

    def run(self, case: Case, seeds: list[int], sheet: Sheet | None = None) -> None:
        """One prompt with some seeds in all the ways that are missing, or in all ways if they are
        wanted for the sheet.
        """
        wanted = {r: [r.name, r.placebo] if self.placebos else [r.name] for r in self.runners}
        to_do = [r for r, names in wanted.items() if sheet or any(self.missing(name, case, seeds) for name in names)]
        if not to_do and not self.missing(PLAIN, case, seeds):
            return
        conditioning, targets = self.artist.encode(case.prompt)
        plain = self.artist.plain(conditioning, seeds)
        ways: list[tuple[str, Drawn]] = [(PLAIN, plain)]
        for runner in to_do:
            drawn = self.artist.with_method(runner.method, targets, conditioning, seeds)
            ways.append((runner.name, drawn))
            if self.placebos:
                ways.append(
                    (runner.placebo, self.artist.with_placebo(runner.method, drawn.moves, targets, conditioning, seeds))
                )
        for name, drawn in ways:
            rows = self._rows(name, case, seeds, targets, drawn, plain)
            self.table.add([row for row in rows if not self.table.has(name, row["settings"], case.prompt, row["seed"])])
        if sheet:
            sheet.add(case.prompt, ways)

    def _rows(self, name: str, case: Case, seeds: list[int], targets, drawn: Drawn, plain: Drawn) -> list[dict]:
        rows = []
        for seed, picture, first, moved in zip(
            seeds, drawn.pictures.numpy(), plain.pictures.numpy(), drawn.moved, strict=True
        ):
            key = {"name": name, "settings": self.settings[name], "prompt": case.prompt, "seed": seed}
            cost = {"moved": moved, "updates": drawn.updates, "seconds": drawn.seconds, "plain_seconds": plain.seconds}
            rows.append({**key, **self.judge(picture, case, targets), **cost_in_quality(picture, first), **cost})
        return rows

    def answer(self, cases: list[Case], seeds: list[int]) -> dict:
        """The summary; "placebo" is the mean of the methods' placebos, each of which is listed in "placebos".

        A combination is compared with those of its methods that were drawn too, "against".
        """
        keys = [(case.prompt, seed) for case in cases for seed in seeds]
        rows = {name: self.table.select(name, print_of, keys) for name, print_of in self.settings.items()}
        plain = rows[PLAIN]
        methods = {PLAIN: compare(plain, plain, None)}
        placebos = {r.name: compare(rows[r.placebo], plain, None) for r in self.runners if self.placebos}
        if placebos:
            pooled = [row for runner in self.runners for row in rows[runner.placebo]]
            methods[PLACEBO] = compare(pooled, plain * len(self.runners), None)
        for runner in self.runners:
            against = {part: compare(rows[runner.name], rows[part], None) for part in runner.parts if part in rows}
            methods[runner.name] = compare(rows[runner.name], plain, rows[runner.placebo] or None) | {
                "against": against
            }
        counts = {"prompts": len(cases), "seeds": len(seeds)}
        return {"methods": methods, "placebos": placebos, "kinds": self._kinds(cases, seeds), **counts}

    def _kinds(self, cases: list[Case], seeds: list[int]) -> dict[str, dict]:
        """The kinds of prompts, where they have some: each way of drawing compared with plain sampling."""
        answer: dict[str, dict] = {}
        for kind in dict.fromkeys(case.kind for case in cases if case.kind):
            keys = [(case.prompt, seed) for case in cases if case.kind == kind for seed in seeds]
            rows = {name: self.table.select(name, self.settings[name], keys) for name in self.settings}
            answer[kind] = {name: compare(own, rows[PLAIN], None) for name, own in rows.items() if own}
        return answer


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--methods",
        default=None,
        help=f"comma-separated; t_sam:paper is a preset, t_sam+syngen a combination (default: {','.join(METHODS)})",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="METHOD.SETTING=VALUE", help="change a setting; may be repeated"
    )
    parser.add_argument("--blocks", default="auto", help='blocks that methods look at and edit: "double 1, single 2-3"')
    parser.add_argument("--model", choices=MODELS, default="shapes", help="which demo model draws")
    parser.add_argument("--weights", type=Path, help="the demo model's weights instead of the pack's own")
    parser.add_argument("--half", choices=HALVES, default="test", help="dev to tune, test to report")
    parser.add_argument("--objects", default="2,3", help="numbers of objects in the prompts of shapes")
    parser.add_argument(
        "--relations", action="store_true", help="prompts of two shapes that say how they stand, instead"
    )
    parser.add_argument("--no-placebo", action="store_true", help="leave out the placebos, to tune in less time")
    parser.add_argument("--count", type=int, default=PROMPTS, help="so many of the half's prompts")
    parser.add_argument(
        "--part",
        metavar="K/N",
        help="draw the K-th of N shares of the prompts (one for each processor; join their tables)",
    )
    parser.add_argument("--prompts", type=Path, help="a file with one prompt a line, instead of the built-in ones")
    parser.add_argument(
        "--seeds",
        help=f"such as 0-3, KSampler's seeds (default: {SEEDS} seeds, other ones in each half; one in the short form)",
    )
    parser.add_argument("--checkpoint", type=Path, help="a Stable Diffusion checkpoint instead of the demo model")
    parser.add_argument("--clip-vision", type=Path, help="the CLIP model that judges a checkpoint's pictures")
    parser.add_argument("--size", type=int, default=512, help="a checkpoint's picture side")
    parser.add_argument("--steps", type=int, help="sampling steps instead of the model's")
    parser.add_argument("--cfg", type=float, help="guidance instead of the model's")
    parser.add_argument("--batch", type=int, default=BATCH, help="most pictures drawn at once")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "output" / "fidelity", help="folder for fidelity.csv and fidelity.png"
    )
    parser.add_argument("--sheet", type=int, default=6, help="prompts on the contact sheet; 0 for none")
    parser.add_argument(
        "--short", action="store_true", help=f"{SHORT_PROMPTS} prompts, {SHORT_METHODS}, no sheet: at most two minutes"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return parser.parse_args()


def _cases(options: argparse.Namespace, demo: DemoModel | None) -> list[Case]:
    """The prompts that the arguments ask for; of a checkpoint, those of shapes unless it is given some."""
    count = min(options.count, SHORT_PROMPTS) if options.short else options.count
    if options.prompts:
        return read_cases(options.prompts, demo.name if demo else None)
    model = demo or MODELS["shapes"]()
    if options.relations and model.name == "shapes":
        return relation_cases(options.half)[:count]
    objects = tuple(int(number) for number in options.objects.split(","))
    return model.proof(options.half, objects, PROMPTS)[:count]


def main() -> None:
    options = _arguments()
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_grad_enabled(False)
    demo = MODELS[options.model]() if options.checkpoint is None else None
    with torch.inference_mode():
        if demo is not None:
            judge, artist = demo.judge(), demo.artist(options.weights)
            model_id = hashlib.sha256((options.weights or demo.weights).read_bytes()).hexdigest()
        else:
            judge = ClipJudge.of_file(options.clip_vision)
            artist = Artist.with_checkpoint(options.checkpoint, options.size, options.steps or 50, options.cfg or 7.5)
            model_id = f"{options.checkpoint.resolve()} {options.checkpoint.stat().st_size}"
        artist.blocks = options.blocks
        artist.sampling |= {key: value for key in ("steps", "cfg") if (value := getattr(options, key)) is not None}
        names = options.methods or (SHORT_METHODS if options.short else ",".join(METHODS))
        runners = contestants(names.split(","), options.set, artist.family)
        cases = _cases(options, demo)
        if options.part:
            which, parts = (int(number) for number in options.part.split("/"))
            cases = cases[which - 1 :: parts]
        first = FIRST_SEED[options.half]
        seeds = (
            read_seeds(options.seeds) if options.seeds else list(range(first, first + (1 if options.short else SEEDS)))
        )
        judged = demo.name if demo else "clip"
        table = Table(options.out / f"fidelity_{judged}.csv", judge.figures)
        benchmark = Benchmark(artist, judge, table, model_id, runners, not options.no_placebo)

        parts = [seeds[i : i + options.batch] for i in range(0, len(seeds), options.batch)]
        units = [(case, part) for case in cases for part in parts]
        for case, part in tqdm(units, desc="prompts", unit="batch", smoothing=0.05):
            benchmark.run(case, part)
        answer = benchmark.answer(cases, seeds)
        if options.sheet and not options.short:
            sheet = Sheet()
            apart = max(1, len(cases) // options.sheet) | 1  # odd: numbers of objects take turns in the cases
            for case in cases[::apart][: options.sheet]:
                benchmark.run(case, seeds[:1], sheet)
            sheet.save(options.out / "fidelity.png")
            print(f"wrote {options.out / 'fidelity.png'}")
    print(f"{len(cases)} prompts x {len(seeds)} seeds, {table.path}")
    print("\n".join([*lines(answer["methods"]), *by_kind(answer["kinds"])]))
    if options.json:
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
