"""Gradient passes beside the host's own caches, adapters and patches, and beside what other packs' do."""

import functools

import comfy.patcher_extension
import comfy.sd
import pytest
import torch
from comfy_extras import nodes_easycache, nodes_freelunch
from hostkit import FAMILIES, ONE_A_STEP, models, noise, patched, sample
from prompt_fidelity.core.methods.base import ACTS_ON, PREDICTION
from prompt_fidelity.host.errors import HostError

WRAPPERS = comfy.patcher_extension.WrappersMP


def attached(model, family="sd1", strength=0.05):
    return patched(family, "attend_and_excite", model=model, settings=ONE_A_STEP, strength=strength)


def cached(name: str, threshold: float, family="sd1"):
    node = getattr(nodes_easycache, name)
    with torch.inference_mode():
        return node.execute(models(family)[0], threshold, 0.15, 0.95, False).result[0]


@functools.cache
def drawn_alone(family="sd1", steps=6) -> torch.Tensor:
    return sample(attached(models(family)[0], family)[0], family, steps=steps)


# Each cache on each of two networks in one of these two tests: how a network is called does not depend on which it is.
@pytest.mark.parametrize(("name", "family"), [("EasyCacheNode", "sd1"), ("LazyCacheNode", "sdxl")])
def test_a_cache_neither_answers_a_gradient_pass_nor_learns_from_it(family, name):
    """With a threshold at which it never answers, the picture is the one without it; at its defaults it is drawn."""
    controlled, record = attached(cached(name, 0.0, family), family)
    assert torch.equal(sample(controlled, family, steps=8), drawn_alone(family, 8))
    assert record.updates == 4
    controlled, record = attached(cached(name, 0.2, family), family)
    assert torch.isfinite(sample(controlled, family, steps=10)).all()
    assert record.updates == 5


@pytest.mark.parametrize(("name", "family"), [("EasyCacheNode", "sdxl"), ("LazyCacheNode", "sd1")])
def test_a_cache_beside_a_step_that_gives_the_gradient_itself(family, name):
    """The pass is the step's own, so the cache belongs to it: where it answers, there is no map and no correction."""
    guided = {**ONE_A_STEP, "acts_on": PREDICTION}
    alone = sample(patched(family, "attend_and_excite", settings=guided)[0], family, steps=8)
    never, record = patched(family, "attend_and_excite", model=cached(name, 0.0, family), settings=guided)
    assert torch.equal(sample(never, family, steps=8), alone)
    assert record.updates == 4
    often, record = patched(family, "attend_and_excite", model=cached(name, 0.2, family), settings=guided)
    assert torch.isfinite(sample(often, family, steps=10)).all()
    assert record.updates > 0 and len(record.steps) == 5


