"""All methods by name: a new one is a file in this folder and a line here."""

from .attend_and_excite import AttendAndExcite
from .base import LatentLoss, LatentLossSettings, MethodError
from .t_sam import TSAM

METHODS: dict[str, type[LatentLoss]] = {
    "t_sam": TSAM,
    "attend_and_excite": AttendAndExcite,
}

__all__ = ["METHODS", "AttendAndExcite", "LatentLoss", "LatentLossSettings", "MethodError", "TSAM"]
