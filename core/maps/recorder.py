"""What is kept of the attention maps for the viewer: one small map per target, averaged over the steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ..errors import MethodError
from ..prompt.targets import Targets
from .transforms import plain


def shown_words(targets: Targets) -> list[tuple[str, tuple[int, ...]]]:
    """Name and token positions of everything that gets a map of its own: each object, followed by its attributes.

    An attribute carries its object's name ("black (car)"), as two objects may share an attribute.
    """
    words = []
    for target in targets.objects:
        words.append((target.name, target.positions))
        words += [(f"{attribute.text} ({target.name})", attribute.positions) for attribute in target.attributes]
    return [(name, positions) for name, positions in words if positions]


def word_map(maps: Tensor, targets: Targets, positions: Sequence[int]) -> Tensor:
    """[B, h, w, tokens] → [B, h, w]: the mean over a word's pieces, summed over the encoders that read the prompt, as
    they share a pixel's attention among them.
    """
    return sum(maps[..., pieces].mean(dim=-1) for pieces in targets.by_encoder(positions))


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, T, h, w] at another size: the mean where it is smaller, blended between pixels where it is larger."""
    smaller = tuple(min(now, wanted) for now, wanted in zip(maps.shape[-2:], size, strict=True))
    return interpolate(adaptive_avg_pool2d(maps, smaller), size, mode="bilinear", align_corners=False)


class TargetMaps:
    """Running mean over the steps of each target's map, on the CPU in float32, at the size of the first step's."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.steps = 0
        self._mean: Tensor | None = None

    def add(self, maps: Tensor, targets: Targets) -> None:
        """Take in one step's mean maps [B, h, w, tokens]; a word's map is that of `word_map`."""
        words = shown_words(targets)
        if not words:
            return
        maps = plain(maps.detach())
        stack = torch.stack([word_map(maps, targets, positions) for _, positions in words], dim=1)  # [B, T, h, w]
        stack = stack.to("cpu", torch.float32)
        if self._mean is None:
            self.names = tuple(name for name, _ in words)
            self._mean = torch.zeros_like(stack)
        elif self._mean.shape[-2:] != stack.shape[-2:]:
            # Another node may work at a smaller size for a while, or enlarge the latent.
            stack = resized(stack, self._mean.shape[-2:])
        self.steps += 1
        self._mean += (stack - self._mean) / self.steps

    @property
    def mean(self) -> Tensor | None:
        """[B, T, h, w], or None if nothing was recorded. Column t is `names[t]`."""
        return self._mean

    def shown(self, targets: Targets, attributes: bool = False) -> tuple[tuple[str, ...], Tensor]:
        """Names and maps [B, T, h, w] of the objects of `targets`, with their attributes if asked for.

        Raises MethodError if nothing was recorded, or none of these objects.
        """
        if self._mean is None:
            raise MethodError(
                "There are no attention maps to show: the model of Apply Attention Control has not drawn a picture "
                "yet, or the prompt holds no object. "
                "Connect that model to the sampler whose picture is shown here."
            )
        wanted = (
            {name for name, _ in shown_words(targets)} if attributes else {target.name for target in targets.objects}
        )
        columns = [column for column, name in enumerate(self.names) if name in wanted]
        if not columns:
            raise MethodError(
                f"The maps recorded are of {', '.join(self.names)}; these targets hold none of them. "
                "Connect the targets of the Extract Targets node that Apply Attention Control uses."
            )
        return tuple(self.names[column] for column in columns), self._mean[:, columns]
