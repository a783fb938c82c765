"""All methods by name: a new one is a file in this folder and a line here."""

from .attend_and_excite import AttendAndExcite
from .base import LatentLoss, LatentLossSettings, MethodError
from .divide_and_bind import DivideAndBind
from .syngen import SynGen
from .t_sam import TSAM

METHODS: dict[str, type[LatentLoss]] = {
    "t_sam": TSAM,
    "attend_and_excite": AttendAndExcite,
    "syngen": SynGen,
    "divide_and_bind": DivideAndBind,
}

__all__ = ["METHODS", "AttendAndExcite", "DivideAndBind", "LatentLoss", "LatentLossSettings", "MethodError", "SynGen", "TSAM"]
