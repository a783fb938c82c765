"""Rotary positions with gradients: the host's kernels for them (comfy_kitchen) have none.

Their operations are told by name, where every call of PyTorch goes by (`kept`), and done here in PyTorch's own: nothing
of the host is replaced. x [..., n, d]; `freqs` [..., n, d/2, 2, 2] are the rotations of each position, as the host's
networks make them. An entry of a rotation is that of the output's first or second, by the input's first or second.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _rotated(pairs: Tensor, freqs: Tensor) -> Tensor:
    """[..., n, d/2, 2], turned."""
    pairs = pairs.to(torch.promote_types(pairs.dtype, freqs.dtype)).unsqueeze(-2)
    freqs = freqs.to(pairs.dtype)
    if pairs.shape[2] != 1 and freqs.shape[2] != 1 and pairs.shape[2] != freqs.shape[2]:
        freqs = freqs[:, :, : pairs.shape[2]]  # made for more positions than there are
    return freqs[..., 0] * pairs[..., 0] + freqs[..., 1] * pairs[..., 1]


def _neighbours(x: Tensor, freqs: Tensor) -> Tensor:
    """Pairs of neighbours are turned."""
    return _rotated(x.unflatten(-1, (-1, 2)), freqs).flatten(-2).type_as(x)


def _halves(x: Tensor, freqs: Tensor) -> Tensor:
    """Pairs are an entry of the first half and one of the second."""
    return _rotated(x.unflatten(-1, (2, -1)).transpose(-1, -2), freqs).transpose(-1, -2).flatten(-2).type_as(x)


def _normed(x: Tensor, freqs: Tensor, scale: Tensor, epsilon: float, turn: Callable, turned: int = 0) -> Tensor:
    """RMS norm first; of each head only the first `turned` are turned, if it is said."""
    x = F.rms_norm(x, (x.shape[-1],), scale, epsilon)
    if not turned or turned == x.shape[-1]:
        return turn(x, freqs)
    return torch.cat([turn(x[..., :turned], freqs), x[..., turned:]], dim=-1)


def _one(turn: Callable) -> Callable:
    return lambda x, freqs: turn(x, freqs)


def _two(turn: Callable) -> Callable:
    return lambda q, k, freqs: (turn(q, freqs), turn(k, freqs))


def _one_normed(turn: Callable) -> Callable:
    return lambda x, freqs, scale, epsilon=1e-6: _normed(x, freqs, scale, epsilon, turn)


def _two_normed(turn: Callable) -> Callable:
    def both(q, k, freqs, q_scale, k_scale=None, epsilon=1e-6, rot_dim=0):
        k_scale = q_scale if k_scale is None else k_scale
        return tuple(_normed(x, freqs, scale, epsilon, turn, rot_dim) for x, scale in ((q, q_scale), (k, k_scale)))

    return both


_KINDS = {"apply_rope1": _one, "apply_rope": _two, "rms_rope1": _one_normed, "rms_rope": _two_normed}
_TURNS = {"": _neighbours, "_split_half": _halves}


def _named(kind: str, turn: str) -> str:
    stem = kind.removesuffix("1")
    return f"comfy_kitchen::{stem}{turn}{kind[len(stem) :]}"


# By the operation's name; the variants that write into what they get are not among them, as autograd refuses them.
DIFFERENTIABLE: dict[str, Callable] = {
    _named(kind, name): make(turn) for kind, make in _KINDS.items() for name, turn in _TURNS.items()
}
