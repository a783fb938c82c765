"""Gradients of a model that does not fit onto the card: the very bits of those where it does."""

import comfy.hooks
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import node_helpers
import pytest
import torch
from hostkit import ONE_A_STEP, encoded, fingerprint, models, noise, patched, sample
from prompt_fidelity.host.models.random_models import load_random_model
from prompt_fidelity.host.sampling import gradient_pass
from streaming import FETCHES, resident, stream_weights
from test_other_packs import small_controlnet


@pytest.fixture(autouse=True)
def unloaded():
    """Every test begins and ends with nothing on the device."""
    comfy.model_management.unload_all_models()
    yield
    comfy.model_management.unload_all_models()


def draw(family, model=None, **options):
    """(latent, losses before each update) of a short run with an update in every second step."""
    controlled, record = patched(family, model=model, settings=ONE_A_STEP, strength=0.05)
    drawn = sample(controlled, family, **options)
    assert record.updates == 3
    return drawn, torch.stack([step.totals[0] for step in record.steps])


def with_resident_weights(monkeypatch, *args, **options):
    with monkeypatch.context() as patch:
        patch.setattr(gradient_pass, "differentiable", resident)
        drawn = draw(*args, **options)
    comfy.model_management.unload_all_models()
    return drawn


def with_streamed_weights(monkeypatch, kind, *args, **options):
    with monkeypatch.context() as patch:
        buffers = stream_weights(patch, kind)
        drawn = draw(*args, **options)
        assert buffers.fetches > 100
        comfy.model_management.unload_all_models()
    return drawn


def same(first, second) -> bool:
    return all(torch.isfinite(one).all() and torch.equal(one, other) for one, other in zip(first, second, strict=True))


# Both ways of fetching on one network; on the others, whose layers are of the same sorts, one each.
@pytest.mark.parametrize(
    ("family", "kind"),
    [("sd1", FETCHES[0]), ("sd1", FETCHES[1]), ("sd2", FETCHES[0]), ("sdxl", FETCHES[1])],
)
def test_streamed_weights_give_the_resident_gradient_bit_for_bit(monkeypatch, family, kind):
    before = fingerprint(models(family)[0])
    reference = with_resident_weights(monkeypatch, family)
    assert same(with_streamed_weights(monkeypatch, kind, family), reference)
    assert fingerprint(models(family)[0]) == before


def with_lora(model):
    """A LoRA of the host's own kind on a layer of each sort: where weights are streamed, it is patched on the fly."""
    weights = dict(model.model.named_parameters())
    keys = [
        "diffusion_model.output_blocks.3.1.transformer_blocks.0.attn2.to_q.weight",
        "diffusion_model.input_blocks.1.0.in_layers.2.weight",
        "diffusion_model.input_blocks.1.0.in_layers.0.bias",
    ]
    return {key: ("diff", (0.3 * noise(*weights[key].shape, seed=seed),)) for seed, key in enumerate(keys)}


@pytest.mark.parametrize("kind", FETCHES)
def test_a_lora_that_is_patched_on_the_fly(monkeypatch, kind):
    with torch.inference_mode():
        model = models("sd1")[0].clone()
        model.add_patches(with_lora(model), 0.5)
    reference = with_resident_weights(monkeypatch, "sd1", model)
    assert same(with_streamed_weights(monkeypatch, kind, "sd1", model), reference)
    assert not same(with_resident_weights(monkeypatch, "sd1"), reference)


@pytest.mark.parametrize("kind", FETCHES)
def test_a_lora_by_a_hook_of_the_prompt(monkeypatch, kind):
    with torch.inference_mode():
        model = models("sd1")[0].clone()
        hook = comfy.hooks.WeightHook(strength_model=0.5)
        hook.weights = with_lora(model)
        hook.need_weight_init = False
        hooks = comfy.hooks.HookGroup()
        hooks.add(hook)
        model.register_all_hook_patches(hooks, comfy.hooks.create_target_dict(comfy.hooks.EnumWeightTarget.Model))
        positive = node_helpers.conditioning_set_values(encoded("sd1")[0], {"hooks": hooks})
    reference = with_resident_weights(monkeypatch, "sd1", model, positive=positive)
    assert same(with_streamed_weights(monkeypatch, kind, "sd1", model, positive=positive), reference)
    assert not same(with_resident_weights(monkeypatch, "sd1"), reference)


