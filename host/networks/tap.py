"""Sees the cross-attention of the host's U-Net, has its scores edited, records its maps, and can end the pass after the
last of them.

All of it is installed in the per-run copy of the model's options, so nothing outlives a run and other packs' patches
stay in place: an attn2 patch announces each cross-attention, then either the attention override (chained to the one
that was there) or the wrapped replacement patch of another pack gets its queries and keys.
"""

from collections.abc import Callable
from contextlib import contextmanager

import comfy.patcher_extension
import torch
from comfy.ldm.modules.attention import attention_pytorch

from ...core.maps.picture import PictureMaps
from ...core.maps.probabilities import fold_repeats, probabilities
from ...core.maps.view import Shown
from .calls import named_neighbours
from .edits import EditChain
from .rows import Part, Rows
from .skips import part_from_skips
from .unet import Site, split_heads

KEY = "prompt_fidelity"

UNKNOWN_PLACE = (
    "Another node{} shows the network parts of the picture without it being known which, so their attention maps were "
    "left out."
)


class PassEnded(BaseException):
    """Ends a forward pass whose last wanted map is in. Not an Exception, so that no handler on the way takes it for a
    fault.
    """

    def __init__(self, recording: "Recording | None" = None):
        super().__init__()
        self.recording = recording


class Recording:
    """The maps of one forward pass, in however many calls of the network it is made: mean over the heads and the layers
    at `sites`, which are of one resolution level; of the prompt's `length` tokens.
    """

    def __init__(
        self, sites: frozenset[Site], length: int, end_after: Site | None = None, size: tuple[int, int] | None = None
    ):
        self.sites = sites
        self.end_after = end_after
        self.maps = PictureMaps(length, size)
        self.seen: dict[Site, Shown] = {}
        self.controlled = False

    def result(self) -> torch.Tensor | None:
        """The whole pictures' maps [batch, h, w, length] float32, 0 where the prompt was not shown, or None if no
        layer was recorded.
        """
        return self.maps.mean

    def shown(self) -> torch.Tensor | None:
        """As `result`, but only as far as the prompt was shown: what a loss is to judge."""
        return self.maps.shown

    def news(self, site: Site, part: Part) -> bool:
        """Whether a layer shows anything of the pictures that it has not shown before.

        Guidance packs (PAG, SAG, sliding windows) run the same rows once more, perturbed: only the first pass counts.
        """
        return self.seen.setdefault(site, Shown()).add(part.place)

    @property
    def gradient(self) -> bool:
        """Whether the pass is made for its gradient alone, and ends where nothing more is wanted of it."""
        return self.end_after is not None


