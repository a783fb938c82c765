"""Mixes the outputs of transformers' cross-attentions: each object's own prompt is attended to in the object's region.

What a network makes of a text before its blocks see it, it says itself: it is run with the object's own prompt on the
smallest picture there is, up to its first cross-attention. Only pixels that some region covers are attended for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import comfy.patcher_extension
import torch
from torch import Tensor

from ...core.control.outputs import OutputMixer
from .announcing import KEY as SITE
from .base import Mixes, Site
from .calls import named_neighbours
from .handed import options_of
from .local import LocalPrompt
from .mixes import UNKNOWN_PLACE, is_mixed_by
from .passes import draws_the_picture
from .rows import Part, Rows
from .rows_added import rows_taken

if TYPE_CHECKING:
    from .cross import Cross

KEY = "prompt_fidelity_cross_mixes"


class _Text(BaseException):
    """Carries what the network has made of a text out of its first cross-attention. Not an Exception, so that no
    handler on the way takes it for a fault.
    """

    def __init__(self, text: Tensor):
        super().__init__()
        self.text = text


class CrossMixes(Mixes):
    """The rest as in `Network.mixes`."""

    def __init__(
        self, network: Cross, mixer: OutputMixer, rows: Rows, local: Sequence[LocalPrompt], learning: bool = False
    ):
        self.mixer = mixer
        self.rows = rows
        self.local = local
        self.learning = learning
        self._network = network
        self._announced = network.announced(self._attended)
        self._neighbours = ""
        self._asking = False
        self._texts: list[Tensor] = []  # of the call at work: what the blocks get of each local prompt, [1, tokens, C]

    def install(self, model_options: dict) -> None:
        self._neighbours = named_neighbours(model_options)
        is_mixed_by(model_options, self.mixer)
        self._announced.put()
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, self._apply_model, model_options, is_model_options=True
        )

    def remove(self) -> None:
        self._announced.remove()

    def _apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, options=None, **more):
        """The host's APPLY_MODEL wrapper: asks for the local prompts' texts first."""
        options = more.pop("transformer_options", {}) if options is None else options
        acts = self.mixer.weighs and (self.learning or draws_the_picture(x, options))
        parts = self.rows.parts(options, x.shape[0]) if acts and c_crossattn is not None else []
        before = self._texts
        self._texts = [
            self._text(local, parts[0], executor, x, t, c_crossattn, options, more) for local in self.local if parts
        ]
        try:
            return executor(x, t, c_concat, c_crossattn, control, options, **more)
        finally:
            self._texts = before

    def _text(self, local: LocalPrompt, part: Part, executor, x, t, context, options: dict, more: dict) -> Tensor:
        row = torch.tensor([part.rows.start])
        x, t, more = (rows_taken(value, row, x.shape[0]) for value in (x, t, more))
        # Copies: HunyuanDiT writes into what it is given.
        text = local.text.to(context.device, context.dtype, copy=True)
        more.update({name: value.to(context.device, copy=True) for name, value in local.beside.items()})
        side = math.ceil(self._network.family.least / self._network.patch) * self._network.patch
        self._asking = True
        try:
            with torch.no_grad():
                executor(x[..., :side, :side], t, None, text, None, options, **more)
        except _Text as said:
            return said.text
        finally:
            self._asking = False
        raise RuntimeError("the network ended without attending to the text")

    def _attended(self, forward: Callable, site: Site, x: Tensor, context: Tensor, *arguments, **named):
        """A cross-attention's `forward`, its output mixed; x [rows, pixels, C]."""
        if self._asking:
            raise _Text(context)
        given = forward(x, context, *arguments, **named)
        out = _first(given)
        options = options_of(named)
        if not self._texts or options.get(SITE, site) is None:
            return given
        call = self.rows.call(options)
        size = self._network.grid(*call.shape[1:])
        parts = self.rows.parts(options, x.shape[0])
        if not parts or not self.rows.makes_map(size, x.shape[1]):
            return given
        mixed = out.clone()
        for part in parts:
            if part.place is None:
                self.rows.warn(UNKNOWN_PLACE.format(self._neighbours))
                continue
            view = None if part.place.view.is_whole else part.place.view
            covered = self.mixer.covered(*size, out.device, view)
            if not len(covered):
                self.mixer.saw(site)
                continue
            hidden = x[part.rows][:, covered]
            hidden = hidden if self.learning else hidden.detach()
            places = rows_taken(arguments, covered, x.shape[1])  # of the pixels (HunyuanDiT)
            alone = {**named, "transformer_options": {**options, SITE: None}}
            local = torch.stack(
                [_first(forward(hidden, text.expand(len(hidden), -1, -1), *places, **alone)) for text in self._texts]
            )
            negative = self.rows.negative(options, part, out.shape[0])
            unconditional = None if negative is None else out[negative][:, covered]
            mine = mixed[part.rows]
            mine = mine.index_copy(
                1, covered, self.mixer.mix(mine[:, covered], local, site, size, unconditional, view).to(mine.dtype)
            )
            mixed[part.rows] = mine
        return (mixed, *given[1:]) if isinstance(given, tuple) else mixed


def _first(given):
    """The output itself, of an attention that gives it in a tuple."""
    return given[0] if isinstance(given, tuple) else given
