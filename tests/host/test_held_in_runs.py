"""What a run must keep to while gradients are taken: seen from outside, at the network, in real sampling."""

import comfy.controlnet
import comfy.model_management
import node_helpers
import pytest
import torch
from hostkit import FAMILIES, ONE_A_STEP, encoded, models, patched, sample
from prompt_fidelity.core.methods import METHODS

import nodes as host_nodes

every_family = pytest.mark.parametrize("family", FAMILIES)


class Watch:
    """Every call of a network while it is in force: whether its latent wants a gradient, its rows, and whose they are
    (0 for the positive prompt's, 1 for the negative's).
    """

    def __init__(self, family: str):
        self.network = models(family)[0].model.diffusion_model
        self.calls: list[tuple[bool, int, list[int]]] = []
        self.ends: list[bool] = []  # of the calls that reached the network's last layer: the same as the first
        self._handles = []

    def __enter__(self):
        self._handles = [
            self.network.register_forward_pre_hook(self._called, with_kwargs=True),
            self.network.out.register_forward_pre_hook(lambda module, args: self.ends.append(args[0].requires_grad)),
        ]
        return self

    def __exit__(self, *error):
        for handle in self._handles:
            handle.remove()

    def _called(self, module, args, kwargs):
        options = kwargs.get("transformer_options") or args[-1]
        self.calls.append((args[0].requires_grad, args[0].shape[0], list(options["cond_or_uncond"])))

    @property
    def for_gradients(self):
        return [call for call in self.calls if call[0]]


@every_family
def test_a_gradient_pass_ends_before_the_network_does(family):
    controlled, record = patched(family, settings=ONE_A_STEP)
    with Watch(family) as watch:
        sample(controlled, family)
    assert record.updates == len(watch.for_gradients) > 0
    assert watch.ends and not any(watch.ends)


@every_family
@pytest.mark.parametrize("batch", [1, 2])
def test_a_gradient_pass_runs_no_row_of_the_negative(family, batch):
    """Nor of a negative that comes from the same Extract Targets node."""
    for negative in (encoded(family, "")[0], encoded(family)[0]):
        controlled, record = patched(family, settings=ONE_A_STEP)
        with Watch(family) as watch:
            sample(controlled, family, size=(batch, 4, 16, 16), negative=negative)
        assert record.updates > 0
        assert {call[1:2] + (tuple(call[2]),) for call in watch.for_gradients} == {(batch, (0,))}
        assert any(1 in kinds for _, _, kinds in watch.calls), "the run itself has the negative"


def test_a_prompt_that_is_not_in_force_is_not_looked_for_in_the_negative():
    """The prompt begins late; until then only the negative holds its words."""
    positive, _ = encoded("sd1")
    late = node_helpers.conditioning_set_values(positive, {"start_percent": 0.7, "end_percent": 1.0})
    controlled, record = patched(settings=ONE_A_STEP)
    with Watch("sd1") as watch:
        sample(controlled, positive=late + encoded("sd1", "a photo")[0], negative=positive)
    assert record.updates == 0 and record.steps and not watch.for_gradients
    assert record.maps.steps < 6, "the maps are the positive's, while it is in force"


def predictions(model, **more) -> list[dict]:
    """What the host's guidance is made of, at every step."""
    seen = []
    watched = model.clone()
    watched.set_model_sampler_post_cfg_function(lambda args: seen.append(dict(args)) or args["denoised"])
    sample(watched, steps=2, **more)
    return seen


