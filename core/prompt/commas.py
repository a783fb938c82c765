"""Lists that an artist types: entries between commas, semicolons or lines, also those of a Japanese keyboard."""

from __future__ import annotations

import re

_BETWEEN = re.compile(r"[,;\n，、；﹐､｡。]")


def entries(typed: str) -> list[str]:
    """The entries of a list, without the spaces around them; empty ones do not count."""
    return [entry for entry in map(str.strip, _BETWEEN.split(typed)) if entry]