@pytest.mark.parametrize("kind", [WRAPPERS.PREDICT_NOISE, WRAPPERS.CALC_COND_BATCH, WRAPPERS.DIFFUSION_MODEL])
def test_a_cache_of_another_pack_is_left_out_too_and_comes_back(kind):
    calls = []

    def cache(executor, *args, **kwargs):
        calls.append(torch.is_inference_mode_enabled())
        return executor(*args, **kwargs)

    model = models("sd1")[0].clone()
    for key in ("first", "TheirCache", "last"):
        model.add_wrapper_with_key(kind, key, cache)
    controlled, record = attached(model)
    sample(controlled)
    assert record.updates == 3
    # The two others see each gradient pass, the cache sees none; all three see each step.
    assert calls.count(True) == 3 * 6 and calls.count(False) == (2 * 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_in_bypass_mode_acts_as_the_plain_one(family):
    """It adds to a layer's output from weights of its own, which lie in inference mode."""
    layers = {
        "output_blocks.2.1.transformer_blocks.0.attn2.to_q": models(family)[0]
        .model.diffusion_model.output_blocks[2][1]
        .transformer_blocks[0]
        .attn2.to_q,
        "input_blocks.1.0.in_layers.2": models(family)[0].model.diffusion_model.input_blocks[1][0].in_layers[2],
    }
    with torch.inference_mode():
        lora = {}
        for key, layer in layers.items():
            out, into = layer.weight.shape[:2]
            rest = layer.weight.shape[2:]
            lora[f"diffusion_model.{key}.lora_up.weight"] = 0.2 * noise(out, 4, *[1] * len(rest), seed=1)
            lora[f"diffusion_model.{key}.lora_down.weight"] = 0.2 * noise(4, into, *rest, seed=2)
        plain = comfy.sd.load_lora_for_models(models(family)[0], None, dict(lora), 1.0, 0.0)[0]
        bypass = comfy.sd.load_bypass_lora_for_models(models(family)[0], None, dict(lora), 1.0, 0.0)[0]
    expected = sample(attached(plain, family)[0], family)
    controlled, record = attached(bypass, family)
    drawn = sample(controlled, family)
    assert record.updates == 3 and not torch.allclose(expected, drawn_alone(family), atol=1e-2)
    assert (drawn - expected).norm() < 1e-3 * expected.norm()  # the rounding differs, and a random network is steep


def out_of_place(patch):
    """FreeU's patch on a copy: without writes into what it gets."""
    return lambda h, hsp, options: patch(h.clone(), hsp.clone(), options)


# Both write in the same way and place; the places differ between the families.
@pytest.mark.parametrize(("name", "family"), [*(("FreeU_V2", family) for family in FAMILIES), ("FreeU", "sd1")])
def test_writes_into_the_networks_features_change_no_bit(family, name):
    with torch.inference_mode():
        model = getattr(nodes_freelunch, name).execute(models(family)[0], 1.3, 1.4, 0.9, 0.2).result[0]
    clean = models(family)[0].clone()
    for patch in model.model_options["transformer_options"]["patches"]["output_block_patch"]:
        clean.set_model_output_block_patch(out_of_place(patch))
    controlled, record = attached(model, family)
    drawn = sample(controlled, family)
    assert record.updates == 3 and torch.equal(drawn, sample(attached(clean, family)[0], family))
    assert not torch.equal(drawn, drawn_alone(family))


@pytest.mark.parametrize(
    "write",
    [
        lambda n: n.mul_(1.1),
        lambda n: torch.nn.functional.relu(n, inplace=True),
        lambda n: torch.clamp(n, -2, 2, out=n),
        lambda n: n.__setitem__((slice(None), slice(0, 3)), 0.0),
    ],
)
def test_writes_of_attention_patches(write):
    """After every attention, into tensors that the next layer, or the layer before, has kept."""

    def in_place(n, options):
        write(n)
        return n

    drawn = []
    for copies in (False, True):
        model = models("sd1")[0].clone()
        for add in (model.set_model_attn1_output_patch, model.set_model_attn2_output_patch):
            add((lambda n, options: in_place(n.clone(), options)) if copies else in_place)
        controlled, record = attached(model)
        drawn.append(sample(controlled))
        assert record.updates == 3
    assert torch.equal(*drawn)


def test_a_write_that_no_gradient_can_follow_is_explained():
    def patch(n, options):
        first, second = n.chunk(2, dim=-1)
        first.mul_(1.1)
        return n

    model = models("sd1")[0].clone()
    model.set_model_attn1_output_patch(patch)
    controlled, _ = attached(model)
    with pytest.raises(HostError, match="writes over the network's numbers.*Bypass that node.*Attention Regulation"):
        sample(controlled)


@pytest.mark.parametrize("method", ["attend_and_excite", "t_sam"])
def test_a_neighbour_gets_the_random_numbers_that_it_gets_without_us(method):
    """As token merging and reference images do, it draws in every pass. Updates of size 0 leave the picture alone."""

    def noisy(n, options):
        return n + 0.1 * torch.randn_like(n)

    model = models("sd1")[0].clone()
    model.set_model_attn1_output_patch(noisy)
    torch.manual_seed(5)
    plain = sample(model)
    torch.manual_seed(5)
    controlled, record = patched("sd1", method, model=model, settings={**ONE_A_STEP, "step_size": 0.0})
    assert torch.equal(sample(controlled), plain)
    assert record.evaluations == 3


@pytest.mark.parametrize("acts_on", ACTS_ON)
def test_a_network_that_another_node_runs_without_gradients(monkeypatch, acts_on):
    """As Token Perturbation Guidance and its kind do, by a forward pass of their own on the network."""
    network = models("sd1")[0].model.diffusion_model
    theirs = torch.no_grad()(network.forward)
    theirs.__module__ = "custom_nodes.perturbed-guidance.nodes"
    monkeypatch.setattr(network, "forward", theirs)
    controlled, _ = patched("sd1", "attend_and_excite", settings={**ONE_A_STEP, "acts_on": acts_on})
    with pytest.raises(HostError, match="without gradients.*perturbed-guidance.*Bypass that node"):
        sample(controlled)
