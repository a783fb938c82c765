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
from PIL import Image, ImageDraw  # noqa: E402
from prompt_fidelity.core.drawing import INK, PAPER, font, to_image, to_picture  # noqa: E402
from prompt_fidelity.core.methods import METHODS  # noqa: E402
from prompt_fidelity.core.show import render  # noqa: E402
from prompt_fidelity.host.models.demo_model import demo_card  # noqa: E402
from prompt_fidelity.nodes.apply import FidelityApply  # noqa: E402
from prompt_fidelity.nodes.combine import FidelityCombineMethods  # noqa: E402
from prompt_fidelity.nodes.demo import FidelityLoadDemoCLIP, FidelityLoadDemoModel  # noqa: E402
from prompt_fidelity.nodes.layout import (  # noqa: E402
    FidelityLayoutFromBoxes,
    FidelityLayoutFromMasks,
    FidelityPredictLayout,
)
from prompt_fidelity.nodes.maps import FidelityCompareMaps, FidelityViewMaps, FidelityWordsAt  # noqa: E402
from prompt_fidelity.nodes.methods import FidelitySelectMethod  # noqa: E402
from prompt_fidelity.nodes.optimise import FidelityOptimiseSpaceTime, FidelitySpaceTimeWeights  # noqa: E402
from prompt_fidelity.nodes.seeds import FidelityPickSeeds  # noqa: E402
from prompt_fidelity.nodes.targets import FidelityExtractTargets, FidelityTargetsInConditioning  # noqa: E402

import nodes as host  # noqa: E402

PICTURES = ROOT / "web" / "docs" / "pictures"
PROMPT = "a red ball and a blue ring"
SIDE, SHOWN, GAP = 128, 220, 8
LEGIBLE = 320  # as high as a sheet has to be shown for its legend to be read
COMPARED = ("t_sam", "attend_and_excite", "attention_regulation", "syngen", "divide_and_bind")
EPOCHS = 6
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

    def apply(self, method, seed: int, positive=None, targets=None, strength: float = 1.0, layout=None):
        """(the picture drawn with the method, its record), of the prompt unless others are given."""
        if positive is None:
            positive, targets = self.read()
        patched, record = FidelityApply.execute(self.model, method, targets, strength, 0.0, 1.0, layout).args
        return self.draw(patched, positive, seed), record

    def optimised(self, positive, targets, layout, seed: int):
        """(method, loss plot, weights as text) of Space-Time Attention, optimised for the prompt's picture."""
        empty = host.EmptyLatentImage().generate(SIDE, SIDE, 1)[0]
        how = (self.sampling[name] for name in ("steps", "cfg", "scheduler"))
        eyes = FidelityLoadDemoCLIP.execute().args
        method = chosen("space_time")
        return FidelityOptimiseSpaceTime.execute(
            self.model,
            positive,
            self.negative,
            targets,
            layout,
            self.vae,
            *eyes,
            empty,
            seed,
            *how,
            EPOCHS,
            0.1,
            method,
        ).args

    def found_again(self, method, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(picture, overlay) of a prompt that another node has encoded."""
        prompt = "a green cross and a yellow cup"
        encoded = host.CLIPTextEncode().encode(self.clip, prompt)[0]
        positive, targets, _ = FidelityTargetsInConditioning.execute(encoded, self.clip, prompt).args
        drawn, record = self.apply(method, seed, positive, targets)
        return drawn, FidelityViewMaps.execute(record, targets, drawn, False).args[0][:1]


def spot(image: torch.Tensor, record, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture with a circle where the mask is highest, and what Words at a Spot says of that place."""
    high, wide = image.shape[1:3]
    row, column = divmod(int(mask.argmax()), wide)
    x, y = (column + 0.5) / wide, (row + 0.5) / high
    words = FidelityWordsAt.execute(record, image, x, y).args[0]
    picture = to_picture(image[0], LEGIBLE)
    draw = ImageDraw.Draw(picture)
    for radius, ink in ((17, INK), (16, PAPER), (15, PAPER), (14, INK)):
        draw.circle((x * picture.width, y * picture.height), radius, outline=ink)
    paper = Image.new("RGB", (400, LEGIBLE), PAPER)
    ImageDraw.Draw(paper).multiline_text((16, 24), words, font=font(15, words), fill=INK, spacing=12)
    return to_image(picture)[None], to_image(paper)[None]


def save(name: str, *images: torch.Tensor, shown: int = SHOWN) -> None:
    """Write pictures [1, H, W, 3] side by side, `shown` pixels high."""
    tiles = []
    for image in images:
        picture = Image.fromarray((image[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy())
        tiles.append(picture.resize((round(shown * picture.width / picture.height), shown), Image.Resampling.LANCZOS))
    sheet = np.full((shown, sum(tile.width + GAP for tile in tiles) - GAP, 3), 255, np.uint8)
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
    method = chosen("attend_and_excite")
    plain, record_before = demo.apply(method, seed, strength=0.0)
    drawn, record = demo.apply(method, seed)
    save("FidelityApply", plain, drawn)
    overlays, masks, *_ = FidelityViewMaps.execute(record, targets, drawn, False).args
    save("FidelityViewMaps", *overlays.split(1), shown=LEGIBLE)
    save("FidelityExtractTargets", drawn, *(mask[..., None].expand(-1, -1, -1, 3) for mask in masks.split(1)))
    save("FidelityTargetsInConditioning", *demo.found_again(method, seed), shown=LEGIBLE)
    pair = FidelityCompareMaps.execute(targets, record_before, plain, record, drawn).args[0]
    save("FidelityCompareMaps", pair, shown=LEGIBLE)
    save("FidelityWordsAt", *spot(drawn, record, masks[1]), shown=LEGIBLE)
    pair = {"method_1": chosen("syngen"), "weight_1": 0.5, "method_2": chosen("attend_and_excite"), "weight_2": 0.5}
    save("FidelityCombineMethods", plain, demo.apply(FidelityCombineMethods.execute(**pair).args[0], seed)[0])
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
    compared = [("plain", plain[0])]
    compared += [(METHODS[name].title, demo.apply(chosen(name), seed)[0][0]) for name in COMPARED]
    save("FidelitySelectMethod", render.side_by_side([compared[:3], compared[3:]], height=SHOWN), shown=2 * SHOWN)
    layout = FidelityPredictLayout.execute(targets, SIDE, SIDE, {"predictor": "solver"}, 0).args[0]
    found, losses, weights = demo.optimised(positive, targets, layout, seed)
    save("FidelityOptimiseSpaceTime", losses, demo.apply(found, seed, layout=layout)[0], shown=LEGIBLE)
    pasted = FidelitySpaceTimeWeights.execute(weights).args[0]
    save("FidelitySpaceTimeWeights", plain, demo.apply(pasted, seed, layout=layout)[0])


if __name__ == "__main__":
    with torch.inference_mode():
        main()
