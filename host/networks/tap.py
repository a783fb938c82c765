"""Sees the cross-attention of the host's U-Net, has its scores edited, records its maps, and can end the pass after the
last of them.

All of it is installed in the per-run copy of the model's options, so nothing outlives a run and other packs' patches
stay in place: an attn2 patch announces each cross-attention, then either the attention override (chained to the one
that was there) or the wrapped replacement patch of another pack gets its queries and keys.
"""

from collections.abc import Callable
from contextlib import contextmanager

import torch
from comfy.ldm.modules.attention import attention_pytorch

from ...core.copies import CopiesToItself
from ...core.maps.probabilities import MapMean, fold_repeats, probabilities
from .edits import EditChain
from .rows import Rows
from .skips import part_from_skips
from .unet import Site, split_heads


class PassEnded(BaseException):
    """Ends a forward pass whose last wanted map is in. Not an Exception, so that no handler on the way takes it for a
    fault.
    """


class Recording:
    """The maps of one forward pass: mean over the heads and the layers at `sites`, which are of one
    resolution level.
    """

    def __init__(self, sites: frozenset[Site], tokens: int, length: int, end_after: Site | None = None):
        self.sites = sites
        self.tokens = tokens  # of the conditioning at hand ...
        self.length = length  # ... and of the prompt alone: a conditioning that another was appended to has more
        self.end_after = end_after
        self.maps = MapMean()
        self.seen: set[tuple] = set()
        self.controlled = False

    def result(self) -> torch.Tensor | None:
        """[batch, h, w, length] float32, or None if no layer was recorded."""
        return self.maps.mean[..., : self.length] if self.seen else None

    @property
    def gradient(self) -> bool:
        """Whether the pass is made for its gradient alone, and ends where nothing more is wanted of it."""
        return self.end_after is not None


class Tap(CopiesToItself):
    """One run's ear on the network. Deaf unless `recording` is set, or `edits` are to be applied.

    `edits` is the chain that the run's score edit is in, if it makes one; of all runs in the chain one `applies` it.
    The gradient passes of other runs are not listened to, nor are they edited: a loss on the maps moves the latent
    until the model's own attention is right, and would stop too soon if it saw what an edit makes of that attention.
    """

    def __init__(self, rows: Rows, sites: frozenset[Site], end_after: Site, length: int):
        self.rows = rows
        self.sites = sites
        self.end_after = end_after
        self.length = length
        self.edits: EditChain | None = None
        self.applies = False
        self.recording: Recording | None = None
        self._announced: tuple[dict, int] | None = None

    @contextmanager
    def listening(self, gradient: bool = False):
        """Records the maps of one pass; a `gradient` pass ends (PassEnded) after the last recorded layer."""
        tokens = next(iter(self.rows.tokens.values()))
        self.recording = Recording(self.sites, tokens, self.length, self.end_after if gradient else None)
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
        h, w = options["activations_shape"][-2:]
        probs = None
        wanted = site in recording.sites and q.shape[1] == h * w
        if wanted:
            uuid_and_site = (*options["uuids"], site)
            if recording.gradient:
                probs = probabilities(split_heads(q, heads), split_heads(k, heads), mask=mask)
                recording.maps.add(fold_repeats(probs, recording.tokens), h, w)
                recording.seen.add(uuid_and_site)
            elif uuid_and_site not in recording.seen:
                # Guidance packs (PAG, SAG) run the same rows once more, perturbed: only the first pass counts.
                rows_q, rows_k = self.rows.select(q, options), self.rows.select(k, options)
                if rows_q is not None:
                    mine = self._edited(options)
                    if mine is None:
                        mine = probabilities(split_heads(rows_q, heads), split_heads(rows_k, heads), mask=None)
                    recording.maps.add(fold_repeats(mine, recording.tokens), h, w)
                    recording.seen.add(uuid_and_site)
        if recording.end_after == site and recording.seen:
            raise PassEnded
        return probs

    def _edited(self, options: dict) -> torch.Tensor | None:
        """The probabilities that the layer's first controlled rows attend with, if this run's chain has just edited
        them.
        """
        edits_it = self.edits is not None and self.edits.active
        return self.edits.final.get(self.rows.chunks(options)[0]) if edits_it else None
