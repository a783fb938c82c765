"""Memory for time: blocks of the network that are run again in the backward pass instead of being kept.

What is kept of a block is what went in. The gradient is the same to the bit, as the same is done to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from ..networks.base import Block, Network, Site
from ..networks.edits import KEY as EDITS
from ..networks.handed import at_work, options_of
from ..networks.mixes import KEY as MIXES
from ..networks.tap import Replay, Tap
from .kept import Kept

CHOICES = ("auto", "on", "off")


@contextmanager
def blocks_run_again(network: Network, kept: Kept, taps: Iterable[Tap] = ()) -> Iterator[None]:
    """For its time the blocks of `network` keep nothing; `taps` hear a second run as if it were none.

    The block that a recording ends in is run through once, as the backward pass may begin inside it, and one in which
    an edit or a mixture acts is run once where that acts: they note what they do. Of both, the parts are run again.
    """
    changed = []
    taps = list(taps)
    try:
        for block in network.blocks():
            changed += _RunAgain(block, kept, taps).put()
        yield
    finally:
        for module, before in reversed(changed):
            if before is None:
                del module.forward
            else:
                module.forward = before


class _RunAgain:
    """Stands before one block: has it run again as a whole where that may be, else its parts."""

    def __init__(self, block: Block, kept: Kept, taps: list[Tap]):
        self._block = block
        self._kept = kept
        self._taps = taps
        self._whole = True

    def put(self) -> list[tuple[torch.nn.Module, Callable | None]]:
        """Puts itself onto the modules; returns them with what was there before."""
        block = self._block
        before = [(module, vars(module).get("forward")) for module in (block.module, *block.parts)]
        block.module.forward = partial(self._run_block, block.module.forward)
        for part in block.parts:
            part.forward = partial(self._run_part, part.forward)
        return before

    def _run_block(self, forward: Callable, *arguments, **named):
        options = options_of(named)
        if self._may_be_whole(options):
            return self._again(partial(self._as_a_whole, forward, options), arguments, named)
        self._whole = False
        return forward(*arguments, **named)

    def _as_a_whole(self, forward: Callable, options: dict, *arguments, **named):
        self._whole = True
        with at_work(options):
            return forward(*arguments, **named)

    def _run_part(self, forward: Callable, *arguments, **named):
        return forward(*arguments, **named) if self._whole else self._again(forward, arguments, named)

    def _again(self, function: Callable, arguments: tuple, named: dict):
        return self._kept.done_again(function, arguments, named, partial(_replaying, _heard(self._taps)))

    def _may_be_whole(self, options: dict) -> bool:
        if self._block.site is None:
            return True
        ends_here = any(each.replay.end_after == self._block.site for each in _heard(self._taps))
        return not ends_here and not _acts(options, self._block.site)


def _acts(options: dict, site: Site) -> bool:
    """Whether an edit of scores there or a mixture of outputs of ours is in force."""
    edits, mixes = options.get(EDITS), options.get(MIXES)
    return (mixes is not None and mixes.active) or (edits is not None and edits.acts_at(site))


def _heard(taps: list[Tap]) -> list[_Heard]:
    return [
        _Heard(tap, Replay(tap.recording), tap.rows.again())
        for tap in taps
        if getattr(tap.recording, "gradient", False)
    ]


@dataclass(frozen=True)
class _Heard:
    """Of a tap whose recording is to be differentiated, what is to hear a second run, and which call that is of."""

    tap: Tap
    replay: Replay
    call: Callable[[], AbstractContextManager]


@contextmanager
def _replaying(heard: list[_Heard]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in heard:
            stack.enter_context(each.tap.heard_by(each.replay))
            stack.enter_context(each.call())
        yield
