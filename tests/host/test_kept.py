"""What is kept of a run, and from day to day: nothing that grows."""

import gc
import itertools
import sys
from collections import Counter
from pathlib import Path

import comfy.model_management
import psutil
import pytest
import torch
from hostkit import FAMILIES, ONE_A_STEP, encoded, models, patched, sample
from prompt_fidelity.core import drawing
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.prompt import lexicon
from prompt_fidelity.host.models.demo_clip import load_demo_clip
from prompt_fidelity.host.models.demo_model import load_demo_model
from prompt_fidelity.host.sampling.giving_back import give_back_memory
from prompt_fidelity.host.text import encode_with_targets

ROOT = Path(__file__).resolve().parents[2]


def left_in_circles(work) -> Counter:
    """What `work()` left for Python's search for circles to find: our objects, models and large tensors, by type."""
    work()  # what is made once is not counted
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        work()
        gc.collect()
        found = [thing for thing in gc.garbage if kept_by_us(thing)]
        return Counter(type(thing).__name__ for thing in found)
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()


def kept_by_us(thing) -> bool:
    kind = type(thing)
    if issubclass(kind, torch.Tensor):
        return thing.numel() > 1000
    return "prompt_fidelity" in (kind.__module__ or "") or issubclass(kind, torch.nn.Module)


# Every method, and every family by turns: what a method keeps does not depend on the network.
@pytest.mark.parametrize(("method", "family"), list(zip(METHODS, itertools.cycle(FAMILIES), strict=False)))
def test_a_run_that_is_over_is_gone_at_once(family, method):
    def work():
        sample(patched(family, method, settings=ONE_A_STEP)[0], family, steps=2)

    models(family), encoded(family), encoded(family, "")
    assert left_in_circles(work) == {}


def test_a_prompt_and_a_model_that_are_dropped_are_gone_at_once():
    with torch.inference_mode():
        clip = models("sd1")[1]
        assert left_in_circles(lambda: encode_with_targets(clip, "a black car and a dog")) == {}
        assert left_in_circles(load_demo_model) == {}
        assert left_in_circles(load_demo_clip) == {}


def test_caches_have_an_end():
    """Whatever words and sizes come: the caches of both hold no more than they may."""
    for number in range(20_000):
        lexicon.singular(f"word{number}s")
        lexicon.is_abstract(f"word{number}ness")
    for size in range(60):
        drawing.font(size * 1.5)
    caches = [thing for name, module in sys.modules.items() if name.startswith("prompt_fidelity.")
              for thing in vars(module).values() if hasattr(thing, "cache_info")]  # fmt: skip
    assert len(caches) > 5
    endless = [cache for cache in caches if cache.cache_info().maxsize is None and takes_arguments(cache)]
    assert endless == [] and max(cache.cache_info().currsize for cache in caches) <= 5000


def takes_arguments(cache) -> bool:
    """Whether a cache may hold more than one thing; arguments with a default are there for the tests."""
    code, defaults = cache.__wrapped__.__code__, cache.__wrapped__.__defaults__ or ()
    return code.co_argcount > len(defaults)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give memory back on their own")
def test_freed_memory_goes_back():
    process = psutil.Process()
    blocks = [bytearray(20_000) for _ in range(10_000)]
    pins = blocks[::100]  # such as a picture that stays
    held = process.memory_info().rss
    del blocks
    give_back_memory()
    assert held - process.memory_info().rss > 100_000_000 and len(pins) == 100


def test_memory_is_given_back_after_every_run_also_a_cancelled_one(monkeypatch):
    from prompt_fidelity.host.sampling import install

    given = []
    monkeypatch.setattr(install, "give_back_memory", lambda: given.append(True))
    sample(patched(strength=0.0)[0], steps=1)
    controlled, _ = patched()
    handle = models("sd1")[0].model.diffusion_model.register_forward_pre_hook(
        lambda module, args: comfy.model_management.interrupt_current_processing()
    )
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(controlled)
    handle.remove()
    assert given == [True, True]
