"""What would go unnoticed: inputs that have no effect, and prompts that cannot be read as the artist means them."""

from __future__ import annotations

from collections.abc import Sequence

from ..layout.boxes import Layout
from ..methods.base import Method
from ..prompt.targets import Targets

# Shapes whose sides' ratios differ by less are the same: sizes are rounded to the latent's pixels.
_SAME_SHAPE = 0.04
# Two boxes that share so much of the smaller one are one place.
_SAME_PLACE = 0.85
# An object of so many words, and of such a share of the prompt's, is none.
_MANY_WORDS, _NEARLY_ALL = 5, 0.8


def unnoticed(method: Method, targets: Targets, layout: Layout | None, size: Sequence[int] = ()) -> list[str]:
    """Sentences for the artist on a method, its targets and its layout; `size` is the picture's (width, height), where
    it is known.
    """
    return [*of_prompt(targets), *_of_layout(method, targets, layout, size)]


def of_prompt(targets: Targets) -> list[str]:
    """What is odd about the prompt itself."""
    if not targets.prompt.strip():
        return ["The prompt is empty, so there is nothing to look for: the picture is drawn as without this node."]
    notes = list(targets.notes)
    if not notes and _is_whole_sentence(targets):
        notes.append(
            f'"{targets.objects[0].phrase}" was read as one single object. If the prompt is not in English, or names '
            "several things, name them in the list of words of Extract Targets, separated by commas."
        )
    return notes


def _is_whole_sentence(targets: Targets) -> bool:
    """Whether the only object that was found takes in (nearly) the whole prompt, as happens in other languages."""
    if len(targets.objects) != 1:
        return False
    words, named = len(targets.prompt.split()), len(targets.objects[0].phrase.split())
    return named >= _MANY_WORDS and named >= _NEARLY_ALL * words


def _of_layout(method: Method, targets: Targets, layout: Layout | None, size: Sequence[int]) -> list[str]:
    if layout is None:
        return []
    notes = []
    if not any(part.method.takes_layout for part in method.parts):
        notes.append(
            f"{method.title} takes no layout, so the one that is connected has no effect. Choose Space-Time Attention, "
            "or another method that works in regions, or disconnect it."
        )
        return notes
    if size:
        ours, theirs = size[0] / size[1], layout.width / layout.height
        if abs(ours / theirs - 1) > _SAME_SHAPE:
            notes.append(
                f"The layout is made for a picture of {layout.width} × {layout.height}, this one is {size[0]} × "
                f"{size[1]}: its places are stretched. Give both the same width and height."
            )
    placed = layout.placements
    for i, one in enumerate(placed):
        for other in placed[i + 1 :]:
            if one.mask is None and other.mask is None and one.box.shared(other.box) > _SAME_PLACE:
                notes.append(
                    f"{one.name} and {other.name} have the same place in the layout, so they may melt into one. Move "
                    "one of the boxes."
                )
    missing = [target.phrase for t, target in enumerate(targets.objects) if layout.of(t) is None]
    if placed and missing:
        notes.append(f"The layout has no place for {', '.join(missing)}.")
    return notes
