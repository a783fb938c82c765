"""Skip connections that are added to in place, which autograd refuses."""

from collections.abc import Callable

import torch


def part_from_skips(transformer_options: dict, where: Callable[[torch.Tensor], bool]) -> None:
    """Lets the network go on with a copy of every skip connection of which `where` is true.

    A ControlNet adds to the skip connection in place. The next block's norm keeps its input for backward, and autograd
    refuses one that was changed since.
    """

    def patch(h: torch.Tensor, options: dict) -> torch.Tensor:
        return h.clone() if where(h) else h

    patches = transformer_options.setdefault("patches", {})
    patches["input_block_patch_after_skip"] = [*patches.get("input_block_patch_after_skip", []), patch]
