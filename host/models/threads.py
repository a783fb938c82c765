"""How many threads the small models run on: one. The only place that decides it; no large model is ever touched.

Their layers are so small that on a processor threads mostly wait for each other, and where others use the machine too,
each waits for its turn at every layer: the demo model's first picture took 106 seconds with two threads on a busy
machine, and 15 with one. So whoever runs them (the artist's ComfyUI, a server or script of ours, a test), each of their
runs takes one thread, and gives the others back when it ends. On a graphics card nothing is changed.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import comfy.patcher_extension
import torch

KEY = "prompt_fidelity_one_thread"


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for what this thread of the program computes inside; as before after it, whatever happens."""
    before = torch.get_num_threads()
    if not comfy.model_management.cpu_mode() or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def small(patcher, clip, vae):
    """A model's three parts, marked: whatever the host does with them or their clones takes one thread."""
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, KEY, _sampling)
    small_text(clip)
    small_part(vae, "encode", "decode", "decode_tiled")
    return patcher, clip, vae


def small_text(clip):
    """A CLIP whose text encoders take one thread, also where one of them is asked alone."""
    for encoder in clip.cond_stage_model.children():
        small_part(encoder, "encode_token_weights")
    return clip


def small_part(part, *methods: str):
    """One object (a VAE, a vision tower) whose methods take one thread.

    It is not held by what is put on it: a model that goes must not wait for Python's search for circles.
    """
    known = weakref.ref(part)
    for name in methods:
        setattr(part, name, on_one_thread(_method_of(known, getattr(type(part), name))))
    return part


def _method_of(known: weakref.ref, function):
    @functools.wraps(function)
    def method(*args, **kwargs):
        return function(known(), *args, **kwargs)

    return method


def on_one_thread(function):
    """The function, taking one thread."""

    @functools.wraps(function)
    def called(*args, **kwargs):
        with one_thread():
            return function(*args, **kwargs)

    return called


def _sampling(executor, *args, **kwargs):
    """The host's OUTER_SAMPLE wrapper: a method's gradient passes, and what a search draws and looks at, are inside."""
    with one_thread():
        return executor(*args, **kwargs)