@pytest.mark.parametrize("method", ["attention_regulation", "space_time"])
@pytest.mark.parametrize("where", ["everywhere", "area", "two areas", "same prompt"])
def test_only_the_positives_rows_are_changed(method, where):
    """For a prompt in an area the host copies its entry, mark and all, into the negatives."""
    positive, _ = encoded("sd1")
    negative = encoded("sd1", "")[0]
    setter = host_nodes.ConditioningSetArea()
    if where == "area":
        positive = setter.append(positive, 96, 128, 0, 0, 1.0)[0] + encoded("sd1", "a photo")[0]
    elif where == "two areas":
        positive = setter.append(positive, 64, 128, 0, 0, 1.0)[0] + setter.append(positive, 64, 128, 64, 0, 1.0)[0]
    elif where == "same prompt":
        negative = encoded("sd1")[0]
    with torch.inference_mode():
        controlled, record = patched(method=method)
    plain, changed = (
        predictions(model, positive=positive, negative=negative)[0] for model in (models("sd1")[0], controlled)
    )
    assert torch.equal(plain["input"], changed["input"])
    assert torch.equal(plain["uncond_denoised"], changed["uncond_denoised"])
    assert not torch.equal(plain["cond_denoised"], changed["cond_denoised"]) and record.acted


@pytest.mark.parametrize("end", ["well", "cancelled", "failed"])
def test_every_weight_and_buffer_is_the_one_it_was(end):
    """The very object: an alias left behind would be one that the host does not know."""
    network = models("sd1")[0].model
    before = dict(network.named_parameters()) | dict(network.named_buffers())
    assert any(buffer.is_inference() for buffer in network.buffers()), "there is a buffer to lend"
    calls = []

    def disturb(module, args):
        calls.append(module)
        if len(calls) == 2 and end == "cancelled":
            comfy.model_management.interrupt_current_processing()
        if len(calls) == 2 and end == "failed":
            raise ZeroDivisionError

    handle = network.diffusion_model.register_forward_pre_hook(disturb)
    try:
        sample(patched(settings=ONE_A_STEP)[0])
    except (ZeroDivisionError, comfy.model_management.InterruptProcessingException):
        assert end != "well"
    finally:
        handle.remove()
    after = dict(network.named_parameters()) | dict(network.named_buffers())
    assert len(calls) > 1 and after.keys() == before.keys()
    assert [name for name in before if after[name] is not before[name]] == []


@pytest.mark.parametrize("update", [1, 3])
def test_cancel_is_looked_at_between_updates(monkeypatch, update):
    """Pressed while a loss is computed: not one more call of the network begins."""
    chosen, losses = METHODS["attend_and_excite"], []
    real = chosen.loss

    def loss(self, maps, targets):
        losses.append(len(watch.calls))
        if len(losses) == update:
            comfy.model_management.interrupt_current_processing()
        return real(self, maps, targets)

    monkeypatch.setattr(chosen, "loss", loss)
    controlled, record = patched(strength=0.05, settings={"refine_steps": 5, "refine_at": (0.0,)})
    with Watch("sd1") as watch, pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(controlled)
    assert len(losses) == update and len(watch.calls) == losses[-1] and record.interrupted


class Guidance(comfy.controlnet.ControlBase):
    """A ControlNet as far as the host looks: its guidance depends on the latent, at every place of the network."""

    def __init__(self):
        super().__init__()
        self.asked: list[tuple[bool, bool]] = []

    def get_control(self, x_noisy, *args, **kwargs):
        self.asked.append((torch.is_grad_enabled(), x_noisy.requires_grad))
        return {"middle": [0.3 * x_noisy.mean(dim=(1, 2, 3), keepdim=True)], "input": [], "output": []}

    def copy(self):
        return self


def test_a_controlnets_guidance_is_held_fixed_while_the_gradient_is_taken():
    positive, _ = encoded("sd1")
    control = Guidance()
    guided = node_helpers.conditioning_set_values(positive, {"control": control, "control_apply_to_uncond": True})
    controlled, record = patched(strength=0.05, settings=ONE_A_STEP)
    with Watch("sd1") as watch:
        drawn = sample(controlled, positive=guided)
    assert record.updates == len(watch.for_gradients) > 0
    assert len(control.asked) == len(watch.calls), "it guides every call, those for gradients too"
    assert set(control.asked) == {(False, False)}
    assert not torch.equal(drawn, sample(controlled))
