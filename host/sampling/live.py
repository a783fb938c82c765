"""The maps of the step that was just taken, shown on the Apply node while the sampler goes on.

Not on View Attention Maps: the host would go on to show them there in the place of the pictures that node makes.
"""

import time

from torch import Tensor

from ...core.prompt.targets import Targets
from ...core.show.live import StepPictures
from ..progress import preview_on_node, previews_reach

# So much of the run's time, at most, goes into pictures of its steps; where steps are short, only some are shown.
SHARE = 0.03


class LiveMaps:
    """Shows the first picture's maps, step by step, to the browser that queued the run; without one it does nothing.

    It computes only with copies on the CPU and draws no random numbers, so that the run is what it is without it.
    """

    def __init__(self, targets: Targets, node_id: str | None):
        self._node = node_id
        self._pictures = StepPictures(targets) if previews_reach(node_id) else None
        self._began = time.perf_counter()
        self._spent = self._last = 0.0

    def show(self, maps: Tensor | None) -> None:
        """Told of every step's maps, those that the record took [B, T, h, w], or None."""
        begin = time.perf_counter()
        if self._pictures is None or maps is None or not self._pictures.columns:
            return
        if self._spent + self._last > SHARE * (begin - self._began):
            return
        preview_on_node(self._pictures.draw(maps[0]), self._node)
        self._last = time.perf_counter() - begin
        self._spent += self._last
