"""Draw the pictures of the help pages: web/docs/pictures/NODE.jpg, each by the nodes that its page explains.

python3 dev.py run tools/help_pictures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from _pack import load_pack  # noqa: E402

load_pack()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from prompt_fidelity.host.models.demo_model import demo_card  # noqa: E402
from prompt_fidelity.nodes.apply import FidelityApply  # noqa: E402
from prompt_fidelity.nodes.combine import FidelityCombineMethods  # noqa: E402
from prompt_fidelity.nodes.demo import FidelityLoadDemoModel  # noqa: E402
from prompt_fidelity.nodes.layout import (  # noqa: E402
    FidelityLayoutFromBoxes,
    FidelityLayoutFromMasks,
    FidelityPredictLayout,
)
from prompt_fidelity.nodes.maps import FidelityViewMaps  # noqa: E402
from prompt_fidelity.nodes.methods import FidelitySelectMethod  # noqa: E402
from prompt_fidelity.nodes.seeds import FidelityPickSeeds  # noqa: E402
from prompt_fidelity.nodes.targets import FidelityExtractTargets  # noqa: E402

import nodes as host  # noqa: E402

PICTURES = ROOT / "web" / "docs" / "pictures"
PROMPT = "a red ball and a blue ring"
SIDE, SHOWN, GAP = 128, 220, 8
# What a page shares with a workflow's thumbnail.
THUMBNAILS = {
    "FidelitySelectMethod": "4 Attend and Excite, which one - Prompt Fidelity",
    "FidelityOptimiseSpaceTime": "6 Tuned for one picture, slow - Prompt Fidelity",
}
BOXES = '[{"bbox": [80, 60, 620, 480], "desc": "ball"}, {"bbox": [420, 540, 940, 950], "desc": "ring"}]'


def chosen(name: str):
    return FidelitySelectMethod.execute({"method": name, "preset": {"preset": "demo"}}).args[0]


class Demo:
    def __init__(self) -> None:
        self.model, self.clip, self.vae = FidelityLoadDemoModel.execute().args
        self.sampling = demo_card()["sampling"]
        self.negative = FidelityExtractTargets.execute(self.clip, "").args[0]

    def read(self, prompt: str = PROMPT):
        return FidelityExtractTargets.execute(self.clip, prompt).args[:2]

    def draw(self, model, positive, seed: int) -> torch.Tensor:
        empty = host.EmptyLatentImage().generate(SIDE, SIDE, 1)[0]
        how = self.sampling
        drawn = host.KSampler().sample(
            model, seed, how["steps"], how["cfg"], how["sampler"], how["scheduler"], positive, self.negative, empty
        )[0]
        return host.VAEDecode().decode(self.vae, drawn)[0]

    def pick(self) -> torch.Tensor:
        """The contact sheet of four seeds."""
        positive, targets = self.read()
        empty = host.EmptyLatentImage().generate(SIDE, SIDE, 1)[0]
        how = (self.sampling[name] for name in ("steps", "cfg", "sampler", "scheduler"))
        picked = FidelityPickSeeds.execute(
            self.model, positive, self.negative, targets, empty, 1, 4, 0.4, *how, 1.0, 1, self.vae
        )
        return picked.args[3]

    def apply(self, method, seed: int):
        """(plain, drawn with the method, the record) of the prompt."""
        positive, targets = self.read()
        patched, record = FidelityApply.execute(self.model, method, targets, 1.0, 0.0, 1.0).args
        return self.draw(self.model, positive, seed), self.draw(patched, positive, seed), record


def save(name: str, *images: torch.Tensor) -> None:
    """Write pictures [1, H, W, 3] side by side."""
    tiles = []
    for image in images:
        picture = Image.fromarray((image[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy())
        tiles.append(picture.resize((round(SHOWN * picture.width / picture.height), SHOWN), Image.Resampling.LANCZOS))
    sheet = np.full((SHOWN, sum(tile.width + GAP for tile in tiles) - GAP, 3), 255, np.uint8)
    left = 0
    for tile in tiles:
        sheet[:, left : left + tile.width] = np.asarray(tile)
        left += tile.width + GAP
    Image.fromarray(sheet).save(PICTURES / f"{name}.jpg", quality=88)


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    demo = Demo()
    positive, targets = demo.read()
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    plain, drawn, record = demo.apply(chosen("attend_and_excite"), seed)
    save("FidelityApply", plain, drawn)
    overlays, masks, plot, _ = FidelityViewMaps.execute(record, targets, drawn, False).args
    save("FidelityViewMaps", *overlays.split(1), plot)
    save("FidelityExtractTargets", drawn, *(mask[..., None].expand(-1, -1, -1, 3) for mask in masks.split(1)))
    pair = {"method_1": chosen("syngen"), "weight_1": 0.5, "method_2": chosen("attend_and_excite"), "weight_2": 0.5}
    save("FidelityCombineMethods", *demo.apply(FidelityCombineMethods.execute(**pair).args[0], seed)[:2])
    save("FidelityPickSeeds", demo.pick())
    save("FidelityScore", drawn, plain)
    prompts = ("a red ball", "a green cross and a yellow cup", "a white bar to the left of a purple ring")
    some = [demo.draw(demo.model, demo.read(prompt)[0], seed) for prompt in prompts]
    save("FidelityLoadDemoModel", *some)
    save("FidelityLoadDemoCLIP", some[1], some[2])
    beside = demo.read("a red ball to the left of a blue ring")[1]
    solver = {"predictor": "solver"}
    save("FidelityPredictLayout", FidelityPredictLayout.execute(beside, 512, 512, solver, 0).args[1])
    save("FidelityLayoutFromBoxes", FidelityLayoutFromBoxes.execute(targets, 512, 512, json=BOXES).args[1])
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 512), torch.linspace(0, 1, 512), indexing="ij")
    painted = torch.stack([
        (3 - 12 * ((rows - y) ** 2 + (columns - x) ** 2).sqrt()).clamp(0, 1) for x, y in ((0.3, 0.4), (0.7, 0.6))
    ])  # fmt: skip
    save("FidelityLayoutFromMasks", FidelityLayoutFromMasks.execute(targets, painted).args[1])
    for name, workflow in THUMBNAILS.items():
        thumbnail = Image.open(ROOT / "workflows" / f"{workflow}.jpg")
        thumbnail.thumbnail((480, 480))
        thumbnail.save(PICTURES / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
