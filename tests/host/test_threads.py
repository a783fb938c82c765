"""The small models run on one thread, whoever runs them; nothing else does, and nothing is left changed."""

from contextlib import contextmanager

import comfy.model_management
import pytest
import torch
from hostkit import FAMILIES, encoded, patched, sample
from prompt_fidelity.host.models.demo_clip import load_demo_clip
from prompt_fidelity.host.models.demo_model import load_demo_model
from prompt_fidelity.host.models.random_models import load_random_model
from prompt_fidelity.host.models.threads import one_thread
from prompt_fidelity.host.scoring import ClipScorer
from prompt_fidelity.host.text import encode_with_targets

LOADERS = {"demo": load_demo_model} | {family: lambda f=family: load_random_model(f) for family in FAMILIES}


@contextmanager
def threads(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
        assert torch.get_num_threads() == count, "the threads were not given back"
    finally:
        torch.set_num_threads(before)


@contextmanager
def seen_in(*modules):
    """The number of threads at every call of these networks."""
    seen = []
    handles = [
        module.register_forward_pre_hook(lambda m, a: seen.append(torch.get_num_threads())) for module in modules
    ]
    yield seen
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", LOADERS)
def test_every_use_of_a_small_model_takes_one_thread(name):
    with threads(3), torch.inference_mode():
        model, clip, vae = LOADERS[name]()
        network, encoder, decoder = model.model.diffusion_model, clip.cond_stage_model, vae.first_stage_model
        parts = (network, *encoder.children(), *decoder.children())
        with seen_in(*parts) as seen:
            positive, targets = encode_with_targets(clip, "a red ball and a blue ring")
            assert seen
            latent = sample(model.clone(), positive=positive, negative=positive, steps=2)
            controlled, record = patched(model=model, targets=targets)
            sample(controlled, positive=positive, negative=positive, steps=2)
            before = len(seen)
            vae.encode(vae.decode(latent))
            assert len(seen) > before
        assert record.updates and set(seen) == {1}


def test_the_small_clip_takes_one_thread():
    with threads(3), torch.inference_mode():
        clip, vision = load_demo_clip()
        with seen_in(vision.model, clip.cond_stage_model.clip_l.transformer) as seen:
            vision.encode_image(torch.zeros(1, 64, 64, 3))
            clip.encode_from_tokens(clip.tokenize("a red ball"))
            ClipScorer(clip, vision).texts(["a red ball"])
        assert len(seen) == 3 and set(seen) == {1}


def test_threads_come_back_after_an_error_and_when_cancelled():
    model = LOADERS["sd1"]()[0]
    conditioning, calls = encoded("sd1")[0], []

    def stop(module, args):
        calls.append(module)
        if len(calls) == 2:
            comfy.model_management.interrupt_current_processing()

    handle = model.model.diffusion_model.register_forward_pre_hook(stop)
    with threads(3), pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(model, positive=conditioning)
    handle.remove()
    with threads(3), pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError


def test_an_artists_own_model_keeps_its_threads():
    """A model that the host loaded, beside the pack's and after them."""
    import comfy.model_patcher

    small = LOADERS["sd1"]()[0]
    theirs = comfy.model_patcher.ModelPatcher(small.model, small.load_device, small.offload_device)
    with threads(3), seen_in(small.model.diffusion_model) as seen:
        sample(small, steps=1)
        sample(theirs, steps=2)
        sample(patched(model=theirs)[0], steps=1)
    assert seen[0] == 1 and len(seen) > 2 and set(seen[1:]) == {3}


def test_on_a_graphics_card_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(comfy.model_management, "cpu_mode", lambda: False)
    with threads(3), one_thread():
        assert torch.get_num_threads() == 3
