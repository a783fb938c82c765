"""What other packs have on the model, as far as a gradient pass has to mind it."""

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType, MethodType

import torch

from ..errors import HostError

# What a module of the host's network is made of; anything else was put there by another pack.
_KNOWN = ("torch", "comfy", "comfy_aimdo", __package__.split(".")[0])
_WITHOUT_GRADIENTS = "Attention Regulation and Space-Time Attention need no gradients."


@contextmanager
def caches_aside(*model_options: dict) -> Iterator[None]:
    """Takes the wrappers of caches (EasyCache, LazyCache and their kind) out of the options for a while.

    A cache answers in the network's place, and learns from every call when to do so next: a gradient pass must neither
    be answered nor be learnt from.
    """
    with ExitStack() as after:
        for options in model_options:
            for by_key in options.get("transformer_options", {}).get("wrappers", {}).values():
                caches = [key for key in by_key if "cache" in str(key).lower()]
                if caches:
                    after.callback(_restore, by_key, dict(by_key))
                    for key in caches:
                        del by_key[key]
        yield


def _restore(by_key: dict, before: dict) -> None:
    by_key.clear()
    by_key.update(before)


def open_to_gradients(model_options: dict) -> dict:
    """The options for a pass with gradients: on one card, whose threads run without, and with what other packs put
    around the network freed of decorators that switch gradients off (tiled diffusion is written that way).
    """
    options = {key: value for key, value in model_options.items() if key != "multigpu_clones"}
    around = options.get("model_function_wrapper")
    if around is not None:
        options["model_function_wrapper"] = _opened(around)
    wrappers = options.get("transformer_options", {}).get("wrappers")
    if wrappers:
        opened = {
            kind: {key: [_opened(each) for each in several] for key, several in by_key.items()}
            for kind, by_key in wrappers.items()
        }
        options["transformer_options"] = {**options["transformer_options"], "wrappers": opened}
    return options


def _opened(called: Callable) -> Callable:
    """What torch.no_grad and torch.inference_mode decorate in a function, a method or an object that can be called."""
    if isinstance(called, FunctionType):
        return _undecorated(called)
    if isinstance(called, MethodType):
        owner, function = called.__self__, called.__func__
    else:
        owner, function = called, type(called).__call__
    if not isinstance(function, FunctionType):
        return called
    opened = _undecorated(function)
    return called if opened is function else MethodType(opened, _writable(owner))


def _undecorated(function: FunctionType) -> Callable:
    while function.__code__.co_name == "decorate_context" and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def _writable(owner):
    """A copy whose own tensors can be written to outside of inference mode, and which takes the graph away with it."""
    own = copy.copy(owner)
    for name, value in getattr(own, "__dict__", {}).items():
        if isinstance(value, torch.Tensor) and value.is_inference():
            setattr(own, name, value.clone())
    return own


@contextmanager
def random_numbers_kept(device: torch.device) -> Iterator[None]:
    """The global random numbers go on afterwards as if nothing had been drawn: a neighbour that draws some in every
    pass (token merging, reference images) gets the ones that it gets without us.
    """
    on_card = device.type in ("cuda", "xpu")
    with torch.random.fork_rng([device] if on_card else [], device_type=device.type if on_card else "cuda"):
        yield


@contextmanager
def writes_explained() -> Iterator[None]:
    """Says in words what autograd says of a write that it cannot follow."""
    try:
        yield
    except RuntimeError as error:
        if not re.search(r"in-?place", str(error), re.IGNORECASE):
            raise
        raise HostError(
            "Another node writes over the network's numbers while it runs, in a way that no gradient can be taken "
            "through (a node that changes the network's features or skip connections, like FreeU, does so). Bypass "
            f"that node, or choose another method: {_WITHOUT_GRADIENTS}"
        ) from error


def no_gradients(network: torch.nn.Module) -> HostError:
    """What to tell the artist when the network ran without gradients."""
    strangers = sorted({name for module in network.modules() for name in _strangers(module)})
    found = f" On this model there is {', '.join(strangers)}." if strangers else ""
    return HostError(
        "Another node lets the network run without gradients, which this method needs. Most likely it is one that "
        "perturbs the attention for guidance (Token Perturbation Guidance, Perturbed Attention and their kind), or one "
        f"that replaces the network by a faster one.{found} Bypass that node, or choose another method: "
        f"{_WITHOUT_GRADIENTS}"
    )


def _strangers(module: torch.nn.Module) -> Iterator[str]:
    """The packs that a module, or the forward pass put onto it, comes from."""
    for thing in (type(module), vars(module).get("forward")):
        origin = getattr(thing, "__module__", None) or "torch"
        if origin.split(".")[0] not in _KNOWN:
            # The host names a pack's modules by their path: …_x_custom_nodes_x_pack.file, or custom_nodes.pack.file.
            parts = [part for part in re.split(r"\.|_x_|/|\\", origin) if part]
            yield parts[parts.index("custom_nodes") + 1] if "custom_nodes" in parts[:-1] else parts[-1]
