"""A graphics card too small for the model, on the CPU: the host's own low-memory loading, over buffers that are as
hostile as the host's are on a card. And the gradient as it is where every weight stays in its place.
"""

from contextlib import contextmanager

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch

FETCHES = ("into one buffer", "to another place each time")


class HostileBuffers:
    """Stands around the host's cast path: what a layer gets lies in a buffer that is poisoned as soon as it is done.

    "into one buffer": every layer's weight is written over the one before, as in the buffers of --lowvram. "to another
    place each time": the place is new, as after an eviction of dynamic VRAM, and the old one is poisoned.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self.cast, self.uncast = comfy.ops.cast_bias_weight, comfy.ops.uncast_bias_weight
        self.fetches = 0
        self._shared = self._buffer(1)

    @staticmethod
    def _buffer(size: int) -> torch.Tensor:
        with torch.inference_mode():  # as the host makes them
            return torch.empty(size, dtype=torch.uint8)

    def cast_bias_weight(self, s, *args, **options):
        offloadable = options.pop("offloadable", False)
        weight, bias, stream = self.cast(s, *args, offloadable=True, **options)
        sizes = [0 if one is None else (one.numel() * one.element_size() + 63) // 64 * 64 for one in (weight, bias)]
        if self.kind != FETCHES[0] or self._shared.numel() < sum(sizes):
            self._shared = self._buffer(sum(sizes))
        self.fetches += 1
        moved = []
        with torch.inference_mode():
            for one, start, size in ((weight, 0, sizes[0]), (bias, sizes[0], sizes[1])):
                if one is None:
                    moved.append(None)
                    continue
                place = self._shared[start : start + size].view(one.dtype)[: one.numel()].view(one.shape)
                moved.append(place.copy_(one))
        return (*moved, stream) if offloadable else tuple(moved)

    def uncast_bias_weight(self, s, weight, bias, stream):
        with torch.inference_mode():
            for one in (weight, bias):
                if one is not None:
                    one.fill_(float("nan"))
        self.uncast(s, weight, bias, stream)


def stream_weights(monkeypatch, kind: str = FETCHES[0]) -> HostileBuffers:
    """From now on the host finds room on the device for no layer of any model."""
    load = comfy.model_patcher.ModelPatcher.load

    def load_in_part(self, device_to=None, lowvram_model_memory=0, force_patch_weights=False, full_load=False):
        return load(self, device_to, 1, force_patch_weights, False)

    comfy.model_management.unload_all_models()
    buffers = HostileBuffers(kind)
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "load", load_in_part)
    monkeypatch.setattr(comfy.ops, "cast_bias_weight", buffers.cast_bias_weight)
    monkeypatch.setattr(comfy.ops, "uncast_bias_weight", buffers.uncast_bias_weight)
    return buffers


@contextmanager
def resident(*modules: torch.nn.Module, **how):
    """The plain way to a gradient, where all weights stay: autograd keeps aliases of them, on the same storage."""
    swapped = []
    with torch.inference_mode(False), torch.enable_grad():
        try:
            for part in (part for module in modules for part in module.modules()):
                for tensors in (part._parameters, part._buffers):
                    for name, tensor in tensors.items():
                        if tensor is not None and (tensor.is_inference() or tensor.requires_grad):
                            swapped.append((tensors, name, tensor))
                            empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
                            tensors[name] = empty.set_(
                                tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride()
                            )
            yield
        finally:
            for tensors, name, tensor in swapped:
                tensors[name] = tensor
