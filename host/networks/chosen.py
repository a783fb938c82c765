"""The artist's choice of blocks, in words: "auto", "all", "double 10-18, single 0"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from ..errors import HostError

AUTO, ALL = "auto", "all"
S = TypeVar("S")

_PART = re.compile(r"([a-z_]+)\s*(?:(\d+)\s*(?:-\s*(\d+))?)?")


def chosen_sites(sites: Sequence[S], blocks: str, title: str, usual: Iterable[S] | None = None) -> list[S]:
    """Those of `sites` (each with `block` and `number`) that `blocks` names; "auto" is the `usual` ones, or all.

    Raises HostError for words that are none of that, or name no block of the network `title`.
    """
    blocks = blocks.strip().lower() or AUTO
    if blocks == ALL or (blocks == AUTO and usual is None):
        return list(sites)
    if blocks == AUTO:
        usual = set(usual)
        return [site for site in sites if site in usual]
    wanted = [_range(part.strip(), sites, title) for part in blocks.split(",") if part.strip()]
    found = [site for site in sites if any(site.block == name and site.number in at for name, at in wanted)]
    if not found:
        raise HostError(f'The blocks "{blocks}" hold no attention of {title} to the words. {_there_are(sites)}')
    return found


def _range(part: str, sites: Sequence[S], title: str) -> tuple[str, range]:
    names = list(dict.fromkeys(site.block for site in sites))
    match = _PART.fullmatch(part)
    if match is None or match[1] not in names:
        raise HostError(
            f'"{part}" names no blocks of {title}. Write auto, all, or for example "{names[0]} 0-3". '
            f"{_there_are(sites)}"
        )
    first = 0 if match[2] is None else int(match[2])
    last = max(site.number for site in sites) if match[2] is None else int(match[3] or match[2])
    return match[1], range(first, last + 1)


def _there_are(sites: Sequence[S]) -> str:
    names = dict.fromkeys(site.block for site in sites)
    parts = []
    for name in names:
        numbers = sorted({site.number for site in sites if site.block == name})
        parts.append(f"{name} {numbers[0]}" + (f"-{numbers[-1]}" if len(numbers) > 1 else ""))
    return f"It has {', '.join(parts)}."
