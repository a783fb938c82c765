"""Settings that can become widgets: a dataclass field with its tooltip, range and choices."""

from __future__ import annotations

from dataclasses import Field, field, fields
from math import isfinite
from typing import Any

from .errors import MethodError


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


def from_plain(kind: type, values: dict[str, Any]) -> Any:
    """Settings of a kind from what JSON can hold. Raises MethodError for a name, type or value that
    they cannot have.
    """
    known = {f.name: f for f in fields(kind)}
    if unknown := [name for name in values if name not in known]:
        raise MethodError(f"unknown settings: {', '.join(unknown)}.")
    return kind(**{name: _checked(known[name], value) for name, value in values.items()})


def _checked(f: Field, value: Any) -> Any:
    options, like = f.metadata.get("options"), f.default
    if options and value not in options:
        raise MethodError(f"{f.name} must be one of {', '.join(options)}, not {value!r}.")
    if isinstance(like, tuple):
        if not isinstance(value, list | tuple) or not all(_is_number(one) for one in value):
            raise MethodError(f"{f.name} must be a list of numbers, not {value!r}.")
        return tuple(value)
    if isinstance(like, bool | str):
        if not isinstance(value, type(like)):
            raise MethodError(
                f"{f.name} must be {'true or false' if isinstance(like, bool) else 'a text'}, not {value!r}."
            )
        return value
    least, most = f.metadata["minimum"], f.metadata["maximum"]
    if not _is_number(value) or not least <= value <= most:
        raise MethodError(f"{f.name} must be a number from {least:g} to {most:g}, not {value!r}.")
    return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value)
