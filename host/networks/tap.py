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

from ...core.maps.probabilities import MapMean, fold_repeats, probabilities
from .edits import EditChain
from .passes import draws_the_picture
from .rows import Rows
from .skips import part_from_skips
from .unet import Site, split_heads


class PassEnded(BaseException):
    """Ends a forward pass whose last wanted map is in. Not an Exception, so that no handler on the way takes it for a
    fault.
    """


class Recording:
    """The maps of one of a step's own passes: mean over the heads and the layers at `sites`, which are of one
    resolution level.
    """

    gradient = False  # whether the maps are to be differentiated, and nothing beyond them has been seen yet
    draws = True  # whether the pass draws the picture, so that edits belong into it

    def __init__(self, sites: frozenset[Site], tokens: int, length: int):
        self.sites = sites
        self.tokens = tokens  # of the conditioning at hand ...
        self.length = length  # ... and of the prompt alone: a conditioning that another was appended to has more
        self.maps = MapMean()
        self.seen: set[tuple] = set()
        self.controlled = False  # whether a ControlNet adds to the skip connections

    def result(self) -> torch.Tensor | None:
        """[batch, h, w, length] float32, or None if no layer was recorded."""
        return self.maps.mean[..., : self.length] if self.seen else None


class GradientRecording(Recording):
    """The differentiable maps of a pass that is made for its gradient alone, and ends after the layer `end_after`."""

    gradient = True
    draws = False

    def __init__(self, sites: frozenset[Site], tokens: int, length: int, end_after: Site):
        super().__init__(sites, tokens, length)
        self.end_after = end_after

    def take(self, probs: torch.Tensor, h: int, w: int) -> None:
        self.maps.add(fold_repeats(probs, self.tokens), h, w)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing once the layer `end_after` has been seen."""
        return bool(self.seen)

    def ended(self) -> None:
        raise PassEnded


class GuidedRecording(GradientRecording):
    """The maps of a step's own pass, differentiable up to `end_after`, where `on_end(self)` takes the gradient.

    `maps` are what is shown, with the edits in them; the loss is made of the network's own (`own`), as in a pass for
    the gradient alone: what an edit adds counts as given.
    """

    draws = True

    def __init__(self, sites: frozenset[Site], tokens: int, length: int, end_after: Site, on_end: Callable):
        super().__init__(sites, tokens, length, end_after)
        self.on_end = on_end
        self.own = MapMean()

    def take(self, probs: torch.Tensor, h: int, w: int) -> None:
        self.own.add(fold_repeats(probs, self.tokens), h, w)

    @property
    def complete(self) -> bool:
        return self.own.layers_seen

    def taken(self) -> torch.Tensor | None:
        """[batch, h, w, length] with their graph, or None if no layer was recorded; the graph is let go of."""
        maps = self.own.mean[..., : self.length] if self.own.layers_seen else None
        self.own, self.gradient = MapMean(), False
        return maps

    def ended(self) -> None:
        self.on_end(self)


class Replay(GradientRecording):
    """Takes the place of `recording` while a part of its pass is run a second time for the backward pass: everything
    happens as it did, and nothing counts.
    """

    complete = False

    def __init__(self, recording: GradientRecording):
        super().__init__(recording.sites, recording.tokens, recording.length, recording.end_after)
        self.seen = set(recording.seen)
        self.controlled = recording.controlled
        self.draws = recording.draws

    def take(self, probs: torch.Tensor, h: int, w: int) -> None:
        pass


class Tap:
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
        kind = (GradientRecording, self.end_after) if gradient else (Recording,)
        with self.heard_by(kind[0](self.sites, self.tokens, self.length, *kind[1:])) as recording:
            yield recording

    def guided(self, on_end: Callable) -> GuidedRecording:
        """What is to hear a step's own pass that gives a gradient too (to be passed to `heard_by`)."""
        return GuidedRecording(self.sites, self.tokens, self.length, self.end_after, on_end)

    @contextmanager
    def heard_by(self, recording: Recording | None):
        """Lets `recording` hear what passes in the meantime, in the place of what does now."""
        before, self.recording = self.recording, recording
        try:
            yield recording
        finally:
            self.recording = before

    @property
    def tokens(self) -> int:
        """Tokens of the controlled conditioning."""
        return next(iter(self.rows.tokens.values()))

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
        if self._listens(n, extra_options):
            self._announced = (extra_options, context.shape[1])
        return n, context, value

    def _listens(self, tensor: torch.Tensor, options: dict | None) -> bool:
        """Whether a pass is of interest, by a tensor in it."""
        if self.recording is not None and self.recording.gradient:
            return True
        return (self.recording is not None or self._edits_now) and draws_the_picture(tensor, options)

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
            if not self._listens(q, kwargs.get("transformer_options")):
                return (
                    previous(func, q, k, v, heads, *args, **kwargs)
                    if previous
                    else func(q, k, v, heads, *args, **kwargs)
                )
            options = None if kwargs.get("skip_reshape") else self._take_announcement(k.shape[1])
            probs = None
            if q.requires_grad:
                # The artist's kernel (sage, flash, sub-quadratic) may have no backward pass: PyTorch's own has.
                func = attention_pytorch
            if options is not None:
                probs = self._differentiable(q, k, heads, options, kwargs.get("mask", args[0] if args else None))
            if previous is not None:
                out = previous(func, q, k, v, heads, *args, **kwargs)
            elif probs is not None and probs.shape[0] == q.shape[0]:
                # The probabilities are there and saved for backward already; a second, fused attention would save more.
                out = torch.matmul(probs.to(v.dtype), split_heads(v, heads)).transpose(1, 2).flatten(2)
            else:
                out = func(q, k, v, heads, *args, **kwargs)
            return out if options is None else self._finished(out, q, k, v, heads, options)

        return attend

    def _wrapped(self, patch: Callable) -> Callable:
        """Another pack's replacement of a cross-attention, seen from outside: what it gives is kept, edits are added to
        it.
        """

        def replaced(q, k, v, extra_options: dict):
            if not self._listens(q, extra_options):
                return patch(q, k, v, extra_options)
            self._announced = None
            heads = extra_options["n_heads"]
            self._differentiable(q, k, heads, extra_options, None)
            return self._finished(patch(q, k, v, extra_options), q, k, v, heads, extra_options)

        return replaced

    def _differentiable(self, q, k, heads: int, options: dict, mask) -> torch.Tensor | None:
        """Hands this layer's probabilities [rows, heads, pixels, keys] to a recording that wants their gradient, and
        tells it when there is no more to come; returns them.
        """
        recording, site = self.recording, Site.of(options)
        if recording is None or not recording.gradient:
            return None
        probs = None
        h, w = options["activations_shape"][-2:]
        heard = (*options["uuids"], site)
        if site in recording.sites and q.shape[1] == h * w and heard not in recording.seen:
            if recording.draws:
                q, k = self.rows.select(q, options), self.rows.select(k, options)
            if q is not None:
                probs = probabilities(split_heads(q, heads), split_heads(k, heads), mask=mask)
                recording.take(probs, h, w)
                if not recording.draws:
                    recording.seen.add(heard)
        if site == recording.end_after and recording.complete:
            recording.ended()
        return probs

    def _finished(self, out, q, k, v, heads: int, options: dict) -> torch.Tensor:
        """A layer's output with the edits applied; its maps are recorded as they are after the edits."""
        if self.recording is not None and not self.recording.draws:
            return out
        # What is edited and shown counts as given where the pass is differentiated.
        q, k, v = q.detach(), k.detach(), v.detach()
        if self._edits_now:
            out = self.edits.applied(out, q, k, v, heads, options)
        if self.recording is not None:
            self._record(q, k, heads, options)
        return out

    def _record(self, q, k, heads: int, options: dict) -> None:
        """Adds this layer's map if it is wanted."""
        recording, site = self.recording, Site.of(options)
        h, w = options["activations_shape"][-2:]
        heard = (*options["uuids"], site)
        # Guidance packs (PAG, SAG) run the same rows once more, perturbed: only the first pass counts.
        if site not in recording.sites or q.shape[1] != h * w or heard in recording.seen:
            return
        rows_q, rows_k = self.rows.select(q, options), self.rows.select(k, options)
        if rows_q is None:
            return
        mine = self._edited(options)
        if mine is None:
            mine = probabilities(split_heads(rows_q, heads), split_heads(rows_k, heads), mask=None)
        recording.maps.add(fold_repeats(mine, recording.tokens), h, w)
        recording.seen.add(heard)

    def _edited(self, options: dict) -> torch.Tensor | None:
        """The probabilities that the layer's first controlled rows attend with, if this run's chain has just edited
        them.
        """
        edits_it = self.edits is not None and self.edits.active
        return self.edits.final.get(self.rows.chunks(options)[0]) if edits_it else None
