"""The main job in one go: the same prompts drawn plainly and with each method, with the model that comes with the pack.

    python3 dev.py demo                  # TinyScenes: animals and things
    python3 dev.py demo --model shapes   # TinyShapes: coloured shapes

Prints a table and writes side-by-side pictures to output/.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from _pack import ROOT, load_pack

load_pack()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from measuring.demo_models import MODELS  # noqa: E402
from PIL import Image  # noqa: E402
from prompt_fidelity.core.layout.settings import AttentionSettings  # noqa: E402
from prompt_fidelity.core.methods import METHODS  # noqa: E402
from prompt_fidelity.core.methods.base import DEMO_PRESET, SCENES_PRESET, Method  # noqa: E402
from prompt_fidelity.core.methods.combined import CombinedMethods  # noqa: E402
from prompt_fidelity.core.show import render  # noqa: E402
from prompt_fidelity.host.models.demo_model import demo_card  # noqa: E402
from prompt_fidelity.host.models.demo_scenes import scenes_card  # noqa: E402
from prompt_fidelity.nodes.apply import FidelityApply  # noqa: E402
from prompt_fidelity.nodes.demo import FidelityLoadDemoModel  # noqa: E402
from prompt_fidelity.nodes.layout import FidelityPredictLayout  # noqa: E402
from prompt_fidelity.nodes.maps import FidelityViewMaps  # noqa: E402
from prompt_fidelity.nodes.targets import FidelityExtractTargets  # noqa: E402
from tinyscenes.data import OWN  # noqa: E402

import nodes as host  # noqa: E402


@dataclass(frozen=True)
class Show:
    """What one of the pack's models is asked to draw. `best`: the methods that do best together, by
    benchmarks/fidelity.py.
    """

    says: str
    prompts: tuple[str, ...]
    family: str
    sampling: dict
    best: tuple[str, ...]


SHOWS = {
    "scenes": Show(
        "TinyScenes, a small model that comes with the pack and draws animals and things",
        ("a bear and a red apple and a blue bowl", "a white suitcase and a pink balloon"),
        SCENES_PRESET,
        scenes_card()["sampling"],
        ("focus", "t_sam"),
    ),
    "shapes": Show(
        "TinyShapes, a small model that comes with the pack and draws coloured shapes",
        ("a red ball and a blue ring", "a blue ball and a red bar and a green ring"),
        DEMO_PRESET,
        demo_card()["sampling"],
        ("space_time", "attention_regulation"),
    ),
}
SHORT = {"space_time+attention_regulation": "Space-Time + Regulation"}  # what fits above a picture


def for_this_model(show: Show) -> dict[str, Method]:
    """Every method with its settings for the model, and those that are best together."""
    single = {name: method(method.settings_for(show.family)) for name, method in METHODS.items()}
    return single | {"+".join(show.best): CombinedMethods([(single[name], 1.0) for name in show.best])}


def placed(method: Method, model, positive, targets, seed: int, sampling: dict):
    """For a method that works in regions, where the model begins to draw each object from this seed; None for the
    others.
    """
    if not method.takes_layout:
        return None
    looking = {"predictor": "attention", **asdict(AttentionSettings())}
    size = (sampling["width"], sampling["height"])
    return FidelityPredictLayout.execute(targets, *size, looking, seed, model, positive).args[0]


def draw(model, vae, positive, negative, seed: int, sampling: dict) -> tuple[torch.Tensor, float]:
    """The host's KSampler and VAE Decode, with the model's own settings: a picture [1, H, W, 3], and its seconds."""
    channels = model.get_model_object("latent_format").latent_channels
    latent = {"samples": torch.zeros(1, channels, sampling["height"] // 8, sampling["width"] // 8)}
    started = time.perf_counter()
    drawn = host.KSampler().sample(
        model,
        seed,
        sampling["steps"],
        sampling["cfg"],
        sampling["sampler"],
        sampling["scheduler"],
        positive,
        negative,
        latent,
        1.0,
    )[0]
    return host.VAEDecode().decode(vae, drawn)[0], time.perf_counter() - started


def drawn_right(picture: torch.Tensor, targets, detector) -> str:
    """How many of the prompt's objects the detector finds with their colours, such as "1 of 2"."""
    wanted = [(each.name, each.attributes[0].text if each.attributes else OWN) for each in targets.objects]
    score = detector.score(detector.detect(picture[0].numpy()), wanted)
    return f"{score.binding * len(wanted):.0f} of {len(wanted)}"


