"""Which of a model's attention resolutions a method looks at.

A level is a divisor of the latent's height and width: level 4 of a 64×64 latent has maps of 16×16.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from ..errors import MethodError

RESOLUTIONS = ("auto", "1/1", "1/2", "1/4", "1/8")
# Which of the layers of one transformer block an edit takes.
LAYERS = ("first", "middle", "last", "all")

# The papers' 16×16 of Stable Diffusion 1.5's pictures of 512×512.
_PUBLISHED_PIXELS = 32
# Below this, two objects share too few pixels to be told apart.
_SMALLEST_SIDE = 12


def map_size(height: int, width: int, level: int) -> tuple[int, int]:
    """Height and width of the maps at `level` of a latent [height, width]; odd sizes round up, as strided layers do."""
    return ceil(height / level), ceil(width / level)


def choose_level(resolution: str, height: int, width: int, levels: Sequence[int], pixels: int = 8) -> int:
    """The level that `resolution` (one of RESOLUTIONS) means for a latent of height × width.

    `levels` are those at which the model has maps to the words, `pixels` those of the picture to a cell of the latent.
    "auto" is 32 × 32 of these to a pixel of the map, 1/4 of most latents (or the next finer level that the model has),
    refined while the map's shorter side is under 12 pixels. Raises MethodError for a level that the model lacks, or a
    model with none.
    """
    if not levels:
        raise MethodError(
            "This model has no attention to the prompt, so there is nothing to control. "
            "Use a model such as SD1.5, SDXL or Flux."
        )
    available = sorted(set(levels))  # fine to coarse
    if resolution != "auto":
        level = int(resolution.removeprefix("1/"))
        if level not in available:
            have = ", ".join(f"1/{n}" for n in available)
            raise MethodError(
                f"This model has no attention to the prompt at {resolution} of the latent's size, only at {have}. "
                "Set the method's resolution to one of these, or to auto."
            )
        return level
    fine_enough = [n for n in available if n * pixels <= _PUBLISHED_PIXELS] or available[:1]
    position = len(fine_enough) - 1
    while position > 0 and min(map_size(height, width, fine_enough[position])) < _SMALLEST_SIDE:
        position -= 1
    return fine_enough[position]


def chosen_layers(layers: str, depth: int) -> range:
    """The layers, of a block with `depth` cross-attentions, that `layers` (one of LAYERS) means."""
    if layers == "all":
        return range(depth)
    at = {"first": 0, "middle": depth // 2, "last": depth - 1}[layers]
    return range(at, at + 1)
