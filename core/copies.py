"""What copying may not take apart."""

from __future__ import annotations

from typing import Any


class CopiesToItself:
    """Copies, deep ones too, are the object itself.

    Packs copy what lies near our objects: a model's options in every network call, a conditioning before it is changed.
    Ours belong to one run or never change, and reach the text encoder or the whole model: a copy would cost gigabytes,
    and be a second run's half.
    """

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict) -> Any:
        return self
