"""Other packs copy what lies near our objects, deeply too, or write it to a file: nothing breaks, nothing heavy is
copied, and what comes back still works.
"""

import copy
import io
import pickle
import subprocess
import sys
from dataclasses import replace

import comfy.samplers
import pytest
import torch
from hostkit import encoded, models, patched, sample
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.networks.rows import KEY
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.text import encode_with_targets


def copies_options(model):
    """As Pre CFG PAG does: it deep-copies the options of every call and makes one more pass with the copy."""
    other = model.clone()

    def before_guidance(args):
        options = copy.deepcopy(args["model_options"])
        comfy.samplers.calc_cond_batch(args["model"], [args["conds"][0]], args["input"], args["timestep"], options)
        return args["conds_out"]

    other.set_model_sampler_pre_cfg_function(before_guidance)
    return other


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_options_of_a_call_may_be_copied_deeply(method, strength):
    alone, _ = patched(method=method, strength=strength)
    beside, record = patched(method=method, strength=strength, model=copies_options(models("sd1")[0]))
    assert torch.equal(sample(beside), sample(alone))
    assert record.maps.steps == 6


@pytest.mark.parametrize("method", METHODS)
def test_a_patched_model_whose_options_were_copied_deeply_draws_the_same(method):
    controlled, _ = patched(method=method)
    copied = controlled.clone()
    copied.model_options = copy.deepcopy(controlled.model_options)
    assert torch.equal(sample(copied), sample(controlled))


def fresh():
    with torch.inference_mode():
        return encode_with_targets(models("sd1")[1], "a red ball and a blue ring")


def reaches(thing, wanted: type) -> bool:
    """Whether a deep copy of `thing` asks any object of the type `wanted` for a copy."""
    asked = []
    deep, wanted.__deepcopy__ = getattr(wanted, "__deepcopy__", None), lambda self, memo: asked.append(self) or self
    try:
        copy.deepcopy(thing)
    finally:
        del wanted.__deepcopy__
        if deep is not None:
            wanted.__deepcopy__ = deep
    return bool(asked)


def test_a_copy_of_a_conditioning_or_of_targets_does_not_copy_the_text_encoder():
    conditioning, targets = fresh()
    clip = type(models("sd1")[1])
    assert reaches([models("sd1")[1]], clip)
    assert not reaches(conditioning, clip) and not reaches(targets, clip)
    assert copy.deepcopy(targets).encode is targets.encode


@pytest.mark.parametrize(
    "through",
    [
        copy.deepcopy,
        lambda thing: pickle.loads(pickle.dumps(thing)),
        lambda thing: torch.load(saved(thing), weights_only=True),
    ],
    ids=["deepcopy", "pickle", "torch.save"],
)
@pytest.mark.parametrize("method", ["attend_and_excite", "space_time"])
def test_a_conditioning_that_was_copied_or_saved_is_still_known(through, method):
    conditioning, targets = fresh()
    again = through(conditioning)
    controlled, record = patched(method=method, targets=targets)
    assert torch.equal(sample(controlled, positive=again), sample(controlled, positive=conditioning))
    assert record.acted


def saved(thing) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return file


def test_a_conditioning_can_be_read_where_the_pack_is_not():
    """What it carries is plain text: another process needs nothing of ours to read it."""
    conditioning, targets = fresh()
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer))"
    read = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(conditioning[0][1][KEY]), capture_output=True, check=True
    )
    assert read.stdout.decode().strip() == targets.handle


def test_targets_that_come_out_of_a_file_work_where_no_encoder_is_needed_and_say_so_where_one_is():
    conditioning, targets = fresh()
    read = pickle.loads(pickle.dumps(targets))
    assert read.encode is None and replace(read, text_attention=None) == replace(targets, text_attention=None)
    controlled, record = patched(targets=read)
    sample(controlled, positive=conditioning)
    assert record.updates > 0
    with pytest.raises(HostError, match="no text encoder.*Extract Targets"):
        attach(models("sd1")[0], METHODS["space_time"](), read)


def test_a_conditioning_of_another_prompt_is_not_taken_for_it():
    other = fresh()[0]
    controlled, _ = patched(targets=encoded("sd1")[1])
    with pytest.raises(HostError, match="does not come from the Extract Targets node"):
        sample(controlled, positive=other)
