"""Score edits inside the host's attention: Attention Regulation in real sampling runs, alone and beside others."""

import comfy.patcher_extension
import comfy.samplers
import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch, optimized_attention
from hostkit import FAMILIES, ONE_A_STEP, encoded, fingerprint, models, noise, patched, plain, sample
from prompt_fidelity.core.control.scores import NO_LAYER, ScoreEditor
from prompt_fidelity.core.maps.view import Place
from prompt_fidelity.core.methods.attention_regulation import AttentionRegulation
from prompt_fidelity.core.show.report import headline, report
from prompt_fidelity.host.networks.attention import CrossAttention, split_heads
from prompt_fidelity.host.networks.base import Site
from prompt_fidelity.host.networks.edits import EditChain, LayerEdit
from prompt_fidelity.host.networks.families import network_of
from prompt_fidelity.host.networks.rows import Part
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.sampling.samplers import SAMPLERS

import nodes as host_nodes

REGULATION = "attention_regulation"
# How much the targets' share grows at least. The scores of the random SDXL network spread wider, so the same descent
# moves them less.
LEAST_GROWTH = {"sd1": 3.0, "sd2": 3.0, "sdxl": 1.4}
every_family = pytest.mark.parametrize("family", FAMILIES)


# With and without a negative prompt on one family: which rows are edited does not depend on the network.
each_way = pytest.mark.parametrize(("family", "cfg"), [("sd1", 1.0), ("sd1", 5.0), ("sd2", 1.0), ("sdxl", 5.0)])


@each_way
def test_an_edit_changes_the_picture_moves_the_shares_and_leaves_no_trace(family, cfg):
    model, own = models(family)[0], plain(family, cfg=cfg)
    before = fingerprint(model)
    controlled, record = patched(family, REGULATION)
    drawn = sample(controlled, family, cfg=cfg)
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, own)
    assert fingerprint(model) == before and torch.equal(sample(model, family, cfg=cfg), own)
    assert [entry.index for entry in record.edits] == [0, 1, 2] and record.maps.steps == 6
    for entry in record.edits:
        assert entry.names == ("car", "clock") and entry.layers and not entry.skipped
        # Each target grows; how they divide it between them depends on the rounding, which the descent amplifies.
        assert (entry.after > entry.before).all()
        assert (entry.after.sum(-1) > LEAST_GROWTH[family] * entry.before.sum(-1)).all()
    text = report(record)
    assert "Edited in 3 of 6 steps" in text and all(layer in text for layer in record.edits[0].layers)
    assert "3 steps edited" in headline(record)


def test_the_maps_shown_are_those_of_the_picture():
    shares = []
    for strength in (0.0, 1.0):
        controlled, record = patched(method=REGULATION, strength=strength)
        sample(controlled, steps=1)
        shares.append(record.maps.mean.mean((2, 3)))
    columns = [record.maps.names.index(name) for name in record.edits[0].names]
    # All layers at this level are edited, and the maps are their mean.
    torch.testing.assert_close(shares[1][:, columns], record.edits[0].after, rtol=1e-4, atol=1e-6)
    assert (shares[1] > shares[0])[:, columns].all()


@each_way
def test_images_of_a_batch_do_not_know_of_each_other(family, cfg):
    """To the bit: an image is the same whatever is drawn beside it. (Alone its rounding differs, and a descent may
    branch.)
    """
    controlled, record = patched(family, REGULATION)
    starts = noise(5, 4, 16, 16)
    one = sample(controlled, family, start=starts[[0, 1, 2]], cfg=cfg, steps=3)
    other = sample(controlled, family, start=starts[[0, 3, 4]], cfg=cfg, steps=3)
    assert record.edits[0].before.shape == (3, 2)
    assert torch.equal(one[0], other[0]) and not torch.equal(one[1], other[1])


def test_strength_scales_the_edit():
    moved = []
    for strength in (0.25, 1.0):
        controlled, record = patched(method=REGULATION, strength=strength)
        sample(controlled, steps=1)
        moved.append(float((record.edits[0].after - record.edits[0].before).mean()))
    assert 0 < moved[0] < 0.6 * moved[1]


