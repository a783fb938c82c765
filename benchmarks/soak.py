"""A long day at the queue: hundreds of prompts through ComfyUI's own executor, in one process.

    python3 dev.py run benchmarks/soak.py [--count 400] [--seed 0] [--plain] [--cache ram] [--json]

Random graphs over all methods, networks, samplers, sizes and batches; a fifth is cancelled on the way, one in twelve is
wrong on purpose. Between them the same reference prompts are drawn again and again, and their pictures must stay the
same bit for bit. Prints what is kept: resident memory, Python objects, tensors, and our own objects; and every
traceback that the host did not print as a node's error. `--plain` is the same queue without the pack's nodes.

The host's RAM cache keeps the keys of nodes that a cancelled or failed prompt never reached, some hundred objects each:
under it (`--cache ram`, the host's default) objects grow with and without the pack, so the classic cache is the default
here.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import hashlib
import json
import logging
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from _pack import load_pack

load_pack()

import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.patcher_extension  # noqa: E402
import comfy.utils  # noqa: E402
import execution  # noqa: E402
import folder_paths  # noqa: E402
import psutil  # noqa: E402
import torch  # noqa: E402
from measuring.queue import Queued, queue, references  # noqa: E402
from prompt_fidelity.core.control.record import Record  # noqa: E402
from prompt_fidelity.core.methods import METHODS  # noqa: E402
from prompt_fidelity.core.prompt.targets import Targets  # noqa: E402
from prompt_fidelity.host import progress as our_progress  # noqa: E402
from prompt_fidelity.host.models.random_models import FAMILIES, load_random_model  # noqa: E402
from prompt_fidelity.host.sampling.run import Run  # noqa: E402
from prompt_fidelity.nodes import NODES  # noqa: E402

import nodes as host  # noqa: E402

EVERY = 20  # prompts between two looks at the references and at the memory
SETTLED = 100  # prompts after which nothing should grow any more
FLAT = 0.03
OURS = (Record, Targets, Run, comfy.model_patcher.ModelPatcher)


class Page:
    """Takes the server's place for the executor: counts what an artist would see move, and presses Cancel."""

    def __init__(self) -> None:
        self.client_id = self.last_node_id = self.last_prompt_id = None
        self.sockets_metadata: dict = {}
        self.errors: list[dict] = []
        self.signals = 0
        self.cancel_after: int | None = None

    def expect(self, prompt: Queued) -> None:
        self.errors, self.signals, self.cancel_after = [], 0, prompt.cancel_after

    def send_sync(self, event, data, sid=None) -> None:
        if event == "execution_error":
            self.errors.append(data)
        self._moved()

    def send_progress_text(self, text, node_id, sid=None) -> None:
        self._moved()

    def _moved(self) -> None:
        self.signals += 1
        if self.signals == self.cancel_after:
            host.interrupt_processing()


class SoakModel:
    """A small random network of a family, kept like a checkpoint's file: loaded once."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "CLIP", "VAE"), "load", "soak"
    loaded: dict = {}

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802, the host's name
        return {"required": {"family": (list(FAMILIES),)}}

    def load(self, family):
        if family not in self.loaded:
            self.loaded[family] = load_random_model(family)
        return self.loaded[family]


class SoakMethod:
    """Attend-and-Excite at a resolution that the widget may choose and a model may lack."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("FIDELITY_METHOD",), "make", "soak"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"resolution": ("STRING",)}}

    def make(self, resolution):
        chosen = METHODS["attend_and_excite"]
        return (chosen(type(chosen().settings)(resolution=resolution)),)


class SoakNothing:
    """A checkpoint without a text encoder."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP",), "give", "soak"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {}}

    def give(self):
        return (None,)


class SoakFails:
    """Another pack's fault: the network raises in one of its calls."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "patch", "soak"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",), "after": ("INT",)}}

    def patch(self, model, after):
        left = [after]

        def fail(executor, *args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("a fault of another pack, made on purpose")
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "soak", fail)
        return (model,)


