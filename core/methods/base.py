"""What every method is to the rest of the pack: its settings, and the kind of intervention that it makes.

A method is one file in this folder and one line in `METHODS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from torch import Tensor

from ..errors import MethodError
from ..layout.arranging import Arrangement
from ..layout.boxes import Layout
from ..maps.resolution import LAYERS, RESOLUTIONS
from ..maps.view import View
from ..prompt.targets import Targets
from ..settings import setting
from .losses import Losses
from .schedule import Schedule

__all__ = [
    "ACTS_ON",
    "EditSite",
    "LATENT",
    "LatentLoss",
    "LatentLossSettings",
    "Method",
    "MethodError",
    "OutputMix",
    "PREDICTION",
    "Part",
    "Rearrangement",
    "ScoreEdit",
    "ScoreEditSettings",
    "Situation",
    "setting",
]


# Where the gradient of a loss goes.
LATENT, PREDICTION = ACTS_ON = ("latent", "prediction")


@dataclass(frozen=True)
class LatentLossSettings:
    """What all methods that move the latent down a loss can be set to; each method sets its own defaults."""

    step_size: float = setting(
        1.0, "How far one update moves the latent (the papers' α).", minimum=0.0, maximum=1000.0, step=0.5
    )
    decay: float = setting(
        0.5,
        "Share that the square of the step size loses over the run: 0.5 as published, √linspace(1, ½); 0 is constant.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    start: float = setting(
        0.0, "Where in the run the updates begin: 0 is pure noise.", minimum=0.0, maximum=1.0, step=0.01
    )
    end: float = setting(
        0.5, "Where in the run the updates stop. Objects take their place early.", minimum=0.0, maximum=1.0, step=0.01
    )
    refine_at: tuple[float, ...] = setting(
        (),
        "Points of the run at which several updates are made, until the loss is low enough. Comma-separated, 0 to 1.",
    )
    refine_steps: int = setting(0, "Most updates at one refinement point.", minimum=0, maximum=100, step=1)
    refine_stop: str = setting(
        "reached",
        "When a refinement is over. reached: as soon as the loss is low enough. published: by the published code.",
        options=("reached", "published"),
    )
    smoothing: bool = setting(True, "Smooth the maps with a 3×3 kernel first, so that no single pixel decides.")
    resolution: str = setting(
        "auto",
        "Size of the attention maps relative to the latent. auto: 1/4, and finer for small pictures.",
        options=RESOLUTIONS,
    )
    acts_on: str = setting(
        LATENT,
        "latent: the latent is moved before each step, as published, which takes further passes of the network and "
        "allows refinement. prediction: the step's own pass gives the gradient, which is added to what the model "
        "predicts; no further passes, any sampler, no refinement.",
        options=ACTS_ON,
    )


@dataclass(frozen=True)
class ScoreEditSettings:
    """What all methods that edit attention scores can be set to; each method sets its own defaults."""

    start: float = setting(
        0.0, "Where in the run the edits begin: 0 is pure noise.", minimum=0.0, maximum=1.0, step=0.01
    )
    end: float = setting(
        0.5, "Where in the run the edits stop. Objects take their place early.", minimum=0.0, maximum=1.0, step=0.01
    )
    resolution: str = setting(
        "auto",
        "Size of the edited attention maps relative to the latent. auto: 1/4, and finer for small pictures.",
        options=RESOLUTIONS,
    )
    layers: str = setting(
        "first",
        "Which layers of that size are edited where a block has several (SDXL has ten; Stable Diffusion 1 and 2 one). "
        "first, middle, last: one in each block; all: every one, many times the cost.",
        options=LAYERS,
    )


# Families with presets of their own: the pack's small models, whose maps are unlike those of large ones.
DEMO_PRESET, SCENES_PRESET = "demo", "scenes"
PACK_MODELS = {
    DEMO_PRESET: "TinyShapes, the pack's demo model of shapes",
    SCENES_PRESET: "TinyScenes, the pack's demo model of scenes",
}
OWN_PRESET = "auto"  # no preset yet: the model's own, once it is known


@dataclass(frozen=True)
class Situation:
    """What a method that chooses for itself may go by, besides the prompt."""

    layout: bool = False  # whether the artist has said where the objects go
    family: str = ""  # the model's; a preset of that name was made for it
    transformer: bool = False  # whether the network is one, and no UNet
    joint: bool = False  # whether words and picture share one softmax in it (Flux, Stable Diffusion 3)
    tight: bool = False  # whether memory holds little more than the model


@dataclass(frozen=True)
class Part:
    """A method that does something by itself, and what the strength of it is multiplied by."""

    method: Method
    weight: float = 1.0


class Method(ABC):
    """What travels on the METHOD wire: what the nodes, the host layer and the reports need of any method."""

    kind: ClassVar[str]
    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    PRESETS: ClassVar[dict[str, Any]]
    takes_layout: bool = False  # whether it asks where in the picture the objects go
    # By family: the blocks that it looks at where the artist leaves them to the pack ("auto" where none are named).
    BLOCKS: ClassVar[dict[str, str]] = {}

    waits = False  # whether the settings are chosen when the model is known (`resolve`)

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings or self.settings_for("")

    @classmethod
    def settings_for(cls, family: str) -> Any:
        """Those of the preset that was made for models of `family`, or of the first where there is none."""
        return cls.PRESETS.get(family) or next(iter(cls.PRESETS.values()))

    @classmethod
    def waiting(cls) -> Method:
        """The method with the preset that suits the model, whichever it will be."""
        method = cls()
        method.waits = True
        return method

    @property
    def preset(self) -> str:
        """Name of the preset that the settings are, or "custom"; "auto" for one that waits for the model."""
        if self.waits:
            return OWN_PRESET
        return next((name for name, preset in self.PRESETS.items() if preset == self.settings), "custom")

    @property
    def window(self) -> tuple[float, float]:
        """The part of the run, 0 to 1, in which the method acts."""
        return self.settings.start, self.settings.end

    @property
    def resolution(self) -> str:
        """Which attention maps it looks at, one of RESOLUTIONS."""
        return self.settings.resolution

    def blocks_for(self, family: str) -> str:
        """The blocks of models of `family` that it looks at best, "auto" where the network's own choice will do."""
        return self.BLOCKS.get(family, "auto")

    @property
    def parts(self) -> tuple[Part, ...]:
        """What it is made of: itself, or the methods that it combines."""
        return (Part(self),)

    def resolve(self, targets: Targets, situation: Situation) -> tuple[Method, str]:
        """The method to run for this prompt and model, and why it was chosen ("" where the artist chose)."""
        return (type(self)(self.settings_for(situation.family)) if self.waits else self), ""

    def placed(self, layout: Layout) -> Method:
        """The method for objects at these places: itself, where a layout means nothing to it or is given with each
        call.
        """
        return self

    @abstractmethod
    def applies(self, targets: Targets) -> bool:
        """Whether this prompt gives the method anything to work on; if not, the image passes through unchanged."""

    @abstractmethod
    def check(self, targets: Targets) -> list[str]:
        """Warnings for the artist about this prompt. Raises MethodError if the targets lack what the method needs."""

    def suits(self, joint: bool) -> list[str]:
        """Notes for the artist where the method is made for networks of another kind; `joint`: whether words and
        picture share one softmax in this one.
        """
        return []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.preset})"

    def settings_text(self) -> str:
        """The settings in one line, for reports: "step size 20, decay 0.5, …"."""
        return ", ".join(
            f"{f.name.replace('_', ' ')} {_plain(getattr(self.settings, f.name))}" for f in fields(self.settings)
        )


