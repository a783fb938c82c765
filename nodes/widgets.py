"""Widgets from a settings dataclass, and the dataclass back from their values."""

from dataclasses import Field, fields

from comfy_api.latest import io

from ..core.prompt.commas import entries


def widget(field: Field, default):
    """The host's input for one setting; its range, choices and tooltip ride in the field's metadata
    (core.methods.base.setting).
    """
    about, tooltip = field.metadata, field.metadata["tooltip"]
    if "options" in about:
        return io.Combo.Input(field.name, options=list(about["options"]), default=default, tooltip=tooltip)
    if isinstance(default, bool):
        return io.Boolean.Input(field.name, default=default, tooltip=tooltip)
    if isinstance(default, str):
        return io.String.Input(field.name, default=default, tooltip=tooltip)
    if isinstance(default, tuple):
        return io.String.Input(field.name, default=", ".join(f"{value:g}" for value in default), tooltip=tooltip)
    kind = io.Int if isinstance(default, int) else io.Float
    return kind.Input(
        field.name, default=default, min=about["minimum"], max=about["maximum"], step=about["step"], tooltip=tooltip
    )


def widgets(settings_class: type) -> list:
    """The host's inputs for all settings of a dataclass, at its defaults."""
    default = settings_class()
    return [widget(field, getattr(default, field.name)) for field in fields(settings_class)]


def settings_from(settings_class: type, values: dict):
    """An instance of `settings_class` from widget values by name. Raises ValueError for a list of
    numbers that is none.
    """
    known = {field.name: values[field.name] for field in fields(settings_class) if field.name in values}
    return settings_class(
        **{
            name: _numbers(name, value) if isinstance(getattr(settings_class, name), tuple) else value
            for name, value in known.items()
        }
    )


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in entries(text))
    except ValueError:
        raise ValueError(
            f'{name.replace("_", " ")} must be numbers separated by commas, such as "0, 0.2, 0.4", not "{text}".'
        ) from None
