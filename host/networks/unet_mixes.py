"""Mixes attention outputs inside the host's U-Net: each object's own prompt is attended to in the object's region.

Both ends of a cross-attention are the host's list hooks, which other packs and other Apply nodes share: one hook sees
the hidden states that go in, the other changes what has come out. What happens between them, the host's kernel, another
pack's, or a replacement of the whole layer, stays as it is. The local prompts' keys and values are computed once per
layer and run; only pixels that some region covers are attended for.
"""

from collections.abc import Mapping, Sequence

import torch
from comfy.ldm.modules.attention import attention_pytorch, optimized_attention

from ...core.control.outputs import OutputMixer
from .base import Mixes, Site
from .calls import named_neighbours
from .mixes import UNKNOWN_PLACE, is_mixed_by
from .passes import draws_the_picture
from .rows import Part, Rows
from .unet_layers import site_of


class LayerMixes(Mixes):
    """One Apply node's mixing in one run of the host's U-Net, whose cross-attentions are `layers`; `local` the
    encoded texts of the local prompts; the rest as in `Network.mixes`.
    """

    def __init__(
        self,
        mixer: OutputMixer,
        rows: Rows,
        local: Sequence[torch.Tensor],
        layers: Mapping[Site, torch.nn.Module],
        learning: bool = False,
    ):
        self.mixer = mixer
        self.rows = rows
        self.local = local
        self.learning = learning
        self.layers = layers
        self._neighbours = ""
        self._entered: tuple[dict, torch.Tensor] | None = None
        self._keys: dict[Site, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def install(self, model_options: dict) -> None:
        """Into the run's own copy of the options."""
        self._neighbours = named_neighbours(model_options)
        is_mixed_by(model_options, self.mixer)
        patches = model_options.setdefault("transformer_options", {}).setdefault("patches", {})
        patches["attn2_patch"] = [*patches.get("attn2_patch", []), self._enter]
        patches["attn2_output_patch"] = [*patches.get("attn2_output_patch", []), self._leave]

    def _enter(self, n, context, value, extra_options: dict):
        """The host's attn2 patch: keeps the hidden states [rows, pixels, C] until the layer is through; changes
        nothing.
        """
        # A gradient pass of another method asks what the model itself attends to.
        mixed = self.mixer.active and (self.learning or draws_the_picture(n, extra_options))
        self._entered = (extra_options, n) if mixed else None
        return n, context, value

    def _leave(self, out: torch.Tensor, extra_options: dict) -> torch.Tensor:
        """The host's attn2 output patch: the layer's output [rows, pixels, C] with the controlled rows mixed."""
        entered, self._entered = self._entered, None
        if entered is None or entered[0] is not extra_options:
            return out
        site, hidden = site_of(extra_options), entered[1]
        if site not in self.layers:
            return out
        # Another pack may have added rows before the layer, and taken them together again after it.
        before = self.rows.parts(extra_options, hidden.shape[0])
        after = self.rows.parts(extra_options, out.shape[0])
        size = tuple(extra_options["activations_shape"][-2:])
        if not before or not after or not self.rows.makes_map(size, out.shape[1]):
            return out
        mixed = out.clone()
        for part, inner in zip(after, before):
            if part.place is None:
                self.rows.warn(UNKNOWN_PLACE.format(self._neighbours))
                continue
            mixed[part.rows] = self._mixed(out, hidden[inner.rows], part, site, extra_options)
        return mixed

    def _mixed(self, out: torch.Tensor, hidden: torch.Tensor, part: Part, site: Site, options: dict) -> torch.Tensor:
        """A part's rows of the layer's output [rows, pixels, C], each object mixed in where its region is shown."""
        h, w = options["activations_shape"][-2:]
        view = None if part.place.view.is_whole else part.place.view
        covered = self.mixer.covered(h, w, out.device, view)
        mixed = out[part.rows].clone()
        if not len(covered):
            self.mixer.saw(site)
            return mixed
        negative = self.rows.negative(options, part, out.shape[0])
        unconditional = None if negative is None else out[negative][:, covered]
        local = self._local(site, hidden[:, covered])
        mixed[:, covered] = self.mixer.mix(mixed[:, covered], local, site, (h, w), unconditional, view)
        return mixed

    def _local(self, site: Site, hidden: torch.Tensor) -> torch.Tensor:
        """The layer's output for each local prompt: hidden states [B, pixels, C] → [objects, B, pixels, C]."""
        layer = self.layers[site]
        if not self.learning:  # what is mixed in counts as given where the pass is differentiated
            hidden = hidden.detach()
        if site not in self._keys:
            contexts = [context.to(hidden.device, hidden.dtype) for context in self.local]
            self._keys[site] = [(layer.to_k(context), layer.to_v(context)) for context in contexts]
        q, batch = layer.to_q(hidden), hidden.shape[0]
        # The artist's kernel (sage, flash, sub-quadratic) may have no backward pass: PyTorch's own has.
        attend = attention_pytorch if self.learning else optimized_attention
        return torch.stack(
            [
                layer.to_out(
                    attend(
                        q,
                        k.expand(batch, -1, -1),
                        v.expand(batch, -1, -1),
                        layer.heads,
                        attn_precision=layer.attn_precision,
                    )
                )
                for k, v in self._keys[site]
            ]
        )
