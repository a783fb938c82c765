"""Settings that can become widgets: a dataclass field with its tooltip, range and choices."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(
    default: Any,
    tooltip: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    step: float | None = None,
    options: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field that also carries what a widget for it needs: tooltip, range, choices."""
    details = {"tooltip": tooltip, "minimum": minimum, "maximum": maximum, "step": step, "options": options}
    return field(default=default, metadata={name: value for name, value in details.items() if value is not None})