@pytest.mark.parametrize("name", comfy.samplers.SAMPLER_NAMES)
def test_every_sampler_is_edited_at_every_call_of_its_steps(name, monkeypatch):
    """Also those that a moved latent would not reach, and in the second and third call of a step."""
    edited, calls = [], []
    real = ScoreEditor.edit
    monkeypatch.setattr(ScoreEditor, "edit", lambda self, *args: edited.append(self._entry.index) or real(self, *args))
    handle = models("sd1")[0].model.diffusion_model.register_forward_pre_hook(
        lambda module, args: calls.append(args[1].max())
    )
    controlled, record = patched(method=REGULATION, settings={"end": 1.0})
    try:
        drawn = sample(controlled, sampler=name, steps=3, size=(1, 4, 8, 8))
    finally:
        handle.remove()
    assert torch.isfinite(drawn).all()
    layers = len(record.edits[0].layers)
    assert layers == 3 and len(edited) == layers * len(calls)
    steps = [entry.index for entry in record.edits]
    assert steps == sorted(set(steps)) == sorted(set(edited))
    if SAMPLERS[name].support == "exact":
        assert steps == [0, 1, 2]
    assert not any(name in warning for warning in record.warnings)
    # Of hundreds of edits one may give a target so much that another gets less: they compete in one softmax.
    assert all((entry.after.sum(-1) > 1.4 * entry.before.sum(-1)).all() for entry in record.edits)
    if len(record.edits) <= 3:
        assert all((entry.after > entry.before).all() for entry in record.edits)


def test_inpainting_edits_only_what_is_drawn_anew():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:] = 1.0
    latent = noise(1, 4, 16, 16, seed=4)
    controlled, record = patched(method=REGULATION)
    own = sample(models("sd1")[0], latent=latent, noise_mask=mask)
    drawn = sample(controlled, latent=latent, noise_mask=mask)
    torch.testing.assert_close(drawn[..., :8], own[..., :8])
    assert (drawn[..., 8:] - own[..., 8:]).abs().max() > 1e-3 * own.std()
    assert len(record.edits) == 3


def test_image_to_image_that_starts_late():
    controlled, record = patched(method=REGULATION)
    sample(controlled, steps=10, denoise=0.7, latent=noise(1, 4, 16, 16, seed=9))
    assert record.edits and min(entry.progress for entry in record.edits) >= 0.29 and record.edits[0].index == 0


def test_start_and_end_percent_choose_the_steps():
    controlled, record = patched(method=REGULATION, start=0.2, end=0.4)
    sample(controlled, steps=20)
    assert record.edits and all(0.2 <= entry.progress < 0.4 for entry in record.edits)


# Every size on one network, and on the others, whose levels are others, the oddest ones.
@pytest.mark.parametrize(
    ("family", "size"),
    [
        *(("sd1", size) for size in [(1, 4, 27, 32), (1, 4, 16, 40), (2, 4, 13, 9), (1, 4, 9, 10)]),
        *(("sd2", (2, 4, 13, 9)), ("sdxl", (2, 4, 13, 9)), ("sdxl", (1, 4, 27, 32))),
    ],
)
def test_any_aspect_ratio_and_small_maps(family, size):
    controlled, record = patched(family, REGULATION)
    assert torch.isfinite(sample(controlled, family, size=size)).all()
    assert len(record.edits) == 3 and all((entry.after > entry.before).all() for entry in record.edits)


