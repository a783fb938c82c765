"""What cannot work says so in the artist's words, before anything is computed, and leaves nothing behind."""

import comfy.patcher_extension
import comfy.samplers
import node_helpers
import pytest
import torch
from hostkit import encoded, fingerprint, models, patched, sample
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.prompt.targets import Targets
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.networks.rows import KEY
from prompt_fidelity.host.sampling.install import attach


@pytest.fixture
def untouched():
    """The model is the same after the test, and not one network call was made."""
    model, calls = models("sd1")[0], []
    before = fingerprint(model)
    handle = model.model.diffusion_model.register_forward_pre_hook(lambda module, args: calls.append(module))
    yield model
    handle.remove()
    assert not calls and fingerprint(model) == before


class NoCrossAttention:
    """A model patcher as far as attach looks: its network is an ordinary transformer."""

    class model:  # noqa: N801
        diffusion_model = torch.nn.TransformerEncoderLayer(8, 2)


def test_a_model_without_cross_attention_is_named():
    with pytest.raises(HostError, match="(?s)not known.*TransformerEncoderLayer.*Stable Diffusion 1.x"):
        attach(NoCrossAttention, METHODS["t_sam"](), encoded("sd1")[1])


def test_a_prompt_from_elsewhere(untouched):
    controlled, _ = patched()
    plain = node_helpers.conditioning_set_values(encoded("sd1")[0], {KEY: None})
    for positive in (plain, encoded("sd1", "a dog and a cat")[0]):
        with pytest.raises(HostError, match="Extract Targets"):
            sample(controlled, positive=positive)


def test_a_shortened_prompt(untouched):
    long = ", ".join(["a black car and a white clock in front of an old brick house"] * 6)
    (tensor, values), targets = encoded("sd1", long)[0][0], encoded("sd1", long)[1]
    controlled, _ = patched(targets=targets)
    with pytest.raises(HostError, match="shortened"):
        sample(controlled, positive=[[tensor[:, :77], values]])


def test_a_window_that_ends_before_it_starts(untouched):
    with pytest.raises(HostError, match="start_percent"):
        patched(start=0.6, end=0.4)


def test_a_resolution_that_the_model_has_not(untouched):
    settings = type(METHODS["t_sam"]().settings)(resolution="1/8")
    with torch.inference_mode():
        controlled, _ = attach(untouched, METHODS["t_sam"](settings), encoded("sd1")[1])
    with pytest.raises(MethodError, match="1/8"):
        sample(controlled)


def test_a_sampler_object_that_is_no_ksampler(untouched):
    class Other(comfy.samplers.Sampler):
        pass

    controlled, _ = patched()
    with pytest.raises(HostError, match="Other.*euler"), torch.inference_mode():
        guider = comfy.samplers.CFGGuider(controlled)
        guider.set_conds(encoded("sd1")[0], encoded("sd1", "")[0])
        noise = torch.zeros(1, 4, 16, 16)
        guider.sample(noise, noise, Other(), torch.tensor([14.0, 0.0]), seed=0)


def test_one_object_is_a_warning_not_an_error():
    conditioning, targets = encoded("sd1", "a black car")
    controlled, record = patched(targets=targets)
    assert any('"car"' in warning for warning in record.warnings)
    sample(controlled, positive=conditioning)
    assert record.updates > 0


def test_a_gradient_that_is_not_finite_skips_the_update_and_is_reported(monkeypatch):
    chosen = METHODS["t_sam"]
    real = chosen.loss

    def broken(self, maps, targets):
        losses = real(self, maps, targets)
        return type(losses)(losses.per_image * torch.nan, losses.per_target, losses.names)

    monkeypatch.setattr(chosen, "loss", broken)
    controlled, record = patched(method="t_sam")
    drawn = sample(controlled)
    monkeypatch.undo()
    assert torch.equal(drawn, sample(models("sd1")[0]))
    assert all("not a finite number" in reason for entry in record.steps for reason in entry.skipped) and record.steps


def test_a_network_that_was_skipped_is_reported():
    """A pack may answer from memory without saying that it is a cache: no map arrives."""

    def from_memory(executor, model, conds, x_in, timestep, model_options):
        return [torch.zeros_like(x_in) for _ in conds]

    model = models("sd1")[0].clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, "memory", from_memory)
    with torch.inference_mode():
        controlled, record = attach(model, METHODS["t_sam"](), encoded("sd1")[1])
    sample(controlled)
    assert record.updates == 0 and any(
        "no attention map" in reason for entry in record.steps for reason in entry.skipped
    )


def test_maps_of_other_targets_cannot_be_shown():
    controlled, record = patched()
    with pytest.raises(MethodError, match="not drawn a picture yet"):
        record.maps.shown(encoded("sd1")[1])
    sample(controlled)
    names, maps = record.maps.shown(encoded("sd1")[1])
    assert names == ("car", "clock") and maps.shape[:2] == (1, 2)
    other: Targets = encoded("sd1", "a red ball")[1]
    with pytest.raises(MethodError, match="car.*clock"):
        record.maps.shown(other)
