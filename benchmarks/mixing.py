"""What Space-Time Attention costs: sampling steps with two objects over plain ones, on the SD1.5 architecture.

    python3 dev.py run benchmarks/mixing.py [--json] [--size 512] [--repeats 3]

Random weights in float32, guidance 7 (two rows), the solver's layout. Plain and mixed steps alternate; the figure is
the ratio of the smallest time of each: of processor time, so that other programs on the machine do not matter, or on a
GPU of elapsed time. What is measured includes the recording of the attention maps.
"""

from __future__ import annotations

import argparse
import json
import time

from _pack import load_pack

load_pack()

import comfy.sample  # noqa: E402
import torch  # noqa: E402
from cost import TARGETS, sd15  # noqa: E402
from prompt_fidelity.core.layout import solve  # noqa: E402
from prompt_fidelity.core.methods import SpaceTime  # noqa: E402
from prompt_fidelity.host.networks.rows import KEY  # noqa: E402
from prompt_fidelity.host.sampling.install import attach  # noqa: E402


def run(size: int, repeats: int) -> dict[str, float]:
    model = sd15()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, size // 8, size // 8, generator=generator)

    def encode(texts: list[str]) -> list[torch.Tensor]:
        return [torch.randn(1, 77, 768, generator=generator) for _ in texts]

    targets = TARGETS.__class__(**{**TARGETS.__dict__, "encode": encode})
    conditioning = [[torch.randn(1, 77, 768, generator=generator), {KEY: targets.handle}]]
    negative = [[torch.randn(1, 77, 768, generator=generator), {}]]
    layout = solve(targets, size, size)
    with torch.inference_mode():
        variants = {
            "plain": model,
            "mixed": attach(model, SpaceTime(), targets, layout=layout)[0],
        }

    clock = time.perf_counter if torch.cuda.is_available() else time.process_time

    def seconds(patched) -> float:
        started = clock()
        with torch.inference_mode():
            comfy.sample.sample(
                patched,
                x,
                1,
                7.0,
                "euler",
                "normal",
                conditioning,
                negative,
                torch.zeros_like(x),
                seed=0,
                disable_pbar=True,
            )
        return clock() - started

    times: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(repeats):
        for name, patched in variants.items():
            times[name].append(seconds(patched))
            print(f"  round {round_ + 1}: {name} {times[name][-1]:.2f} s", flush=True)
    best = {name: min(values) for name, values in times.items()}
    covered = sum(placement.box.area for placement in layout.placements)
    return {
        "mix_time_ratio": round(best["mixed"] / best["plain"], 4),
        "covered": round(covered, 3),
        "plain_step_seconds": round(best["plain"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--size", type=int, default=512, help="picture side in pixels")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    result = run(options.size, options.repeats)
    for name, value in result.items():
        print(f"  {name:<22} {value}")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
