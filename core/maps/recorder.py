"""What is kept of the attention maps for the viewer: one small map per target, averaged over the steps."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import MethodError
from ..prompt.naming import told_apart
from ..prompt.targets import Targets
from .sizes import resized, small_enough
from .transforms import plain
from .words import WordMaps, spelled_words, word_map

# So many steps keep maps of their own.
_MOST_FRAMES = 12


def shown_words(targets: Targets) -> list[tuple[str, tuple[int, ...]]]:
    """Name and token positions of everything that gets a map of its own: each object, followed by its attributes.

    An attribute carries its object's name ("black (car)"), as two objects may share an attribute; objects of one name
    are told apart.
    """
    words = []
    for name, target in zip(told_apart(targets.objects), targets.objects, strict=True):
        words.append((name, target.positions))
        words += [(f"{attribute.text} ({target.name})", attribute.positions) for attribute in target.attributes]
    return [(name, positions) for name, positions in words if positions]


class TargetMaps:
    """Running means over the steps, on the CPU in float32: each target's map at the size of the first step's, and, no
    finer than is kept (sizes.py), every word's; and some of the steps' own maps.

    `frames` are (step, maps [B, T, h, w] float16): at most `_MOST_FRAMES` steps, evenly apart, counted from 1.
    `late` is the mean over the frames of the run's second half, where objects have their place.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.steps = 0
        self.frames: list[tuple[int, Tensor]] = []
        self.words: WordMaps | None = None
        self._mean: Tensor | None = None
        self._apart = 1  # steps from one frame to the next

    def add(self, maps: Tensor, targets: Targets) -> Tensor | None:
        """Take in one step's mean maps [B, h, w, tokens]; a word's map is that of `word_map`. Gives the step's own maps
        of the `shown_words`, [B, T, h, w] on the CPU; None if there are no words.
        """
        words = shown_words(targets)
        if not words:
            return None
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
        self._keep(stack)
        self.words = self.words or WordMaps(spelled_words(targets))
        self.words.add(maps, targets)
        return stack

    def _keep(self, stack: Tensor) -> None:
        """Note a step's own maps; where there are too many, every other one goes."""
        if (self.steps - 1) % self._apart:
            return
        if len(self.frames) == _MOST_FRAMES:
            self.frames, self._apart = self.frames[::2], 2 * self._apart
            if (self.steps - 1) % self._apart:
                return
        self.frames.append((self.steps, small_enough(stack).half()))

    @property
    def late(self) -> Tensor | None:
        """[B, T, h, w]: the mean of the frames of the second half; None if nothing was recorded."""
        late = [maps.float() for step, maps in self.frames if 2 * step > self.steps]
        return torch.stack(late).mean(dim=0) if late else None

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
        wanted = {name for name, _ in shown_words(targets)} if attributes else set(told_apart(targets.objects))
        columns = [column for column, name in enumerate(self.names) if name in wanted]
        if not columns:
            raise MethodError(
                f"The maps recorded are of {', '.join(self.names)}; these targets hold none of them. "
                "Connect the targets of the Extract Targets node that Apply Attention Control uses."
            )
        return tuple(self.names[column] for column in columns), self._mean[:, columns]
