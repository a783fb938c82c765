"""Sees a network's attention to the words, has its scores edited, records its maps, and can end the pass after the last
of them.

All of it is installed in the per-run copy of the model's options, so nothing outlives a run and other packs' patches
stay in place: the network's finder says which attention is at work, and either the attention override (chained to the
one that was there) or the wrapped replacement patch of another pack gets its queries and keys.
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from copy import deepcopy

import comfy.patcher_extension
import torch
from comfy.ldm.modules.attention import attention_pytorch

from ...core.copies import CopiesToItself
from ...core.maps.picture import PictureMaps
from ...core.maps.probabilities import fold_repeats
from ...core.maps.view import Shown
from .attention import Attention, CrossAttention, JointAttention
from .base import Network, Site
from .calls import named_neighbours
from .edits import EditChain
from .normaliser import Normaliser
from .passes import draws_the_picture
from .rows import Part, Rows
from .skips import part_from_skips

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
    """The maps of one of a step's own passes, in however many calls of the network it is made: mean over the heads and
    the layers at `sites`, which are of one resolution level; of the prompt's `length` tokens.
    """

    gradient = False  # whether the maps are to be differentiated, and nothing beyond them has been seen yet
    draws = True  # whether the pass draws the picture, so that edits belong into it

    def __init__(self, sites: frozenset[Site], length: int, size: tuple[int, int] | None = None):
        self.sites = sites
        self.length = length
        self.size = size
        self.maps = PictureMaps(length, size)
        self.seen: dict[Site, Shown] = {}
        self.controlled = False  # whether a ControlNet adds to the skip connections

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


class GradientRecording(Recording):
    """The differentiable maps of a pass that is made for its gradient alone, and ends after the layer `end_after`."""

    gradient = True
    draws = False

    def __init__(self, sites: frozenset[Site], length: int, size: tuple[int, int] | None = None, *, end_after: Site):
        super().__init__(sites, length, size)
        self.end_after = end_after
        self.heard: dict[Site, Shown] = {}

    def take(
        self, site: Site, part: Part, probs: torch.Tensor, h: int, w: int, columns: Sequence[int] | None = None
    ) -> None:
        """A layer's probabilities [rows, heads, h·w, tokens, or those of `columns`] of one part of the pictures."""
        if self.heard.setdefault(site, Shown()).add(part.place):
            probs = fold_repeats(probs, part.tokens) if columns is None else probs
            self._kept_in.add(probs, h, w, part.place, columns)

    @property
    def _kept_in(self) -> PictureMaps:
        return self.maps

    def ended(self) -> None:
        """The layer `end_after` has been seen."""
        raise PassEnded(self)


class GuidedRecording(GradientRecording):
    """The maps of a step's own pass, differentiable up to `end_after`, where `on_end(self)` takes the gradient.

    `maps` are what is shown, with the edits in them; the loss is made of the network's own, as in a pass for the
    gradient alone: what an edit adds counts as given.
    """

    draws = True

    def __init__(
        self,
        sites: frozenset[Site],
        length: int,
        size: tuple[int, int] | None = None,
        *,
        end_after: Site,
        on_end: Callable,
    ):
        super().__init__(sites, length, size, end_after=end_after)
        self.on_end = on_end
        self._own = PictureMaps(length, size)
        self._images: tuple[int, ...] | None = None

    @property
    def _kept_in(self) -> PictureMaps:
        return self._own

    def take(
        self, site: Site, part: Part, probs: torch.Tensor, h: int, w: int, columns: Sequence[int] | None = None
    ) -> None:
        self._images = self._images or tuple(part.place.images)
        super().take(site, part, probs, h, w, columns)

    def taken(self) -> torch.Tensor | None:
        """Maps [images, h, w, length] with their graph, of the images and as far as the pass showed them, or None if no
        layer was recorded; the graph is let go of.
        """
        maps = self._own.shown
        self._own, self.gradient = PictureMaps(self.length, self.size), False
        return maps if maps is None or len(self._images) == len(maps) else maps[list(self._images)]

    def ended(self) -> None:
        if self._own.complete:  # else there are more calls to come: tiles, or the rest of a list
            self.on_end(self)


