"""The choice of a method. Every method in core/methods appears here by itself, its settings dataclass giving the
widgets.
"""

from dataclasses import fields

from comfy_api.latest import io

from ..core.methods import METHODS
from ..core.methods.auto import Auto
from ..core.methods.base import OWN_PRESET
from .types import CATEGORY, Method
from .widgets import settings_from, widget

CUSTOM = "custom"
AUTO = "auto"  # as a method


def _option(name: str) -> io.DynamicCombo.Option:
    """A method's entry: its presets, and `custom`, which shows every setting."""
    method = METHODS[name]
    default = next(iter(method.PRESETS.values()))
    presets = [io.DynamicCombo.Option(preset, []) for preset in (OWN_PRESET, *method.PRESETS)]
    custom = io.DynamicCombo.Option(CUSTOM, [widget(field, getattr(default, field.name)) for field in fields(default)])
    tooltip = (
        f"{method.title} (arXiv {method.paper}). A preset holds settings that belong together: auto takes the one that "
        f"suits the model, custom shows them all, starting from {next(iter(method.PRESETS))}."
    )
    return io.DynamicCombo.Option(name, [io.DynamicCombo.Input("preset", options=[*presets, custom], tooltip=tooltip)])


class FidelitySelectMethod(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelitySelectMethod",
            display_name="Select Method",
            category=CATEGORY,
            description="Chooses how the picture is made to follow the prompt. Connect it to Apply Attention Control.",
            search_aliases=[METHODS[name].title for name in METHODS],
            inputs=[
                io.DynamicCombo.Input(
                    "method",
                    options=[io.DynamicCombo.Option(AUTO, []), *(_option(name) for name in METHODS)],
                    tooltip="auto: chosen by what the prompt holds and the model allows; the report says which. "
                    + "; ".join(f"{name}: {METHODS[name].title}" for name in METHODS)
                    + ". All work on U-Nets (Stable Diffusion, SDXL) and on transformers (Flux, Stable Diffusion 3 and "
                    "others): begin with focus on Flux and its kin, with attention_regulation on other transformers. "
                    "The help page compares them.",
                ),
            ],
            outputs=[Method.Output("method", display_name="method", tooltip="The method with its settings.")],
        )

    @classmethod
    def execute(cls, method: dict) -> io.NodeOutput:
        if method["method"] == AUTO:
            return io.NodeOutput(Auto(METHODS))
        chosen = METHODS[method["method"]]
        values = method["preset"]
        preset = values["preset"]
        if preset == OWN_PRESET:
            return io.NodeOutput(chosen.waiting())
        settings = (
            settings_from(type(next(iter(chosen.PRESETS.values()))), values)
            if preset == CUSTOM
            else chosen.PRESETS[preset]
        )
        return io.NodeOutput(chosen(settings))


NODES = [FidelitySelectMethod]
