"""What autograd keeps for the backward pass inside the host: whose tensors, and what becomes of them meanwhile.

The host makes everything in inference mode, and autograd refuses to keep such a tensor, whoever made it: the host, an
adapter, another pack's cache. And other packs write into tensors that have been kept. Both are seen from one place,
through which every call of PyTorch goes.
"""

import weakref
from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Subclasses (quantised weights) are converted to ordinary tensors in every call, so they need no alias.
_PLAIN = (Tensor, torch.nn.Parameter)
# These change what a tensor is, not what is in it, and are meant for the very object.
_OF_THE_OBJECT = frozenset(
    "__get__ __set__ __delete__ is_inference requires_grad_ detach_ set_ resize_ resize_as_ t_ transpose_ swapaxes_ "
    "swapdims_ squeeze_ unsqueeze_ as_strided_ untyped_storage storage_offset data_ptr stride size dim numel".split()
)
_ASSIGNMENTS = frozenset(
    "__setitem__ __iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__ __iand__ __ior__ "
    "__ixor__".split()
)
# A norm's weights are small, and may lie in a buffer of the host's that is written over before the backward pass.
_NORMS = frozenset((F.group_norm, F.layer_norm, F.rms_norm, F.batch_norm))


def alias(tensor: Tensor) -> Tensor:
    """An ordinary tensor on the same storage: no copy, and autograd may keep it."""
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


class _Keep:
    """One tensor that is kept, as it was."""

    __slots__ = ("__weakref__", "tensor", "version")

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.version = tensor._version


class Kept(TorchFunctionMode):
    """Everything that is kept for one backward pass, and the watch over it. A context manager.

    For its time every call of PyTorch gets ordinary tensors in the place of inference tensors, on the same storage; and
    before a call that writes into a tensor that is kept, what is kept is copied. A write that went by unseen is noticed
    when the backward pass asks for the tensor, as it is without us.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of_storage: dict[int, list[weakref.ref[_Keep]]] = defaultdict(list)
        self._hooks: list = []

    def __enter__(self):
        hooks = torch.autograd.graph.saved_tensors_hooks(self.keep, self.kept)
        hooks.__enter__()
        self._hooks.append(hooks)
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self._hooks.pop().__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _OF_THE_OBJECT:
            return func(*args, **kwargs)
        args = [_ordinary(value) for value in args]
        if kwargs:
            kwargs = {key: _ordinary(value) for key, value in kwargs.items()}
        if func in _NORMS:
            args = [args[0], *(_copy(value) for value in args[1:])]
            kwargs = {key: value if key == "input" else _copy(value) for key, value in kwargs.items()}
        elif (name.endswith("_") and not name.endswith("__")) or name in _ASSIGNMENTS:
            self._before_write(args[0])
        elif kwargs.get("inplace"):
            self._before_write(args[0] if args else kwargs["input"])
        elif kwargs.get("out") is not None:
            return self._written_into(kwargs.pop("out"), func, args, kwargs)
        return func(*args, **kwargs)

    def _written_into(self, out, func, args, kwargs):
        """A result for which the caller has a place: autograd knows no such calls, but it knows assignments."""
        result = func(*args, **kwargs)
        self._before_write(out)
        if isinstance(result, Tensor) and isinstance(out, Tensor) and result.shape == out.shape:
            return out.copy_(result)
        return func(*args, out=out, **kwargs)

    def keep(self, tensor: Tensor) -> _Keep:
        """Autograd's hook: called with every tensor that it keeps."""
        keep = _Keep(tensor)
        self._of_storage[tensor.untyped_storage()._cdata].append(weakref.ref(keep))
        return keep

    def kept(self, keep: _Keep) -> Tensor:
        """Autograd's hook: called when the backward pass asks for it."""
        if keep.tensor._version != keep.version:
            raise RuntimeError(
                "a tensor needed for the gradient was modified by an inplace operation that could not be seen"
            )
        return keep.tensor

    def _before_write(self, target) -> None:
        for tensor in target if isinstance(target, (list, tuple)) else (target,):
            if isinstance(tensor, Tensor) and type(tensor) in _PLAIN:
                keeps = self._of_storage.pop(tensor.untyped_storage()._cdata, ())
                for keep in filter(None, (reference() for reference in keeps)):
                    with torch.no_grad():
                        keep.tensor = keep.tensor.clone()
                    keep.version = keep.tensor._version
                    self._of_storage[keep.tensor.untyped_storage()._cdata].append(weakref.ref(keep))

    @property
    def storages(self) -> dict[int, int]:
        """Bytes of every storage that is kept now, each counted once."""
        keeps = (reference() for references in self._of_storage.values() for reference in references)
        stored = (keep.tensor.untyped_storage() for keep in keeps if keep is not None)
        return {storage._cdata: storage.nbytes() for storage in stored}


def _ordinary(value, depth: int = 2):
    """An argument of a call with ordinary tensors in it; gradients of weights are nobody's business here."""
    kind = type(value)
    if kind in _PLAIN:
        if value.is_inference() or (kind is torch.nn.Parameter and value.requires_grad):
            return alias(value)
    elif depth and kind in (list, tuple):
        return kind(_ordinary(part, depth - 1) for part in value)
    return value


def _copy(value):
    return value.detach().clone() if type(value) in _PLAIN and not value.requires_grad else value
