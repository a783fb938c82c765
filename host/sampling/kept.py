"""What autograd keeps for the backward pass inside the host: whose tensors, and what becomes of them meanwhile.

The host makes everything in inference mode, and autograd refuses to keep such a tensor, whoever made it: the host, an
adapter, another pack's cache. And other packs write into tensors that have been kept. Both are seen from one place,
through which every call of PyTorch goes.
"""

import weakref
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .rope import DIFFERENTIABLE

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

_CONVOLUTIONS = frozenset((F.conv1d, F.conv2d, F.conv3d))


def alias(tensor: Tensor) -> Tensor:
    """An ordinary tensor on the same storage: no copy, and autograd may keep it."""
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


class _Keep:
    """One tensor that is kept, as it was."""

    __slots__ = ("__weakref__", "tensor", "version")

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.version = None if tensor.is_inference() else tensor._version

    @property
    def untouched(self) -> bool:
        return self.version is None or self.tensor._version == self.version


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
        if func in _CONVOLUTIONS and _is_plain_convolution(args, kwargs):
            return _Convolution.apply(*args)
        rope = DIFFERENTIABLE.get(getattr(func, "_qualified_op_name", ""))
        if rope is not None:
            return rope(*args, **kwargs)
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
        if not keep.untouched:
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

    def done_again(self, function: Callable, arguments: tuple, named: dict, replaying: Callable):
        """`function(*arguments, **named)`, of which nothing is kept but what goes in: it is done again, inside
        `replaying()`, when the backward pass comes to it.
        """
        if not torch.is_grad_enabled() or not any(_differentiable(value) for value in (*arguments, *named.values())):
            return function(*arguments, **named)
        frame = _Frame(self, function, arguments, named, replaying)
        with torch.autograd.graph.saved_tensors_hooks(frame.promise, frame.fulfilled):
            return function(*arguments, **named)

    @property
    def storages(self) -> dict[int, int]:
        """Bytes of every storage that is kept now, each counted once."""
        keeps = (reference() for references in self._of_storage.values() for reference in references)
        stored = (keep.tensor.untyped_storage() for keep in keeps if keep is not None)
        return {storage._cdata: storage.nbytes() for storage in stored}


def convolution_gradient(gradient: Tensor, like: tuple, weight: Tensor, bias: Tensor | None, geometry: tuple) -> Tensor:
    """The gradient of a convolution's input, of which only `like` (shape, strides, dtype, device) need be known:
    PyTorch chooses its way by them, and what is in the input plays no part. `geometry`: stride, padding, dilation,
    groups.
    """
    shape, strides, dtype, device = like
    stride, padding, dilation, groups = geometry
    x = torch.empty_strided(shape, strides, dtype=dtype, device=device)
    sizes = None if bias is None else [bias.shape[0]]
    nothing = [0] * len(stride)
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, sizes, stride, padding, dilation, False, nothing, groups, [True, False, False]
    )[0]


class _Convolution(torch.autograd.Function):
    """A convolution whose weight stays where it is: PyTorch's own keeps the input too, for a gradient of the weight."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, *geometry) -> Tensor:
        ctx.like, ctx.weight, ctx.bias, ctx.geometry = (x.shape, x.stride(), x.dtype, x.device), weight, bias, geometry
        functions = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
        return functions[weight.dim()](x, weight, bias, *geometry)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        into_x = convolution_gradient(gradient, ctx.like, ctx.weight, ctx.bias, ctx.geometry)
        return into_x, *[None] * (2 + len(ctx.geometry))


def _is_plain_convolution(args: list, kwargs: dict) -> bool:
    """Whether a call is that of a layer's: of a batch, with everything said, and a weight that nobody learns."""
    if kwargs or len(args) != 7 or not torch.is_grad_enabled():
        return False
    x, weight, bias, stride, padding, dilation, _ = args
    learned = weight.requires_grad or (bias is not None and bias.requires_grad)
    told = all(isinstance(sizes, tuple) for sizes in (stride, padding, dilation))
    return x.requires_grad and x.dim() == weight.dim() and told and not learned


class _Enough(BaseException):
    """Ends the second run of a function as soon as everything that was promised is there. Not an Exception, so that no
    handler on the way takes it for a fault.
    """


class _Frame:
    """One call that is done again in the backward pass. What it would have kept is promised by number."""

    def __init__(self, kept: Kept, function: Callable, arguments: tuple, named: dict, replaying: Callable):
        self._watch = kept
        self._function = function
        self._arguments = [self._held(value) for value in arguments]
        self._named = {name: self._held(value) for name, value in named.items()}
        self._replaying = replaying
        self._device = next(value.device for value in (*arguments, *named.values()) if isinstance(value, Tensor))
        self._random = _random_state(self._device)
        self._promised = 0
        self._made: dict[int, _Keep] = {}

    def promise(self, tensor: Tensor) -> tuple["_Frame", int]:
        self._promised += 1
        return self, self._promised - 1

    @staticmethod
    def fulfilled(promise: tuple["_Frame", int]) -> Tensor:
        frame, number = promise
        if number not in frame._made:
            frame._run_again()
        if number not in frame._made:
            raise RuntimeError("a block of the network did something else when it was run a second time")
        return frame._watch.kept(frame._made.pop(number))

    def _run_again(self) -> None:
        self._made = {}
        with ExitStack() as stack:
            # The backward pass may run in a thread of its own, where none of this holds.
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            if self._watch not in torch.overrides._get_current_function_mode_stack():
                stack.enter_context(self._watch)
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._make, _none_is_asked_for))
            stack.enter_context(self._replaying())
            stack.enter_context(_random_numbers_as(self._random, self._device))
            arguments = [_given(value) for value in self._arguments]
            named = {name: _given(value) for name, value in self._named.items()}
            try:
                self._function(*arguments, **named)
            except _Enough:
                pass

    def _make(self, tensor: Tensor) -> None:
        self._made[len(self._made)] = self._watch.keep(tensor)
        if len(self._made) == self._promised:
            raise _Enough

    def _held(self, value):
        """An argument as it is now, whatever is written into it later."""
        if isinstance(value, Tensor):
            return self._watch.keep(value.detach()), value.requires_grad
        return dict(value) if isinstance(value, dict) else value


def _given(value):
    """What `_Frame._held` held, apart from the graph that it came from."""
    if isinstance(value, tuple) and value and isinstance(value[0], _Keep):
        keep, differentiable = value
        # A copy: some blocks write into what they are given, which may be no leaf of a graph.
        return Kept.kept(None, keep).detach().requires_grad_(differentiable).clone()
    return dict(value) if isinstance(value, dict) else value


def _none_is_asked_for(_) -> None:
    raise AssertionError("nobody goes back through a second run")


def _differentiable(value) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    on_card = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), on_card


@contextmanager
def _random_numbers_as(state: tuple[Tensor, Tensor | None], device: torch.device):
    """The global random numbers start from `state`, and go on afterwards as if nothing had been drawn."""
    cpu, on_card = state
    with torch.random.fork_rng([] if on_card is None else [device]):
        torch.set_rng_state(cpu)
        if on_card is not None:
            torch.cuda.set_rng_state(on_card, device)
        yield


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