class Tap:
    """One run's ear on the network. Deaf unless `recording` is set, or `edits` are to be applied.

    `edits` is the chain that the run's score edit is in, if it makes one; of all runs in the chain one `applies` it.
    The gradient passes of other runs are not listened to, nor are they edited: a loss on the maps moves the latent
    until the model's own attention is right, and would stop too soon if it saw what an edit makes of that attention.
    """

    def __init__(
        self, rows: Rows, sites: frozenset[Site], end_after: Site, length: int, size: tuple[int, int] | None = None
    ):
        self.rows = rows
        self.sites = sites
        self.end_after = end_after
        self.length = length
        self.size = size  # of the maps; None for that of the first layer
        self.neighbours = ""
        self.edits: EditChain | None = None
        self.applies = False
        self.recording: Recording | None = None
        self._announced: tuple[dict, int] | None = None

    @contextmanager
    def listening(self, gradient: bool = False):
        """Records the maps of one pass; a `gradient` pass ends (PassEnded) after the last recorded layer."""
        self.recording = Recording(self.sites, self.length, self.end_after if gradient else None, self.size)
        try:
            yield self.recording
        finally:
            self.recording = None

    def install(self, model_options: dict) -> None:
        options = model_options.setdefault("transformer_options", {})
        patches = options.setdefault("patches", {})
        patches["attn2_patch"] = [*patches.get("attn2_patch", []), self._announce]
        part_from_skips(options, lambda h: self.recording is not None and self.recording.controlled)
        replacements = options.setdefault("patches_replace", {})
        replacements["attn2"] = {slot: self._wrapped(patch) for slot, patch in replacements.get("attn2", {}).items()}
        options["optimized_attention_override"] = self._override(options.get("optimized_attention_override"))
        self.neighbours = named_neighbours(model_options)
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, self._apply_model, model_options, is_model_options=True
        )

    def _apply_model(self, executor, x, *args, **kwargs):
        """The host's APPLY_MODEL wrapper: where a pass takes several calls (tiles, windows), the end of one is not that
        of the pass.
        """
        try:
            return executor(x, *args, **kwargs)
        except PassEnded as ended:
            if ended.recording is not self.recording or self.recording.maps.complete:
                raise
            return torch.zeros_like(x)

    def _announce(self, n, context, value, extra_options: dict):
        """The host's attn2 patch, called right before a cross-attention projects its inputs: changes nothing."""
        if self._listens(n):
            self._announced = (extra_options, context.shape[1])
        return n, context, value

    def _listens(self, tensor: torch.Tensor) -> bool:
        """Whether a pass is of interest, by a tensor in it."""
        if self.recording is not None and self.recording.gradient:
            return True
        return (self.recording is not None or self._edits_now) and not tensor.requires_grad

    @property
    def _edits_now(self) -> bool:
        return self.applies and self.edits.active

    def _take_announcement(self, keys: int) -> dict | None:
        """The options of the cross-attention just announced, unless this call is another attention
        (its keys differ).
        """
        announced, self._announced = self._announced, None
        return announced[0] if announced is not None and announced[1] == keys else None

    def _override(self, previous: Callable | None) -> Callable:
        def attend(func, q, k, v, heads, *args, **kwargs):
            if not self._listens(q):
                return (
                    previous(func, q, k, v, heads, *args, **kwargs)
                    if previous
                    else func(q, k, v, heads, *args, **kwargs)
                )
            options = None if kwargs.get("skip_reshape") else self._take_announcement(k.shape[1])
            if self.recording is None or not self.recording.gradient:
                out = (
                    previous(func, q, k, v, heads, *args, **kwargs)
                    if previous
                    else func(q, k, v, heads, *args, **kwargs)
                )
                return out if options is None else self._finished(out, q, k, v, heads, options)
            # The artist's kernel (sage, flash, sub-quadratic) may have no backward pass: PyTorch's own has.
            func = attention_pytorch
            probs = (
                None
                if options is None
                else self._record(q, k, heads, options, kwargs.get("mask", args[0] if args else None))
            )
            if previous is not None:
                return previous(func, q, k, v, heads, *args, **kwargs)
            if probs is not None:
                # The probabilities are there and saved for backward already; a second, fused attention would save more.
                out = torch.matmul(probs.to(v.dtype), split_heads(v, heads))
                return out.transpose(1, 2).flatten(2)
            return func(q, k, v, heads, *args, **kwargs)

        return attend

    def _wrapped(self, patch: Callable) -> Callable:
        """Another pack's replacement of a cross-attention, seen from outside: what it gives is kept, edits are added to
        it.
        """

        def replaced(q, k, v, extra_options: dict):
            if not self._listens(q):
                return patch(q, k, v, extra_options)
            self._announced = None
            heads = extra_options["n_heads"]
            if self.recording is not None and self.recording.gradient:
                self._record(q, k, heads, extra_options, None)
                return patch(q, k, v, extra_options)
            return self._finished(patch(q, k, v, extra_options), q, k, v, heads, extra_options)

        return replaced

    def _finished(self, out, q, k, v, heads: int, options: dict) -> torch.Tensor:
        """A layer's output with the edits applied; its maps are recorded as they are after the edits."""
        if self._edits_now:
            out = self.edits.applied(out, q, k, v, heads, options)
        if self.recording is not None:
            self._record(q, k, heads, options, None)
        return out

    def _record(self, q, k, heads: int, options: dict, mask) -> torch.Tensor | None:
        """Adds this layer's map if it is wanted; returns its probabilities [rows, heads, pixels, keys] in a gradient
        pass.
        """
        recording, site = self.recording, Site.of(options)
        probs = None
        if site in recording.sites and self.rows.makes_map(options, q.shape[1]):
            if recording.gradient:
                probs = probabilities(split_heads(q, heads), split_heads(k, heads), mask=mask)
            for part in self.rows.parts(options, q.shape[0], k):
                if part.place is None:
                    self.rows.warn(UNKNOWN_PLACE.format(self.neighbours))
                elif recording.news(site, part):
                    mine = self._probabilities(q, k, heads, part, options) if probs is None else probs[part.rows]
                    h, w = options["activations_shape"][-2:]
                    recording.maps.add(fold_repeats(mine, part.tokens), h, w, part.place)
        if recording.end_after == site:
            raise PassEnded(recording)
        return probs

    def _probabilities(self, q, k, heads: int, part: Part, options: dict) -> torch.Tensor:
        """Those that a part's rows attend with: as this run's chain has just edited them, if it has."""
        edits_it = self.edits is not None and self.edits.active
        edited = self.edits.final.get(part.rows.start) if edits_it else None
        if edited is not None:
            return edited
        return probabilities(split_heads(q[part.rows], heads), split_heads(k[part.rows], heads), mask=None)