def test_a_controlnet_beside_it(monkeypatch):
    with torch.inference_mode():
        positive = node_helpers.conditioning_set_values(
            encoded("sd1")[0], {"control": small_controlnet(), "control_apply_to_uncond": True}
        )
    reference = with_resident_weights(monkeypatch, "sd1", positive=positive)
    assert same(with_streamed_weights(monkeypatch, FETCHES[0], "sd1", positive=positive), reference)
    assert not same(with_resident_weights(monkeypatch, "sd1"), reference)


@pytest.mark.parametrize("storage", [torch.float8_e4m3fn, torch.bfloat16])
def test_weights_stored_in_fewer_bits_than_they_are_used_in(monkeypatch, storage):
    """As --fp8_e4m3fn-unet does: the host converts each weight as it comes."""
    with torch.inference_mode():
        model = load_random_model("sd1")[0]
        for module in model.model.modules():
            if hasattr(module, "comfy_cast_weights") and module.weight is not None:
                module.comfy_cast_weights = True
                module.weight.data = module.weight.data.to(storage)
    reference = with_resident_weights(monkeypatch, "sd1", model)
    for kind in FETCHES:
        assert same(with_streamed_weights(monkeypatch, kind, "sd1", model), reference)


def test_nothing_of_a_pass_stays_on_the_model(monkeypatch):
    """After success, after an error and after an interruption."""
    network = models("sd1")[0].model
    before = [dict(vars(module)) for module in network.modules()]

    def left() -> list[str]:
        now = [vars(module) for module in network.modules()]
        return [
            name for was, has in zip(before, now, strict=True) for name in has if "forward" in name and name not in was
        ]

    draw("sd1")
    assert left() == []

    def failing(h, options):
        if h.requires_grad:
            assert left(), "the gradient pass is under way"
            raise error
        return h

    for error in (ZeroDivisionError(), comfy.model_management.InterruptProcessingException()):
        broken = models("sd1")[0].clone()
        broken.set_model_output_block_patch(lambda h, hsp, options: (failing(h, options), hsp))
        with pytest.raises(type(error)):
            draw("sd1", broken)
        assert left() == [] and torch.overrides._get_current_function_mode() is None


def quantised(model, full_precision: bool):
    """The network's linear layers as the host's own quantised ones (fp8 with a scale)."""
    operations = comfy.ops.mixed_precision_ops({}, torch.float32, full_precision_mm=full_precision)
    for parent in list(model.model.diffusion_model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, torch.nn.Linear):
                scale = layer.weight.abs().max() / 448.0
                stored = {
                    "weight": (layer.weight / scale).to(torch.float8_e4m3fn),
                    "weight_scale": scale,
                    "comfy_quant": torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8),
                }
                stored |= {"bias": layer.bias.data} if layer.bias is not None else {}
                there = operations.Linear(layer.in_features, layer.out_features, layer.bias is not None)
                there.load_state_dict(stored)
                setattr(parent, name, there)
    return model


@pytest.mark.parametrize("full_precision", [True, False])
def test_quantised_weights_are_those_of_their_plain_copy(full_precision):
    with torch.inference_mode():
        plain, stored = load_random_model("sd1")[0], load_random_model("sd1")[0]
        quantised(stored, full_precision)
        weights = dict(stored.model.named_modules())
        for name, layer in plain.model.named_modules():
            if hasattr(weights[name], "quant_format"):
                layer.weight.data = weights[name].weight.dequantize()
    (picture, losses), (reference, expected) = draw("sd1", stored), draw("sd1", plain)
    if full_precision:
        assert torch.equal(picture, reference) and torch.equal(losses, expected)
    else:  # the host rounds what goes into a layer too, outside of gradient passes
        torch.testing.assert_close(losses[0], expected[0])
        assert torch.isfinite(picture).all()
        cosine = torch.nn.functional.cosine_similarity(picture.flatten(), reference.flatten(), dim=0)
        assert cosine > 0.99, cosine