def test_streamed_weights_are_no_hindrance(monkeypatch):
    """No gradients: the model needs no clone that stays resident, no full load, and no room for what backward keeps."""
    seen = []

    def prepare(executor, model, noise_shape, conds, *args, **kwargs):
        seen.append((tuple(noise_shape), kwargs.get("force_full_load", False)))
        return executor(model, noise_shape, conds, *args, **kwargs)

    model = models("sd1")[0].clone()
    monkeypatch.setattr(model, "is_dynamic", lambda: True)
    model.cached_patcher_init = None
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING, "test", prepare)
    with torch.inference_mode():
        controlled, record = attach(model, AttentionRegulation(), encoded("sd1")[1])
    controlled.add_callback(
        comfy.patcher_extension.CallbacksMP.ON_PRE_RUN, lambda patcher: setattr(patcher.model, "model_lowvram", True)
    )
    try:
        monkeypatch.undo()
        drawn = sample(controlled)
    finally:
        model.model.model_lowvram = False
    assert len(record.edits) == 3 and torch.equal(drawn, sample(patched(method=REGULATION)[0]))
    # The host asks for as many rows as it has images; a method with gradients asks for more.
    sample(models("sd1")[0])
    assert seen == [((1, 4, 16, 16), False)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models(dtype):
    with torch.inference_mode():
        model = models("sd1", dtype)[0]
        controlled, record = patched(method=REGULATION, model=model)
    assert torch.isfinite(sample(controlled)).all() and len(record.edits) == 3
    assert record.edits[0].before.dtype == torch.float32


# --- with other methods and packs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["t_sam", "attend_and_excite"])
@pytest.mark.parametrize("edit_first", [True, False])
def test_together_with_a_latent_loss(loss, edit_first):
    """The loss sees the model's own attention: in the first step it is what it is without the edit."""
    alone, expected = patched(method=loss, settings=ONE_A_STEP)
    of_loss = sample(alone)
    order = [(REGULATION, None), (loss, ONE_A_STEP)] if edit_first else [(loss, ONE_A_STEP), (REGULATION, None)]
    model, records = None, {}
    for method, settings in order:
        model, records[method] = patched(method=method, model=model, settings=settings)
    drawn = sample(model)
    assert torch.isfinite(drawn).all()
    assert records[loss].updates == 3 and len(records[REGULATION].edits) == 3
    torch.testing.assert_close(records[loss].steps[0].totals[0], expected.steps[0].totals[0])
    torch.testing.assert_close(records[loss].steps[0].moved, expected.steps[0].moved, rtol=1e-4, atol=0)
    assert not torch.equal(drawn, of_loss) and not torch.equal(drawn, sample(patched(method=REGULATION)[0]))


def test_a_second_edit_gets_the_scores_of_the_first():
    seen = []

    class Note(AttentionRegulation):
        def edit(self, scores, targets, site, strength=1.0):
            seen.append(scores)
            return super().edit(scores, targets, site, strength)

    with torch.inference_mode():
        first, one = attach(models("sd1")[0], Note(), encoded("sd1")[1])
        both, two = attach(first, Note(), encoded("sd1")[1], strength=0.5)
    sample(both, steps=1)
    assert len(one.edits) == len(two.edits) == 1
    columns = [target.positions[0] for target in encoded("sd1")[1].objects]
    for before, after in zip(seen[::2], seen[1::2], strict=True):
        others = [c for c in range(77) if c not in columns]
        assert torch.equal(before[..., others], after[..., others]) and not torch.equal(
            before[..., columns], after[..., columns]
        )
    # What both made of the attention together is what both record.
    torch.testing.assert_close(one.edits[0].after, two.edits[0].after)
    torch.testing.assert_close(one.maps.mean, two.maps.mean)


def test_a_replacement_of_cross_attention_is_kept_and_edited():
    """As IP-Adapter does: it takes a layer's place, adds something of its own, and does not pass
    the host's options on.
    """
    extra = 0.01

    def adapter(q, k, v, extra_options):
        return optimized_attention(q, k, v, extra_options["n_heads"]) + extra

    with_adapter = models("sd1")[0].clone()
    for site in network_of(with_adapter.model).sites:
        with_adapter.set_model_attn2_replace(adapter, site.block, site.number)
    controlled, record = patched(method=REGULATION, model=with_adapter)
    drawn, only_adapter = sample(controlled, steps=1), sample(with_adapter, steps=1)
    own, _ = patched(method=REGULATION)
    assert len(record.edits) == 1 and record.edits[0].layers
    assert not torch.equal(drawn, only_adapter) and not torch.equal(drawn, sample(own, steps=1))
    extra = 0.0
    torch.testing.assert_close(sample(controlled, steps=1), sample(own, steps=1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "kernel",
    [
        lambda func, *args, **kwargs: func(*args, **kwargs),
        lambda func, *args, **kwargs: attention_pytorch(*args, **kwargs),
    ],
)
def test_an_override_is_chained_even_if_it_brings_its_own_kernel(kernel):
    calls = []

    def override(func, q, k, v, heads, *args, **kwargs):
        calls.append(k.shape[1])
        return kernel(func, q, k, v, heads, *args, **kwargs)

    overridden = models("sd1")[0].clone()
    overridden.model_options["transformer_options"]["optimized_attention_override"] = override
    controlled, record = patched(method=REGULATION, model=overridden)
    drawn = sample(controlled, steps=2)
    assert 77 in calls and len(record.edits) == 1
    torch.testing.assert_close(drawn, sample(patched(method=REGULATION)[0], steps=2), rtol=1e-3, atol=1e-2)


def test_a_prompt_batched_with_a_longer_negative():
    """Its tokens are repeated then; the edit is that of the prompt by itself."""
    long = encoded("sd1", ", ".join(["blurry, low quality, jpeg artefacts, watermark, signature"] * 12))[0]
    shares = []
    for more in ({"cfg": 1.0}, {"negative": long}):
        controlled, record = patched(method=REGULATION)
        sample(controlled, steps=1, **more)
        shares.append(torch.stack([record.edits[0].before, record.edits[0].after]))
    torch.testing.assert_close(*shares, rtol=1e-3, atol=1e-5)


def test_the_conditioning_may_pass_through_other_nodes():
    positive = encoded("sd1")[0]
    other = encoded("sd1", "a photo")[0]
    area = host_nodes.ConditioningSetArea().append(positive, 64, 128, 64, 0, 1.0)[0]
    for conditioning in (positive + other, area + other, host_nodes.ConditioningConcat().concat(positive, other)[0]):
        controlled, record = patched(method=REGULATION)
        assert torch.isfinite(sample(controlled, positive=conditioning)).all()
        assert len(record.edits) == 3 and not any(entry.skipped for entry in record.edits)


def test_a_network_that_was_skipped_is_reported():
    def from_memory(executor, model, conds, x_in, timestep, model_options):
        return [torch.zeros_like(x_in) for _ in conds]

    model = models("sd1")[0].clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, "cache", from_memory)
    controlled, record = patched(method=REGULATION, model=model)
    sample(controlled)
    assert [entry.skipped for entry in record.edits] == [(NO_LAYER,)] * 3
    assert NO_LAYER in report(record) and "the picture is the plain one" in report(record)


# --- the layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "expected"), [("first", {0}), ("last", {1}), ("all", {0, 1})])
def test_sdxl_edits_the_chosen_layers_of_each_block(layers, expected):
    controlled, record = patched("sdxl", REGULATION, settings={"layers": layers, "resolution": "1/4"})
    sample(controlled, "sdxl", size=(1, 4, 32, 32), steps=1)
    network = network_of(controlled.model)
    blocks = {(site.block, site.number) for site in network.at_level(4)}
    wanted = {Site(*block, index) for block in blocks for index in expected}
    assert network.edited(network.recorded(4), layers) == wanted
    assert set(record.edits[0].layers) == {str(site) for site in wanted}
    assert not any(layer.startswith("middle") for layer in record.edits[0].layers)


def test_a_layers_output_is_that_of_the_edited_probabilities():
    """Only the controlled rows change; they are what attending with the edited probabilities gives."""
    targets = encoded("sd1")[1]
    editor = ScoreEditor(AttentionRegulation(), targets)
    editor.begin(0, 0.0)

    class SecondChunk:
        in_areas = ()

        def parts_of(self, attention):
            return [Part(slice(2, 4), "positive", Place.whole(2, 16, 16), 77)]

        def makes_map(self, size, pixels):
            return True

    chain = EditChain()
    chain.edits.append(LayerEdit(editor, SecondChunk(), frozenset({Site("input", 7, 0)})))
    q, k, v = noise(4, 256, 32), noise(4, 77, 32, seed=1), noise(4, 77, 32, seed=2)
    out = attention_pytorch(q, k, v, 2)
    heads = [split_heads(tensor, 2) for tensor in (q, k, v)]
    edited = chain.applied(out, CrossAttention(Site("input", 7, 0), (16, 16), {}, *heads))
    assert torch.equal(edited[:2], out[:2])
    expected = (chain.final[2] @ split_heads(v[2:], 2)).transpose(1, 2).flatten(2)
    torch.testing.assert_close(edited[2:], expected, rtol=1e-4, atol=1e-5)
    assert (edited[2:] - out[2:]).abs().max() > 0.1
    assert chain.applied(out, CrossAttention(Site("input", 8, 0), (16, 16), {}, *heads)) is out
