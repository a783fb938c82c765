"""Names by which objects are told apart: a prompt may hold two balls."""

from __future__ import annotations

from collections.abc import Sequence

from .targets import Target


def told_apart(objects: Sequence[Target]) -> tuple[str, ...]:
    """A name for each object: "ball" if there is one, "ball (red)" and "ball (blue)" if there are two, numbers where
    that does not help.
    """
    names = [target.name for target in objects]
    described = [
        f"{target.name} ({', '.join(attribute.text for attribute in target.attributes)})"
        if names.count(target.name) > 1 and target.attributes
        else target.name
        for target in objects
    ]
    return tuple(
        f"{name} ({described[: place + 1].count(name)})" if described.count(name) > 1 else name
        for place, name in enumerate(described)
    )