class Replay(GradientRecording):
    """Takes the place of `recording` while a part of its pass is run a second time for the backward pass: everything
    happens as it did, and nothing counts.
    """

    def __init__(self, recording: GradientRecording):
        super().__init__(recording.sites, recording.length, recording.size, end_after=recording.end_after)
        self.seen, self.heard = deepcopy(recording.seen), deepcopy(recording.heard)
        self.controlled = recording.controlled
        self.draws = recording.draws

    def ended(self) -> None:
        pass


class Tap(CopiesToItself):
    """One run's ear on the network. Deaf unless `recording` is set, or `edits` are to be applied.

    `edits` is the chain that the run's score edit is in, if it makes one; of all runs in the chain one `applies` it.
    The gradient passes of other runs are not listened to, nor are they edited: a loss on the maps moves the latent
    until the model's own attention is right, and would stop too soon if it saw what an edit makes of that attention.
    """

    def __init__(
        self,
        network: Network,
        rows: Rows,
        sites: frozenset[Site],
        length: int,
        size: tuple[int, int] | None = None,
        columns: Sequence[int] | None = None,
    ):
        self.network = network
        self.rows = rows
        self.sites = sites
        self.end_after = network.last(sites)
        self.length = length
        self.size = size  # of the maps; None for that of the first layer
        self.columns = columns  # of the prompt's tokens, those that anyone looks at; None for all
        self.neighbours = ""
        self.edits: EditChain | None = None
        self.applies = False
        self.recording: Recording | None = None
        self._finder = network.finder()

    @contextmanager
    def listening(self, gradient: bool = False):
        """Records the maps of one pass; a `gradient` pass ends (PassEnded) after the last recorded layer."""
        what = (self.sites, self.length, self.size)
        with self.heard_by(
            GradientRecording(*what, end_after=self.end_after) if gradient else Recording(*what)
        ) as recording:
            yield recording

    def guided(self, on_end: Callable) -> GuidedRecording:
        """What is to hear a step's own pass that gives a gradient too (to be passed to `heard_by`)."""
        return GuidedRecording(self.sites, self.length, self.size, end_after=self.end_after, on_end=on_end)

    @contextmanager
    def heard_by(self, recording: Recording | None):
        """Lets `recording` hear what passes in the meantime, in the place of what does now."""
        before, self.recording = self.recording, recording
        try:
            yield recording
        finally:
            self.recording = before

    def install(self, model_options: dict) -> None:
        options = model_options.setdefault("transformer_options", {})
        self._finder.install(model_options, self._listens, self._replaced)
        part_from_skips(options, lambda h: self.recording is not None and self.recording.controlled)
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

    def _listens(self, tensor: torch.Tensor, options: dict | None) -> bool:
        """Whether a pass is of interest, by a tensor in it."""
        if self.recording is not None and self.recording.gradient:
            return True
        return (self.recording is not None or self._edits_now) and draws_the_picture(tensor, options)

    @property
    def _edits_now(self) -> bool:
        return self.applies and self.edits.active

    def remove(self) -> None:
        """The run is over."""
        self._finder.remove()

    def _override(self, previous: Callable | None) -> Callable:
        def attend(func, q, k, v, heads, *args, **kwargs):
            def attended(kernel):
                if previous is not None:
                    return previous(kernel, q, k, v, heads, *args, **kwargs)
                return kernel(q, k, v, heads, *args, **kwargs)

            if not self._listens(q, kwargs.get("transformer_options")):
                return attended(func)
            named = {**kwargs, "mask": args[0]} if args else kwargs
            attention = self._finder.attention(q, k, v, heads, named, self.rows.call)
            # The artist's kernel (sage, flash, sub-quadratic) may have no backward pass: PyTorch's own has.
            func = attention_pytorch if q.requires_grad else func
            if attention is None:
                return attended(func)
            probs = self._differentiable(attention)
            whole = probs is not None and probs.shape[0] == q.shape[0]
            if previous is None and whole and isinstance(attention, CrossAttention):
                # The probabilities are there and saved for backward already; a second, fused attention would save more.
                out = attention.attended(probs)
            elif isinstance(attention, JointAttention) and self._looks_at(attention.site):
                with Normaliser(q, k, named.get("mask")) as heard:
                    out = attended(func)
                attention.normaliser = heard.of(*attention.q.shape[:3])
            else:
                out = attended(func)
            return self._finished(out, attention)

        return attend

    def _replaced(self, patch: Callable, q, k, v, extra_options: dict, attention: Attention):
        """Another pack's replacement of an attention: what it gives is kept, edits are added to it."""
        self._differentiable(attention)
        return self._finished(patch(q, k, v, extra_options), attention)

    def _differentiable(self, attention: Attention) -> torch.Tensor | None:
        """Hands this layer's probabilities to a recording that wants their gradient, and tells it when there is no more
        to come. Returns them [rows, heads, pixels, keys] if they are those of all rows.
        """
        recording, site = self.recording, attention.site
        if recording is None or not recording.gradient:
            return None
        probs = None
        if site in recording.sites and self.rows.makes_map(attention.size, attention.pixels):
            parts = self._known(self.rows.parts_of(attention))
            everyone = slice(0, attention.rows)
            alike = len({part.first for part in parts}) == 1
            whole = alike and (not recording.draws or [part.rows for part in parts] == [everyone])
            if whole:  # a call of the controlled rows alone
                probs = self._shares(attention, everyone, parts[0])
            for part in parts:
                own = probs[part.rows] if whole else self._shares(attention, part.rows, part)
                recording.take(site, part, own, *attention.size, self._columns(attention, part))
        if site == recording.end_after:
            recording.ended()
        return probs

    def _shares(self, attention: Attention, rows: slice, part: Part) -> torch.Tensor:
        """The probabilities of those rows, of the `_columns` of `part`'s text."""
        return attention.behind(part.first).shares(rows, self._columns(attention, part))

    def _columns(self, attention: Attention, part: Part) -> Sequence[int] | None:
        """Those that are looked at, where they can be had alone; None for all: as where a conditioning is repeated, or
        where all are needed for the layer's output.
        """
        alone = attention.joint and attention.words.shape[1] - part.first == part.tokens
        return self.columns if alone else None

    def _looks_at(self, site: Site) -> bool:
        """Whether what is attended to there is to be shown or edited in the pass at work."""
        if self.recording is not None and not self.recording.draws:
            return False
        return (self.recording is not None and site in self.recording.sites) or (
            self._edits_now and self.edits.acts_at(site)
        )

    def _finished(self, out, attention: Attention):
        """A layer's output with the edits applied; its maps are recorded as they are after the edits."""
        if self.recording is not None and not self.recording.draws:
            return out
        # What is edited and shown counts as given where the pass is differentiated.
        attention = attention.detached()
        if self._edits_now:
            out = self.edits.applied(out, attention)
        if self.recording is not None:
            self._record(attention)
        return out

    def _record(self, attention: Attention) -> None:
        """Adds this layer's map if it is wanted."""
        recording, site = self.recording, attention.site
        if site not in recording.sites or not self.rows.makes_map(attention.size, attention.pixels):
            return
        for part in self._known(self.rows.parts_of(attention)):
            if recording.news(site, part):
                mine, columns = self._edited(part), None
                if mine is None:
                    mine, columns = self._shares(attention, part.rows, part), self._columns(attention, part)
                mine = fold_repeats(mine, part.tokens) if columns is None else mine
                recording.maps.add(mine, *attention.size, part.place, columns)

    def _known(self, parts: list[Part]) -> list[Part]:
        """Those of which it is known what they show."""
        if any(part.place is None for part in parts):
            self.rows.warn(UNKNOWN_PLACE.format(self.neighbours))
        return [part for part in parts if part.place is not None]

    def _edited(self, part: Part) -> torch.Tensor | None:
        """Those that a part's rows attend with, if this run's chain has just edited them."""
        edits_it = self.edits is not None and self.edits.active
        return self.edits.final.get(part.rows.start) if edits_it else None
