"""Score edits inside the host's attention: those of all Apply nodes that a model went through, in their order.

What an edit changes of a layer's output is added to whatever the layer gave: the host's kernel, another pack's kernel
in its place, or another pack's replacement of the whole layer. So all of them keep what they do, and only the edited
layers ever write their scores out, of the edited rows alone.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import torch

from ...core.control.scores import ScoreEditor
from ...core.copies import CopiesToItself
from .attention import Attention
from .base import Site
from .rows import Part, Rows

# An instance under this key of the run's transformer options: the host copies dicts and lists there, but not objects.
KEY = "prompt_fidelity_edits"

IN_PARTS = (
    "The network is shown the picture in parts (tiles or windows of another node), and {} gives every object its share "
    "in each of them, so objects may appear more than once."
)


@dataclass
class LayerEdit:
    """One Apply node's edit: who makes it, on which rows, in which layers."""

    editor: ScoreEditor
    rows: Rows
    sites: frozenset[Site]


class EditChain(CopiesToItself):
    """All score edits of one run. The run that makes it applies it; the others add theirs.

    `final` holds the probabilities [B, heads, pixels, tokens] that the layer at work now attends with, by the first of
    their rows.
    """

    def __init__(self) -> None:
        self.edits: list[LayerEdit] = []
        self.final: dict[int, torch.Tensor] = {}

    @property
    def active(self) -> bool:
        return any(edit.editor.active for edit in self.edits)

    def acts_at(self, site: Site) -> bool:
        return any(edit.editor.active and site in edit.sites for edit in self.edits)

    def applied(self, out: torch.Tensor, attention: Attention) -> torch.Tensor:
        """A layer's output, with the edits' effect on the controlled rows."""
        self.final = {}
        edits = [edit for edit in self.edits if edit.editor.active and attention.site in edit.sites]
        if not edits or not edits[0].rows.makes_map(attention.size, attention.pixels):
            return out
        by_part: dict[int, tuple[Part, list[LayerEdit]]] = {}
        for edit in edits:
            for part in edit.rows.parts_of(attention):
                by_part.setdefault(part.rows.start, (part, []))[1].append(edit)
        if not by_part:
            return out
        out = out.clone()
        for _, (part, mine) in sorted(by_part.items()):
            out[part.rows] = self._changed(out, attention, mine, part)
        return out

    def _changed(self, out: torch.Tensor, attention: Attention, edits: list[LayerEdit], part: Part) -> torch.Tensor:
        """One part's rows of the output with the edits."""
        attention = attention.behind(part.first)
        plain_scores = attention.scores(part.rows, part.tokens)
        plain = attention.whole(plain_scores, part.rows, plain_scores)
        edited = plain_scores
        for edit in edits:
            edited = _edited(edit, edited, attention.site, attention.size, part)
        final = attention.whole(edited, part.rows, plain_scores)
        for edit in edits:
            final = edit.editor.settle(final, plain)
        images = None if part.place is None or part.place.has_all_images else part.place.images
        for edit in edits:
            edit.editor.observe(plain, final, attention.site, _key(part), images)
        self.final[part.rows.start] = final[..., : part.tokens]
        return attention.changed(out, part.rows, plain, final)


def _key(part: Part) -> Hashable:
    """What tells a part from others that show something else; the same for the same part in every step."""
    return (part.uuid, None if part.whole else part.place)


def _edited(edit: LayerEdit, scores: torch.Tensor, site: Site, size: tuple[int, int], part: Part) -> torch.Tensor:
    """One edit of a part's scores [B, heads, pixels, tokens].

    The editor's memory of the step before is of the same pixels of the same images. Where a call shows some images of
    the batch, each is edited by itself, as a window may hold others in the next step; where it isn't known what a call
    shows, there is nothing to remember.
    """
    if part.place is None:
        return edit.editor.edit(scores, site, size, None, remembers=False)
    view = None if part.place.view.is_whole else part.place.view
    if view is not None and part.uuid not in edit.rows.in_areas:
        edit.rows.warn(IN_PARTS.format(edit.editor.method.title))
    if part.place.has_all_images:
        return edit.editor.edit(scores, site, size, (part.uuid, view))
    each = zip(part.place.images, scores.split(1))
    return torch.cat([edit.editor.edit(one, site, size, (part.uuid, view, image)) for image, one in each])


def chain_of(model_options: dict) -> tuple[EditChain, bool]:
    """The run's chain, and whether it was made just now: whoever makes it has to apply it."""
    options = model_options.setdefault("transformer_options", {})
    made = KEY not in options
    return options.setdefault(KEY, EditChain()), made
