"""All methods by name: a new one is a file here and a line below. What a method computes, never when or where."""

from .attend_and_excite import AttendAndExcite
from .attention_regulation import AttentionRegulation
from .base import LatentLoss, LatentLossSettings, Method, MethodError, OutputMix, Rearrangement, ScoreEdit
from .box_diff import BoxDiff
from .divide_and_bind import DivideAndBind
from .focus import Focus
from .initial_editing import InitialEditing
from .layout_guidance import LayoutGuidance
from .space_time import SpaceTime
from .syngen import SynGen
from .t_sam import TSAM
from .taca import Taca

METHODS: dict[str, type[Method]] = {
    "t_sam": TSAM,
    "attend_and_excite": AttendAndExcite,
    "attention_regulation": AttentionRegulation,
    "syngen": SynGen,
    "divide_and_bind": DivideAndBind,
    "space_time": SpaceTime,
    "layout_guidance": LayoutGuidance,
    "box_diff": BoxDiff,
    "initial_editing": InitialEditing,
    "focus": Focus,
    "taca": Taca,
}

__all__ = [
    "METHODS",
    "AttendAndExcite",
    "AttentionRegulation",
    "BoxDiff",
    "DivideAndBind",
    "Focus",
    "InitialEditing",
    "LatentLoss",
    "LatentLossSettings",
    "LayoutGuidance",
    "Method",
    "MethodError",
    "OutputMix",
    "Rearrangement",
    "ScoreEdit",
    "SpaceTime",
    "SynGen",
    "TSAM",
    "Taca",
]
