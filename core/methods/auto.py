"""The choice of a method, left to the pack: a table of rules, the first that fits decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import MethodError
from ..prompt.targets import Targets
from .base import OWN_PRESET, Method, Part, Situation
from .combined import CombinedMethods


@dataclass(frozen=True)
class Facts:
    """What the rules go by."""

    objects: int
    attributes: int
    relations: int
    layout: bool
    transformer: bool = False
    joint: bool = False
    tight: bool = False


@dataclass(frozen=True)
class Rule:
    """Where `fits` holds, the first of `choices` that the pack has is taken; `because` completes "… because …".

    "a+b" is both methods at once, "a:p" with the preset p unless the model has one of its own.
    """

    fits: Callable[[Facts], bool]
    choices: tuple[str, ...]
    because: str


_BETTER = " and no layout is connected (with one from Predict Layout, Space-Time Attention did best in the benchmark)"

# The order of choices follows the benchmark's table (benchmarks/fidelity.py), best first; for networks in which words
# and picture share one softmax, its table of TinyScenes. In transformers of the other kind moving the latent does
# little and editing the attention more, as has been found on PixArt (arXiv 2503.17675).
RULES = (
    Rule(
        lambda f: f.layout and f.joint and f.objects > 0 and not f.tight,
        ("layout_guidance:one-pass",),
        "a layout says where the objects go, and words and picture share their attention in this model, where this "
        "had it obeyed most, in one pass",
    ),
    Rule(
        lambda f: f.layout and f.objects > 0,
        ("initial_editing+space_time+attention_regulation", "space_time"),
        "a layout says where the objects go",
    ),
    Rule(
        lambda f: f.joint and f.objects >= 2 and not f.tight,
        ("focus+t_sam:one-pass", "focus"),
        "words and picture share their attention in this model, where these two did best in the benchmark, in one pass",
    ),
    Rule(
        lambda f: f.transformer and f.objects > 0,
        ("attention_regulation",),
        "the model is a transformer, where editing the attention does more than moving the latent (arXiv 2503.17675)"
        + _BETTER,
    ),
    Rule(
        lambda f: f.joint,
        ("taca",),
        "no object was found in the prompt, and TACA strengthens all of its words against the picture",
    ),
    Rule(
        lambda f: f.tight and f.objects > 0,
        ("attention_regulation",),
        "memory holds little more than the model, and this method keeps nothing for a gradient" + _BETTER,
    ),
    Rule(
        lambda f: f.objects >= 2 and f.attributes > 0,
        ("syngen", "t_sam", "attend_and_excite"),
        "the prompt has several objects with attributes" + _BETTER,
    ),
    Rule(
        lambda f: f.objects >= 2,
        ("attend_and_excite",),
        "the prompt has several objects, no attributes" + _BETTER,
    ),
    Rule(
        lambda f: f.objects == 1 and f.attributes > 0,
        ("syngen",),
        "the prompt has one object, whose attributes are to be bound to it",
    ),
    Rule(
        lambda f: f.objects == 1,
        ("attend_and_excite",),
        "the prompt has one object",
    ),
    Rule(
        lambda f: True,
        ("t_sam",),
        "no object was found in the prompt, and T-SAM works on all of its words",
    ),
)


class Auto(Method):
    """Stands for the method that the rules choose once prompt and model are known (`resolve`)."""

    kind = "auto"
    title = "Auto"
    paper = ""
    preset = OWN_PRESET
    parts: tuple[Part, ...] = ()
    window = (0.0, 1.0)
    resolution = "auto"

    def __init__(self, methods: Mapping[str, type[Method]]) -> None:
        self.methods = methods

    def applies(self, targets: Targets) -> bool:
        return False

    def check(self, targets: Targets) -> list[str]:
        return []

    def settings_text(self) -> str:
        return "chosen when the model and the prompt are known"

    def resolve(self, targets: Targets, situation: Situation) -> tuple[Method, str]:
        """The method of the first rule that fits, with its default settings, and the reason.

        Raises MethodError if every method for this situation is missing from the pack.
        """
        facts = Facts(
            len(targets.objects),
            sum(len(target.attributes) for target in targets.objects),
            len(targets.relations),
            situation.layout,
            situation.transformer,
            situation.joint,
            situation.tight,
        )
        for rule in RULES:
            if not rule.fits(facts):
                continue
            for choice in rule.choices:
                named = [part.partition(":")[::2] for part in choice.split("+")]
                if all(name in self.methods for name, _ in named):
                    methods = [self._with_preset(name, preset, situation.family) for name, preset in named]
                    method = methods[0] if len(methods) == 1 else CombinedMethods([(each, 1.0) for each in methods])
                    return method, f"{method.title}, because {rule.because}."
        raise MethodError("None of the pack's methods fits this prompt. Choose one in Select Method.")

    def _with_preset(self, name: str, preset: str, family: str) -> Method:
        method = self.methods[name]
        return method(method.settings_for(family if family in method.PRESETS else preset))
