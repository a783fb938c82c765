"""The name of the family that a model belongs to, as presets go by it. The one place that knows."""

from __future__ import annotations

from ...core.methods.base import DEMO_PRESET, SCENES_PRESET
from .demo_model import is_demo_model
from .demo_scenes import is_demo_scenes


def family_of(patcher) -> str:
    """The family of a host's ModelPatcher; "" where no preset is made for it."""
    if is_demo_model(patcher):
        return DEMO_PRESET
    return SCENES_PRESET if is_demo_scenes(patcher) else ""