class SoakLook:
    """The end of a graph: what the picture is, bit for bit."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "look", "soak", True
    seen: str | None = None

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def look(self, image):
        SoakLook.seen = hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
        return {"ui": {}}


class Tracebacks(logging.Handler):
    """Every logged traceback that is not a node's error as the host prints it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.of_nodes = 0

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "Traceback" not in text and not record.exc_info:
            return
        if record.pathname == execution.__file__:
            self.of_nodes += 1
        else:
            self.found.append(text)


def _return_freed_memory() -> None:
    """The C library keeps what was freed, now more and now less: what counts is what is held."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).malloc_trim(0)


@dataclass
class Look:
    """What is held after so many prompts."""

    prompts: int
    megabytes: float
    objects: int
    tensors: int
    tensor_megabytes: float
    ours: dict[str, int]

    @classmethod
    def now(cls, prompts: int) -> Look:
        for _ in range(2):
            gc.collect()
        objects = gc.get_objects()
        tensors = [thing for thing in objects if issubclass(type(thing), torch.Tensor)]
        stores = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
        kinds = Counter(type(thing) for thing in objects)
        ours = {kind.__name__: sum(n for other, n in kinds.items() if issubclass(other, kind)) for kind in OURS}
        _return_freed_memory()
        resident = psutil.Process().memory_info().rss / 1e6
        return cls(prompts, resident, len(objects), len(tensors), sum(stores.values()) / 1e6, ours)

    def __str__(self) -> str:
        ours = "  ".join(f"{name} {count}" for name, count in self.ours.items())
        return (
            f"{self.prompts:5d}  {self.megabytes:8.1f} MB  {self.objects:8d} objects  {self.tensors:6d} tensors of "
            f"{self.tensor_megabytes:7.1f} MB  {ours}"
        )


@dataclass
class Outcome:
    """The whole day."""

    looks: list[Look] = field(default_factory=list)
    ended: Counter = field(default_factory=Counter)
    references: int = 0
    changed: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def growth(self) -> float | None:
        """How far the memory rises above what it was once settled, as a share; None in a short run."""
        settled = [look for look in self.looks if look.prompts >= SETTLED]
        return max(look.megabytes for look in settled) / settled[0].megabytes - 1 if len(settled) > 1 else None

    @property
    def well(self) -> bool:
        flat = self.growth is None or self.growth <= FLAT
        return flat and not self.changed and not self.unexpected and not self.tracebacks


class Day:
    """The host's executor with a page in front of it."""

    def __init__(self, cache: str) -> None:
        for kind in (SoakModel, SoakMethod, SoakNothing, SoakFails, SoakLook):
            host.NODE_CLASS_MAPPINGS[kind.__name__] = kind
        for kind in NODES:
            host.NODE_CLASS_MAPPINGS[kind.GET_SCHEMA().node_id] = kind
        self.page = Page()
        our_progress.PromptServer = type("PromptServer", (), {"instance": self.page})
        comfy.utils.set_progress_bar_global_hook(self._progress)
        kinds = {"classic": execution.CacheType.CLASSIC, "lru": execution.CacheType.LRU}
        kinds["ram"] = getattr(execution.CacheType, "RAM_PRESSURE", execution.CacheType.CLASSIC)
        arguments = {"lru": 20, "ram": 2.0, "ram_inactive": 128.0}
        self.executor = execution.PromptExecutor(self.page, cache_type=kinds[cache], cache_args=arguments)
        self._numbers = 0

    def _progress(self, value, total, preview, prompt_id=None, node_id=None) -> None:
        """As the host's own: a cancelled prompt ends at its next sign of progress."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.page.send_sync("progress", {"value": value, "max": total})

    def run(self, prompt: Queued) -> tuple[str, str]:
        """How it ended (drawn, cancelled, refused, wrong), and the host's words."""
        self._numbers += 1
        name = f"soak-{self._numbers}"
        SoakLook.seen = None
        self.page.expect(prompt)
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt(name, prompt.graph, None))
        if not valid:
            return "refused", json.dumps([error, node_errors], default=str)
        self.executor.execute(prompt.graph, name, {"client_id": "soak"}, outputs)
        if self.executor.success and SoakLook.seen:
            return "drawn", SoakLook.seen
        events = [event for event, _ in self.executor.status_messages]
        if "execution_interrupted" in events:
            return "cancelled", ""
        return "wrong", "; ".join(f"{e['node_type']}: {e['exception_message'].strip()}" for e in self.page.errors)


