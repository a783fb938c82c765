"""Compiled networks (torch.compile): a pass that a method looks into or differentiates runs as it is written.

A compiled pass is what it was when it was traced: hooks that came later are not in it, and those that were there stay,
whatever they are told since.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.patcher_extension
import torch

NOTE = (
    "The model is compiled (torch.compile). The steps in which {method} acts run uncompiled, as a compiled network "
    "cannot be looked into; the others run compiled, and their attention maps are not recorded."
)
_APPLY_MODEL = comfy.patcher_extension.WrappersMP.APPLY_MODEL


def is_compiled(guider) -> bool:
    """Whether the run's network is compiled, by the host's own node or otherwise, as a whole or in parts."""
    if any("compile" in str(key).lower() for key in _wrappers(guider.model_options)):
        return True
    patcher = guider.model_patcher
    networks = [patcher.get_model_object("diffusion_model"), *patcher.object_patches.values()]
    return any(
        type(part).__name__ == "OptimizedModule" or getattr(part, "_compiled_call_impl", None) is not None
        for network in networks
        if isinstance(network, torch.nn.Module)
        for part in network.modules()
    )


def _wrappers(model_options: dict) -> dict:
    return model_options.get("transformer_options", {}).get("wrappers", {}).get(_APPLY_MODEL, {})


@contextmanager
def as_written(*model_options: dict) -> Iterator[None]:
    """Compiled networks run as they are written in the meantime."""
    stance = getattr(torch.compiler, "set_stance", None)
    if stance is not None:
        with stance("force_eager"):
            yield
        return
    # An older PyTorch: the host's node compiles by a wrapper, which can be taken away for a while.
    taken = [(_wrappers(options), dict(_wrappers(options))) for options in model_options]
    try:
        for wrappers, before in taken:
            for key in before:
                if "compile" in str(key).lower():
                    del wrappers[key]
        yield
    finally:
        for wrappers, before in taken:
            wrappers.clear()
            wrappers.update(before)