def loss_change(record) -> str:
    """The loss per target before and after, such as "ball 0.61→0.22  ring 0.48→0.22"."""
    measured = record.measured()
    if not measured and record.mixes:
        return f"{len(record.mixes)} steps with mixed attention"
    if not measured and record.edits:
        return f"{len(record.edits)} steps with edited scores"
    if not measured:
        moved = record.rearranged()
        return f"noise rearranged before step {moved[0].index + 1}" if moved else "no update"
    before, after = (
        measured[0].first[0],
        (measured[-1].after if measured[-1].after is not None else measured[-1].last)[0],
    )
    return "  ".join(f"{name} {b:.2f}→{a:.2f}" for name, b, a in zip(measured[-1].names, before, after, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SHOWS, default="scenes", help="which of the pack's models draws")
    parser.add_argument("--seeds", type=int, default=1, help="pictures per prompt")
    parser.add_argument("--out", type=Path, default=ROOT / "output")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(False)

    show, detector = SHOWS[options.model], MODELS[options.model]().detector
    print(f"Loading {show.says} ...", flush=True)
    with torch.inference_mode():
        model, clip, vae = FidelityLoadDemoModel.execute(options.model).args
        warm_up = FidelityExtractTargets.execute(clip, show.prompts[0]).args[0]
        draw(
            model, vae, warm_up, warm_up, 0, show.sampling
        )  # a network's first run is slower, and would be charged to plain sampling
        rows = [("prompt", "seed", "method", "loss per target, before→after", "right", "seconds", "× plain")]
        for prompt in show.prompts:
            positive, targets, summary = FidelityExtractTargets.execute(clip, prompt).args
            negative = FidelityExtractTargets.execute(clip, "").args[0]
            print(
                f'\n"{prompt}": {summary.splitlines()[0]} {", ".join(target.phrase for target in targets.objects)}',
                flush=True,
            )
            pictures = []
            for seed in range(options.seeds):
                plain, plain_seconds = draw(model, vae, positive, negative, seed, show.sampling)
                rows.append(
                    (
                        prompt,
                        str(seed),
                        "plain",
                        "",
                        drawn_right(plain, targets, detector),
                        f"{plain_seconds:.1f}",
                        "1.0",
                    )
                )
                row = [("plain", plain[0])]
                for name, method in for_this_model(show).items():
                    print(f"  seed {seed}: {method.title} ...", flush=True)
                    layout = placed(method, model, positive, targets, seed, show.sampling)
                    patched, record = FidelityApply.execute(model, method, targets, 1.0, 0.0, 1.0, layout).args
                    picture, seconds = draw(patched, vae, positive, negative, seed, show.sampling)
                    rows.append(
                        (
                            prompt,
                            str(seed),
                            name,
                            loss_change(record),
                            drawn_right(picture, targets, detector),
                            f"{seconds:.1f}",
                            f"{seconds / plain_seconds:.1f}",
                        )
                    )
                    row.append((SHORT.get(name, method.title), picture[0]))
                overlays = FidelityViewMaps.execute(record, targets, picture, False).args[0]
                row.append(("where the model looked", overlays[0]))
                pictures.append(row)
            path = options.out / f"demo_{prompt.replace(' ', '_')}.png"
            save(
                render.side_by_side(pictures, titles=[f'"{prompt}", seed {seed}' for seed in range(options.seeds)]),
                path,
            )
            print(f"  wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}", flush=True)
    print()
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(
        '\n"right" counts the objects that a detector finds in the colours of the prompt. A few pictures '
        "prove nothing:\nbenchmarks/fidelity.py draws hundreds, on other prompts and seeds than those the presets were "
        "tuned on."
    )


def save(picture: torch.Tensor, path: Path) -> None:
    Image.fromarray((picture[0] * 255).round().clamp(0, 255).numpy().astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