def soak(count: int, seed: int, *, plain: bool = False, cache: str = "classic", tell=lambda text: None) -> Outcome:
    """The day's work; `tell` is called with every look."""
    outcome, day, tracebacks = Outcome(), Day(cache), Tracebacks()
    started = time.perf_counter()
    logging.getLogger().addHandler(tracebacks)
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda args: tracebacks.found.append(f"{args.err_msg}: {args.exc_value!r}")
    threading.excepthook = lambda args: tracebacks.found.append(repr(args.exc_value))
    first: dict[str, str] = {}

    def look(done: int) -> None:
        for reference in references(plain):
            ended, picture = day.run(reference)
            outcome.references += 1
            if ended != "drawn" or first.setdefault(reference.name, picture) != picture:
                outcome.changed.append(f"{reference.name} after {done} prompts: {ended} {picture}")
        outcome.looks.append(Look.now(done))
        tell(str(outcome.looks[-1]))

    try:
        look(0)
        for number, prompt in enumerate(queue(count, seed, plain), start=1):
            ended, words = day.run(prompt)
            outcome.ended[ended] += 1
            if not _expected(prompt, ended) and not plain:
                outcome.unexpected.append(f"{prompt.name}: {ended} {words}")
                tell(f"       {outcome.unexpected[-1]}")
            if number % EVERY == 0 or number == count:
                look(number)
    finally:
        logging.getLogger().removeHandler(tracebacks)
        sys.unraisablehook, threading.excepthook = hooks
    outcome.tracebacks = tracebacks.found
    outcome.seconds = time.perf_counter() - started
    return outcome


def _expected(prompt: Queued, ended: str) -> bool:
    """A prompt may be drawn before it is cancelled; one that is wrong never is."""
    if prompt.mistake:
        return ended in ("wrong", "refused")
    return ended == "drawn" or (prompt.cancel_after is not None and ended == "cancelled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400, help="queued prompts, references not counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="the same queue without the pack's nodes")
    parser.add_argument(
        "--cache", choices=("ram", "classic", "lru"), default="classic", help="how the host keeps outputs"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object in the last line")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_output_directory(folder)
        folder_paths.set_temp_directory(folder)
        tell = lambda text: print(text, flush=True)  # noqa: E731
        outcome = soak(options.count, options.seed, plain=options.plain, cache=options.cache, tell=tell)
    growth = "too short to say" if outcome.growth is None else f"{outcome.growth:+.1%}"
    print(f"{options.count} prompts in {outcome.seconds:.0f} s: {dict(outcome.ended)}")
    print(f"memory after {SETTLED} prompts: {growth} at most")
    print(f"references: {outcome.references} drawn, {len(outcome.changed)} changed", *outcome.changed, sep="\n  ")
    print(f"ended otherwise than expected: {len(outcome.unexpected)}", *outcome.unexpected, sep="\n  ")
    print(f"tracebacks beside the nodes' errors: {len(outcome.tracebacks)}", *outcome.tracebacks, sep="\n  ")
    if options.json:
        figures = {
            "prompts": options.count,
            "ended": dict(outcome.ended),
            "seconds": round(outcome.seconds),
            "megabytes": [round(look.megabytes, 1) for look in outcome.looks],
            "objects": [look.objects for look in outcome.looks],
            "tensors": [look.tensors for look in outcome.looks],
            "growth": outcome.growth,
            "references": outcome.references,
            "references_changed": len(outcome.changed),
            "unexpected": len(outcome.unexpected),
            "tracebacks": len(outcome.tracebacks),
        }
        print(json.dumps(figures))
    sys.exit(0 if outcome.well else 1)


if __name__ == "__main__":
    main()
