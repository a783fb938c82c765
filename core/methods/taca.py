"""TACA: Rethinking Cross-Modal Interaction in Multimodal Diffusion Transformers.

Lv, Pan, Si, Chen, Zuo, Liu, Wong, ICCV 2025, arXiv 2506.07986. Where words and picture share one softmax, a few words
stand against thousands of pixels, so the picture's attention to them is thin. Their scores are multiplied by a
temperature γ > 1 (equation 10) while the noise is high, when the picture is laid out, and left alone after it
(equation 11): γ = 1.2 down to timestep 970 of 1000, the first 3 of 30 steps on Flux and Stable Diffusion 3.5.

As published it comes with a LoRA that was trained for it; without one the paper's own code runs too, and has more
artefacts. In cross-attention, where the softmax is over the words alone, their share cannot grow: there the same factor
sharpens each place's choice between the words, of which the paper says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..prompt.targets import Targets
from .base import EditSite, ScoreEdit, ScoreEditSettings, setting


@dataclass(frozen=True)
class TacaSettings(ScoreEditSettings):
    """Defaults: as published, in all blocks that are looked at."""

    temperature: float = setting(
        1.2,
        "What the words' scores are multiplied by (the paper's γ, 1.2; it tried 1.1 to 1.3). 1 leaves them alone.",
        minimum=1.0,
        maximum=3.0,
        step=0.05,
    )
    end: float = setting(
        0.1,
        "Where in the run it stops. Published: after a tenth of the steps (timestep 970 of 1000).",
        minimum=0.0,
        maximum=1.0,
        step=0.01,
    )
    layers: str = setting(
        "all",
        "Which layers of that size are edited where a block has several (SDXL has ten; Stable Diffusion 1 and 2 one). "
        "first, middle, last: one in each block; all: every one, as published.",
        options=("first", "middle", "last", "all"),
    )


class Taca(ScoreEdit):
    """scores of all of the text's tokens ← γ · scores."""

    name = "taca"
    title = "TACA"
    paper = "2506.07986"
    PRESETS = {"published": TacaSettings(), "demo": TacaSettings(temperature=1.5, end=0.5)}
    settings: TacaSettings

    def applies(self, targets: Targets) -> bool:
        return bool(targets.content)

    def check(self, targets: Targets) -> list[str]:
        return [] if self.applies(targets) else ["The prompt has no words, so TACA has nothing to strengthen."]

    def suits(self, joint: bool) -> list[str]:
        if joint:
            return []
        return [
            "TACA gives the words more of the attention that they share with the picture. In this model the words have "
            "the attention to themselves, so it only makes every place surer of its word. Attention Regulation is made "
            "for such models."
        ]

    def watched(self, targets: Targets) -> list[tuple[str, list[int]]]:
        objects = [(target.name, list(target.positions)) for target in targets.objects if target.positions]
        return objects or [("the prompt's words", list(targets.content))]

    def edit(self, scores: Tensor, targets: Targets, site: EditSite, strength: float = 1.0) -> Tensor:
        return scores * (1.0 + strength * (self.settings.temperature - 1.0))
