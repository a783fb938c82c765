"""The ways of drawing that are compared: each method with its settings, by name."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import Method
from prompt_fidelity.core.methods.combined import CombinedMethods

PLAIN, PLACEBO = "plain", "placebo"


@dataclass(frozen=True)
class Contestant:
    """A method under a name: "t_sam", "t_sam:paper" (a preset), or "t_sam+syngen" (combined, each at weight 1)."""

    name: str
    method: Method

    @property
    def placebo(self) -> str:
        return f"{PLACEBO} of {self.name}"

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of what is combined; none for a single method."""
        return tuple(self.name.split("+")) if "+" in self.name else ()


def contestants(names: list[str], overrides: list[str], family: str = "") -> list[Contestant]:
    """With the presets that were made for models of `family`, unless the names say others.

    Raises ValueError for a name, preset or setting that does not exist.
    """
    changes: dict[str, dict[str, str]] = {}
    for text in overrides:
        target, separator, value = text.partition("=")
        method, dot, setting = target.partition(".")
        if not separator or not dot or method not in METHODS:
            raise ValueError(
                f'--set {text} is not understood. Write METHOD.SETTING=VALUE, such as "t_sam.step_size=3".'
            )
        changes.setdefault(method, {})[setting] = value
    return [Contestant(name, _method(name, changes, family)) for name in names if name not in (PLAIN, PLACEBO)]


def _method(name: str, changes: dict[str, dict[str, str]], family: str) -> Method:
    if "+" in name:
        return CombinedMethods([(_method(part, changes, family), 1.0) for part in name.split("+")])
    base, _, preset = name.partition(":")
    if base not in METHODS:
        raise ValueError(f"There is no method {base}. The methods are {', '.join(METHODS)}.")
    presets = METHODS[base].PRESETS
    preset = preset or (family if family in presets else next(iter(presets)))
    if preset not in presets:
        raise ValueError(f"{base} has no preset {preset}. Its presets are {', '.join(presets)}.")
    settings = presets[preset]
    known = {field.name for field in fields(settings)}
    for setting in changes.get(base, {}):
        if setting not in known:
            raise ValueError(f"{base} has no setting {setting}. Its settings are {', '.join(sorted(known))}.")
    values = {setting: _value(getattr(settings, setting), text) for setting, text in changes.get(base, {}).items()}
    return METHODS[base](replace(settings, **values))


def _value(like, text: str):
    """`text` as the kind of value that a setting holds: "0,0.2" for a list of numbers, "on" for a switch."""
    if isinstance(like, bool):
        return text.lower() in ("on", "true", "1", "yes")
    if isinstance(like, tuple):
        return tuple(float(part) for part in text.split(",") if part)
    return type(like)(text)
