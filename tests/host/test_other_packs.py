"""Life beside other nodes: their patches keep working, ours sees through them."""

import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_management
import comfy.ops
import node_helpers
import torch
from comfy.ldm.modules.attention import optimized_attention
from hostkit import ONE_A_STEP, encoded, models, noise, patched, sample
from prompt_fidelity.host.models.random_models import TinySD1, random_weights

import nodes as host_nodes


def attached(model, method="attend_and_excite"):
    # Small steps, since a random network's loss is steep.
    return patched(method=method, model=model, settings=ONE_A_STEP, strength=0.05)


def test_a_replacement_of_cross_attention_is_kept_and_seen_through():
    """As IP-Adapter does: it takes a layer's place and does not pass the host's options on."""
    calls = []

    def adapter(q, k, v, extra_options):
        calls.append(extra_options["block"])
        return optimized_attention(q, k, v, extra_options["n_heads"])

    with_adapter = models("sd1")[0].clone()
    for number in (3, 4, 5):
        with_adapter.set_model_attn2_replace(adapter, "output", number)
    controlled, record = attached(with_adapter)
    drawn = sample(controlled)
    assert calls and record.updates > 0
    torch.testing.assert_close(drawn, sample(attached(models("sd1")[0])[0]), rtol=1e-3, atol=1e-2)


def test_an_attention_override_of_another_pack_is_chained():
    calls = []

    def override(func, q, k, v, heads, *args, **kwargs):
        calls.append(k.shape[1])
        return func(q, k, v, heads, *args, **kwargs)

    overridden = models("sd1")[0].clone()
    overridden.model_options["transformer_options"]["optimized_attention_override"] = override
    controlled, record = attached(overridden)
    sample(controlled)
    assert 77 in calls and record.updates > 0


def test_a_kernel_without_a_backward_pass_is_not_asked_for_one():
    """Sage and flash attention have no gradient. The host hands the artist's kernel to the override as `func`."""

    class NoBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v, heads):
            return optimized_attention(q, k, v, heads)

        @staticmethod
        def backward(ctx, *gradients):
            raise AssertionError("backward through the artist's kernel")

    def kernel(func, q, k, v, heads, *args, **kwargs):
        if func.__name__ == "attention_pytorch" and torch.is_grad_enabled():
            return func(q, k, v, heads, *args, **kwargs)
        return NoBackward.apply(q, k, v, heads)

    overridden = models("sd1")[0].clone()
    overridden.model_options["transformer_options"]["optimized_attention_override"] = kernel
    controlled, record = attached(overridden)
    sample(controlled)
    assert record.updates > 0


def test_a_lora_takes_part_in_the_gradient():
    model = models("sd1")[0]
    key = "diffusion_model.output_blocks.3.1.transformer_blocks.0.attn2.to_q.weight"
    shape = dict(model.model.named_parameters())[key].shape
    with torch.inference_mode():
        with_lora = model.clone()
        with_lora.add_patches({key: ("diff", (noise(*shape),))}, 0.5)
        before = {name: weight.clone() for name, weight in model.model.named_parameters()}
        loras, _ = attached(with_lora)
        drawn, plain = sample(loras), sample(attached(model)[0])
        model.model.to("cpu")
    assert not torch.equal(drawn, plain)
    assert all(torch.equal(weight, before[name]) for name, weight in model.model.named_parameters())


def test_the_conditioning_may_pass_through_other_nodes():
    """Combined with another prompt, limited to a part of the steps, set to an area: the words are still found."""
    positive, targets = encoded("sd1")
    other = encoded("sd1", "a photo")[0]
    combined = positive + other
    ranged = node_helpers.conditioning_set_values(positive, {"start_percent": 0.0, "end_percent": 0.9})
    area = host_nodes.ConditioningSetArea().append(positive, 64, 128, 64, 0, 1.0)[0]
    concatenated = host_nodes.ConditioningConcat().concat(positive, other)[0]
    for conditioning in (combined, ranged, area + other, concatenated):
        controlled, record = attached(models("sd1")[0])
        assert torch.isfinite(sample(controlled, positive=conditioning)).all()
        assert record.updates == 3


def test_two_methods_can_be_chained():
    once, first = attached(models("sd1")[0])
    twice, second = attached(once, "t_sam")
    sample(twice)
    assert first.updates > 0 and second.updates > 0


def small_controlnet():
    """A ControlNet of the tiny SD1 model's shape with random weights, made by the host's own class."""
    config = {
        name: value
        for name, value in TinySD1.unet_config.items()
        if name not in ("out_channels", "use_temporal_attention")
    }
    network = comfy.cldm.cldm.ControlNet(
        **config, hint_channels=3, num_heads=2, dtype=torch.float32, operations=comfy.ops.manual_cast
    )
    network.load_state_dict(random_weights(network, 7))
    control = comfy.controlnet.ControlNet(network, load_device=comfy.model_management.get_torch_device())
    return control.set_cond_hint(
        torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)), 0.5, (0.0, 1.0)
    )


def test_a_controlnet_guides_the_gradient_pass_too():
    """Its guidance is in force there but held fixed: no gradient goes through it."""
    positive, targets = encoded("sd1")
    with torch.inference_mode():
        control = small_controlnet()
        conditioning = node_helpers.conditioning_set_values(
            positive, {"control": control, "control_apply_to_uncond": True}
        )
    calls = []
    handle = control.control_model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(torch.is_grad_enabled()), with_kwargs=True
    )
    controlled, record = attached(models("sd1")[0])
    drawn = sample(controlled, positive=conditioning)
    handle.remove()
    assert len(calls) == 6 + 3 and not any(calls)  # six steps, both rows at once, and three updates
    assert record.updates == 3 and float(record.steps[0].total_after) < float(record.steps[0].totals[0])
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, sample(controlled))
