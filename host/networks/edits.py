"""Score edits inside the host's attention: those of all Apply nodes that a model went through, in their order.

What an edit changes of a layer's output is added to whatever the layer gave: the host's kernel, another pack's kernel
in its place, or another pack's replacement of the whole layer. So all of them keep what they do, and only the edited
layers ever write their scores out, of the edited rows alone.
"""

from dataclasses import dataclass

import torch

from ...core.control.scores import ScoreEditor
from ...core.copies import CopiesToItself
from ...core.maps.probabilities import scores
from .rows import Rows
from .unet import Site, split_heads

# An instance under this key of the run's transformer options: the host copies dicts and lists there, but not objects.
KEY = "prompt_fidelity_edits"


@dataclass
class LayerEdit:
    """One Apply node's edit: who makes it, on which rows, in which layers."""

    editor: ScoreEditor
    rows: Rows
    sites: frozenset[Site]


class EditChain(CopiesToItself):
    """All score edits of one run. The run that makes it applies it; the others add theirs.

    `final` holds the probabilities [B, heads, pixels, tokens] that the layer at work now attends with, by chunk of
    rows.
    """

    def __init__(self) -> None:
        self.edits: list[LayerEdit] = []
        self.final: dict[int, torch.Tensor] = {}

    @property
    def active(self) -> bool:
        return any(edit.editor.active for edit in self.edits)

    def applied(
        self, out: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, options: dict
    ) -> torch.Tensor:
        """A layer's output [rows, pixels, heads * d], with the edits' effect on the controlled rows."""
        self.final = {}
        h, w = options["activations_shape"][-2:]
        site = Site.of(options)
        edits = [edit for edit in self.edits if edit.editor.active and site in edit.sites and q.shape[1] == h * w]
        chunks = sorted({chunk for edit in edits for chunk in edit.rows.chunks(options)})
        if not chunks:
            return out
        out = out.clone()
        size = q.shape[0] // len(options["uuids"])
        for chunk in chunks:
            rows = slice(chunk * size, (chunk + 1) * size)
            mine = [edit for edit in edits if chunk in edit.rows.chunks(options)]
            out[rows] += self._change(q[rows], k[rows], v[rows], heads, mine, site, (h, w), chunk, options).to(
                out.dtype
            )
        return out

    def _change(
        self, q, k, v, heads: int, edits: list[LayerEdit], site: Site, size: tuple[int, int], chunk: int, options: dict
    ) -> torch.Tensor:
        """What the edits add to the output of one chunk's rows, [B, pixels, heads * d] float32."""
        uuid = options["uuids"][chunk]
        # A conditioning that was batched with a longer one is repeated: its first copy alone gives the same attention.
        tokens = edits[0].rows.tokens[uuid]
        plain_scores = scores(split_heads(q, heads), split_heads(k[:, :tokens], heads))
        plain = plain_scores.softmax(dim=-1)
        edited = plain_scores
        for edit in edits:
            edited = edit.editor.edit(edited, site, size, uuid)
        final = edited.softmax(dim=-1)
        for edit in edits:
            final = edit.editor.settle(final, plain)
        for edit in edits:
            edit.editor.observe(plain, final, site, uuid)
        self.final[chunk] = final
        change = (final - plain) @ split_heads(v[:, :tokens], heads).to(final.dtype)  # [B, heads, pixels, d]
        return change.transpose(1, 2).flatten(2)


def chain_of(model_options: dict) -> tuple[EditChain, bool]:
    """The run's chain, and whether it was made just now: whoever makes it has to apply it."""
    options = model_options.setdefault("transformer_options", {})
    made = KEY not in options
    return options.setdefault(KEY, EditChain()), made
