"""What a fused attention divides by: it is known to the kernel, which gives it out beside the output (for a backward
pass), and with it a word's probability takes no more than the word's own scores. It is read off the very kernel that
draws the picture, so that not a bit of the picture changes; where no such kernel runs (sage, sub-quadratic, a mask on
some cards) there is nothing to read.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
_WHOLE = _ATEN.scaled_dot_product_attention.default
_KERNELS = {
    _ATEN._scaled_dot_product_flash_attention.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
}


class Normaliser(TorchDispatchMode):
    """Listens to the kernels that attend with `q` to `k`, as the host's attention function was called with them. A
    context manager around that call.
    """

    def __init__(self, q: Tensor, k: Tensor, mask: Tensor | None):
        super().__init__()
        self._storages = [tensor.untyped_storage()._cdata for tensor in (q, k)]
        self._masked = mask is not None
        self._found: list[Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is _WHOLE:  # in inference mode the choice among the kernels is still to be made
            with self:
                return func.decompose(*args, **kwargs)
        made = func(*args, **kwargs)
        if func in _KERNELS:
            asked = [tensor.untyped_storage()._cdata for tensor in args[:2]]
            masked = kwargs.get("attn_mask") is not None
            # Others may attend to something of their own meanwhile: what this call edits, or another node's edits.
            if asked == self._storages and masked == self._masked:
                self._found.append(made[1])
        return made

    def of(self, rows: int, heads: int, queries: int) -> Tensor | None:
        """The logarithm of the sum of every query's exponentiated scores [rows, heads, queries], or None if that was
        not to be heard.
        """
        if any(found.shape[1:] != (heads, queries) for found in self._found):
            return None
        found = torch.cat(self._found) if self._found else None
        return found if found is not None and found.shape[0] == rows else None