class LatentLoss(Method):
    """A loss on the cross-attention maps, whose gradient moves the latent before a step, or the step's prediction.

    The loops around it are `core.control.latent` (schedule, refinement, step size in the model's coordinates) and
    `core.control.prediction`.
    """

    kind: ClassVar[str] = "latent_loss"
    # Whether the maps of a joint attention are wanted as they are, not divided by the text's part (core.maps.joint).
    of_the_whole: ClassVar[bool] = False
    PRESETS: ClassVar[dict[str, LatentLossSettings]]

    @property
    def schedule(self) -> Schedule:
        s = self.settings
        return Schedule(
            s.start, s.end, s.step_size, s.decay, s.refine_at, s.refine_steps, tests_late=s.refine_stop == "published"
        )

    @abstractmethod
    def loss(self, maps: Tensor, targets: Targets) -> Losses:
        """The loss of mean maps [B, h, w, tokens], differentiable; every image's own, in the maps' dtype."""

    def loss_at(self, maps: Tensor, targets: Targets, view: View | None) -> Losses:
        """As `loss`, of maps that show `view` of the picture, None for all of it: where that is matters to losses that
        take a layout.
        """
        return self.loss(maps, targets)

    @abstractmethod
    def satisfied(self, losses: Losses, point_index: int, iteration: int, targets: Targets) -> Tensor:
        """bool [B]: images that need no further update at refinement `point_index`, after `iteration` updates."""


