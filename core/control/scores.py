"""When and where a run's attention scores are edited, whatever the method, and the log of it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps.probabilities import wide
from ..maps.transforms import plain as plain_value
from ..methods.base import EditSite, ScoreEdit
from ..prompt.targets import Targets
from .inside import InsideLog, InsideStep

NO_LAYER = "no attention layer was seen (another node may have skipped the network), so nothing was edited"
NOT_FINITE = "the attention scores are not finite numbers, so the edit was left out"


@dataclass
class EditLog(InsideLog):
    """What one step's edits did. All tensors are small, float32 and on the CPU.

    `before` and `after` [B, T] are each target's share of the attention (column t is `names[t]`): its probability, the
    mean over the pixels, the heads and the edited `layers`, at the step's first network call.
    """

    layers: tuple[str, ...] = ()
    before: Tensor | None = None
    after: Tensor | None = None


class ScoreEditor(InsideStep[EditLog]):
    """Applies one score edit to one sampling run, and keeps every layer's memory.

    `strength` scales what is added to the scores; `start`, `end` and `log` as in InsideStep. `memories` are those of
    the layers, which a run that continues another takes over.
    """

    method: ScoreEdit

    def __init__(
        self,
        method: ScoreEdit,
        targets: Targets,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        log: list[EditLog] | None = None,
        memories: dict[Hashable, dict[int, Tensor]] | None = None,
    ) -> None:
        super().__init__(method, strength > 0 and method.applies(targets), start, end, log)
        self.targets = targets
        self.strength = strength
        self._watched = method.watched(targets)
        self._memories: dict[Hashable, dict[int, Tensor]] = {} if memories is None else memories
        self._shares: dict[Hashable, tuple[Tensor, tuple[int, ...] | None]] = {}  # (layer, part) -> [2, B, T], images
        self._last_step = -1

    def _entry_of(self, step: int, progress: float, sigma: float | None) -> EditLog:
        return EditLog(step, progress, sigma, tuple(name for name, _ in self._watched))

    def _complete(self, entry: EditLog) -> None:
        if not self._shares:
            entry.skipped = (NO_LAYER,)
            return
        entry.layers = tuple(dict.fromkeys(str(layer) for layer, _ in self._shares))
        entry.before, entry.after = _mean_share(list(self._shares.values())).cpu().unbind(0)
        self._shares = {}
        self._forget(entry.index)
        if not bool(torch.isfinite(entry.before).all()):
            entry.skipped = (NOT_FINITE,)

    def edit(
        self,
        scores: Tensor,
        layer: Hashable,
        size: tuple[int, int],
        part: Hashable = None,
        remembers: bool = True,
    ) -> Tensor:
        """The scores [B, heads, pixels, tokens] of `layer` as the method wants them; (h, w) is the map's size.

        `part` tells apart rows that one step holds more than once (a prompt in two areas, a picture in tiles); every
        part has a memory of its own at each size of map. One that cannot be told apart `remembers` nothing.
        """
        memory = self._memories.setdefault((layer, size, part), {}) if remembers else {}
        site = EditSite(layer, self._entry.index, self._entry.progress, size, memory)
        return self.method.edit(scores, self.targets, site, self.strength)

    def _forget(self, step: int) -> None:
        """Drop the memories of parts that neither this step nor the one before showed: windows may move in each."""
        before, self._last_step = self._last_step, step
        self._memories = {key: noted for key, noted in self._memories.items() if not noted or max(noted) >= before}

    def settle(self, probs: Tensor, plain: Tensor) -> Tensor:
        """What the method makes of the probabilities after the softmax; `plain` are those without any edit."""
        return self.method.settle(probs, plain, self.targets)

    def observe(
        self,
        plain: Tensor,
        final: Tensor,
        layer: Hashable,
        part: Hashable = None,
        images: tuple[int, ...] | None = None,
    ) -> None:
        """Note the shares [B, heads, pixels, tokens] that an edited layer began with and ended with.

        `images` are the places in the run's batch of these B, None if they are all of it.
        """
        if (layer, part) in self._shares:
            return
        shares = [
            torch.stack([wide(probs[..., positions]).sum(-1).mean((1, 2)) for _, positions in self._watched], dim=1)
            for probs in (plain, final)
        ]
        self._shares[layer, part] = plain_value(torch.stack(shares)), images


def _mean_share(noted: list[tuple[Tensor, tuple[int, ...] | None]]) -> Tensor:
    """[2, B, T]: each image's mean over what was noted of it."""
    if all(images is None for _, images in noted):
        return torch.stack([shares for shares, _ in noted]).mean(dim=0)
    batch = max(max(images) + 1 if images else shares.shape[1] for shares, images in noted)
    total, count = noted[0][0].new_zeros(2, batch, noted[0][0].shape[2]), [0] * batch
    for shares, images in noted:
        for column, image in enumerate(images or range(shares.shape[1])):
            total[:, image] += shares[:, column]
            count[image] += 1
    return total / torch.tensor(count).clamp_min(1).to(total)[:, None]
