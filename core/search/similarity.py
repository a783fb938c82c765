"""How well pictures fit a prompt by CLIP: the papers' full-prompt and minimum-object similarity, and the loss made of
them.

Full-prompt similarity is the cosine of a picture's and the whole prompt's embeddings; minimum-object similarity the
least over the objects of that with "a photo of …" (Chefer et al., SIGGRAPH 2023, section 5, whose prompts T-SAM
shares). The loss is Space-Time Attention's (Wu et al., ICCV 2023, arXiv 2304.03869): the whole picture against the
prompt, and five times the crop of each object's region against "a photo of" that object.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..methods.space_time import with_article
from ..prompt.targets import Targets

CROP_WEIGHT = 5.0  # the published weight of the objects' crops


def object_prompt(phrase: str) -> str:
    """ "black car" → "a photo of a black car"."""
    return f"a photo of {with_article(phrase)}"


def cosines(pictures: Tensor, texts: Tensor) -> Tensor:
    """Cosines [B, T] of embeddings [B, D] and [T, D], in float32 or wider."""
    pictures, texts = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (pictures, texts))
    return torch.nn.functional.normalize(pictures, dim=-1) @ torch.nn.functional.normalize(texts, dim=-1).T


def prompt_loss(full: Tensor, crops: Tensor, weight: float = CROP_WEIGHT) -> Tensor:
    """[B]: (1 − full) + weight · Σ (1 − crops), from the cosines of the whole pictures [B] and of the objects' crops
    [B, O].
    """
    return (1.0 - full) + weight * (1.0 - crops).sum(dim=-1)


@dataclass(frozen=True)
class Similarity:
    """The similarities of a batch's pictures with a prompt: `full` [B], and `objects` [B, O] with each of `names`."""

    prompt: str
    names: tuple[str, ...]
    full: Tensor
    objects: Tensor
    notes: tuple[str, ...] = ()

    @property
    def minimum(self) -> Tensor:
        """[B]: the object that fits worst."""
        return self.objects.amin(dim=-1)

    def report(self) -> str:
        """All figures in words, a line per picture."""
        lines = [f'Prompt: "{self.prompt}"']
        for index, (full, objects) in enumerate(zip(self.full.tolist(), self.objects.tolist())):
            each = ", ".join(f"{name} {value:.3f}" for name, value in zip(self.names, objects))
            lines.append(f"Picture {index + 1}: full prompt {full:.3f}, minimum object {min(objects):.3f} ({each})")
        if len(self.full) > 1:
            lines.append(
                f"Mean of {len(self.full)} pictures: full prompt {float(self.full.mean()):.3f}, minimum object "
                f"{float(self.minimum.mean()):.3f}"
            )
        return "\n".join([*lines, *self.notes])


def names_of(targets: Targets) -> tuple[str, ...]:
    """The objects' phrases, in the prompt's order."""
    return tuple(target.phrase for target in targets.objects)