@dataclass(frozen=True)
class EditSite:
    """Where and when an edit happens: the layer, the step of the run (and the progress it is at), the map's (h, w).

    `memory` is the layer's own in this run, step → what the method noted there; it starts empty.
    """

    layer: Hashable
    step: int
    progress: float
    size: tuple[int, int]
    memory: dict[int, Tensor] = field(default_factory=dict)


class ScoreEdit(Method):
    """A change of the attention scores inside the ordinary pass of the network: no gradients through it are needed.

    When and where to edit, and the record of it, is `core.control.scores`.
    """

    kind: ClassVar[str] = "score_edit"
    PRESETS: ClassVar[dict[str, ScoreEditSettings]]

    @abstractmethod
    def watched(self, targets: Targets) -> list[tuple[str, list[int]]]:
        """Name and token positions of everything whose share of the attention the edit moves, for the record."""

    @abstractmethod
    def edit(self, scores: Tensor, targets: Targets, site: EditSite, strength: float = 1.0) -> Tensor:
        """New scores [B, heads, pixels, tokens] (before the softmax, float32 or float64); `scores` are left as they
        are.

        Called again within a step (samplers that call the network twice), it edits anew what it gets, and its memory of
        the step stays that of the first call.
        """

    def settle(self, probs: Tensor, plain: Tensor, targets: Targets) -> Tensor:
        """Probabilities [B, heads, pixels, tokens] to attend with, from those of the edited and of the unedited scores.

        An edit that ends at the softmax returns `probs`.
        """
        return probs


class OutputMix(Method):
    """A mixture of the attention to the whole prompt with that to each object's own prompt, in the object's region.

    When, where and with which weights, and the record of it, is `core.control.outputs`. O is the number of placed
    objects.
    """

    kind: ClassVar[str] = "output_mix"
    takes_layout = True

    @property
    def wants_unconditional(self) -> bool:
        """Whether the mixture needs the layer's output for the negative prompt."""
        return False

    @abstractmethod
    def local_prompt(self, phrase: str) -> str:
        """The prompt of an object alone."""

    def check_layout(self, layout: Layout) -> None:
        """Raises MethodError if the method was made for other objects than the layout places."""

    @abstractmethod
    def regions(self, layout: Layout, h: int, w: int, view: View | None = None) -> Tensor:
        """[O, h, w] float32: how much of each pixel of a map of h × w belongs to each object.

        `view` is the part of the picture that the map shows, None for all of it.
        """

    @abstractmethod
    def weights(self, progress: float, layout: Layout) -> Tensor:
        """[O] float32: how much of its own prompt each object gets at this point of the run, 0 to 1."""

    @abstractmethod
    def scaled(self, weights: Tensor, strength: float) -> Tensor:
        """The weights [O] at a strength other than 1."""

    @abstractmethod
    def mix(
        self,
        global_out: Tensor,
        local_outs: Tensor,
        regions: Tensor,
        weights: Tensor,
        unconditional: Tensor | None = None,
    ) -> Tensor:
        """What a cross-attention layer is to give: [B, pixels, C] from the whole prompt's and [O, B, pixels, C] from
        the local ones.

        `regions` [O, pixels], `weights` [O]. `unconditional` [B, pixels, C] is the layer's output for the negative
        prompt, None where the network isn't asked for it in the same call.
        """


class Rearrangement(Method):
    """A new order of the latent's cells, made once, while it is nearly all noise.

    When, and the record of it, is `core.control.arranged`. Strength has no measure here: above 0 it is done.
    """

    kind: ClassVar[str] = "rearrangement"
    takes_layout = True

    @abstractmethod
    def arrange(self, maps: Tensor, targets: Targets, layout: Layout, size: tuple[int, int]) -> Arrangement:
        """For a latent of `size` (h, w): where each cell is taken from, by one image's maps [T, h', w'] of the objects
        that have words of their own, in the prompt's order.
        """


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return "/".join(f"{v:g}" for v in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_token_axis(maps: Tensor, targets: Targets) -> None:
    """Raises ValueError unless the maps' last axis is the prompt's token axis (the host folds repeats before this)."""
    if maps.shape[-1] != targets.length:
        raise ValueError(f"maps have {maps.shape[-1]} tokens, the prompt has {targets.length}")
