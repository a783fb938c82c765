"""Space-Time Attention on every family of transformers."""

from dataclasses import replace

import pytest
import torch
from hostkit import encoded, fingerprint, latent_of, models, noise, nothing_pooled, sample
from prompt_fidelity.core.methods import METHODS, SpaceTime
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.core.methods.combined import CombinedMethods
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models.random_transformers import TRANSFORMERS, available
from prompt_fidelity.host.networks.families import network_of
from prompt_fidelity.host.sampling.install import attach
from test_recompute import same
from test_space_time import WHOLE, mixing, placed

every_family = pytest.mark.parametrize("family", available())
# Networks that refine a text before their blocks, or count the picture's positions behind it: a text filled up to the
# length of another is not what it is alone. HunyuanDiT reads no text of under 77 tokens.
OF_A_LENGTH = {
    *("lumina2", "z_image", "hunyuan_image", "longcat", "omnigen2", "boogu", "krea2", "ernie", "hunyuan_dit"),
}
FEW = ("flux", "sd3", "sd35_medium", "cosmos_predict2", "kandinsky5")  # for what depends on the method, not the family


@pytest.mark.parametrize(
    ("family", "preset"), [*((family, "paper") for family in available()), *((family, "repo") for family in FEW)]
)
def test_changes_the_picture_and_leaves_no_trace(family, preset):
    model, size = models(family)[0], latent_of(family, batch=2)
    before, plain = fingerprint(model), sample(model, family, size=size, steps=2)
    controlled, record = mixing(family, preset)
    drawn = sample(controlled, family, size=size, steps=2)
    assert torch.isfinite(drawn).all() and (drawn - plain).abs().max() > 1e-3 * plain.std()
    assert [entry.index for entry in record.mixes] == [0, 1] and not record.warnings
    assert all(entry.unconditional for entry in record.mixes)
    assert {entry.layers for entry in record.mixes} == {len(network_of(model.model).sites)}
    assert fingerprint(model) == before and torch.equal(sample(model, family, size=size, steps=2), plain)
    assert not any("forward" in vars(module) for module in model.model.diffusion_model.modules())
    alone, _ = mixing(family, preset)
    # Images of a batch do not know of each other.
    single = sample(alone, family, start=noise(*size, seed=3)[1:], steps=2)
    torch.testing.assert_close(drawn[1:], single, rtol=1e-3, atol=1e-3 * float(plain.std()))


@pytest.mark.parametrize(
    ("family", "tokens"),
    [
        *((family, 77) for family in sorted(OF_A_LENGTH & {*available()})),
        *((f, 50) for f in available() if f not in OF_A_LENGTH),
    ],
)
def test_an_object_that_has_everything_is_drawn_from_its_own_prompt_alone(family, tokens):
    """Weight 1 everywhere: the whole prompt is not attended to any more. Its own may be shorter than the prompt's, or
    (50) than the negative prompt's.
    """
    size, (conditioning, targets) = latent_of(family), encoded(family)
    with torch.inference_mode():
        own, more = targets.encode(["a photo of a black car"])[0]
        own = own[:, :tokens]
        # What the blocks attend to beside the text; Llama's may be shorter as well.
        beside = {name: more[name] for name in TRANSFORMERS[family].beside}
        beside.update({name: value[:, :, :12] for name, value in beside.items() if name == "conditioning_llama3"})
        alone = [[own, {**conditioning[0][1], **beside}]]  # what else the conditioning holds stays the whole prompt's
        targets = replace(targets, encode=lambda texts: [(own, {**more, **beside})] * len(texts))
    with nothing_pooled(models(family)[0]):
        controlled, _ = mixing(family, layout=placed(family, WHOLE), targets=targets, settings={"weight": 1.0})
        expected = sample(models(family)[0], family, size=size, steps=2, positive=alone)
        plain = sample(models(family)[0], family, size=size, steps=2)
        drawn = sample(controlled, family, size=size, steps=2)
    torch.testing.assert_close(drawn, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
    assert (drawn - plain).abs().max() > 1e-2 * plain.std()


def test_local_prompts_that_are_longer_than_the_prompt():
    """An encoder that fills up to no length: the prompt's own rows are what they are without ours."""
    size, (conditioning, targets) = latent_of("flux"), encoded("flux")
    with torch.inference_mode():
        long, (own, more) = conditioning[0][0], targets.encode(["a photo of a black car"])[0]
        short = [[long[:, :30], conditioning[0][1]]]
        targets = replace(targets, length=30, chunk=30, encode=lambda texts: [(own, more)] * len(texts))
        alone = [[own, conditioning[0][1]]]
    layout = placed("flux", WHOLE)
    for weight, expected in ((1.0, alone), (1e-6, short)):
        controlled, record = mixing("flux", layout=layout, targets=targets, settings={"weight": weight})
        drawn = sample(controlled, "flux", size=size, steps=3, positive=short, negative=short)
        plain = sample(models("flux")[0], "flux", size=size, steps=3, positive=expected, negative=short)
        torch.testing.assert_close(drawn, plain, rtol=1e-3, atol=1e-3 * float(plain.std()))
        assert record.maps.steps == 3 and record.warnings == ["The layout has no place for white clock."]


@pytest.mark.parametrize("family", ["hidream", "hunyuan_dit"])
def test_an_encoder_that_does_not_give_all_of_an_objects_prompt(family):
    targets = encoded(family)[1]
    targets = replace(
        targets, encode=lambda texts: [(torch.zeros(1, 77, 32), {"pooled_output": torch.zeros(1, 32)}) for _ in texts]
    )
    controlled, record = mixing(family, targets=targets)
    with pytest.raises(HostError, match="is missing.*CLIP.*is not (HiDream|HunyuanDiT)'s"):
        sample(controlled, family, size=latent_of(family), steps=2)
    assert not record.mixes


@pytest.mark.parametrize("family", ["flux", "cosmos_predict2"])
def test_steps_without_weight_cost_nothing(family):
    model, size = models(family)[0], latent_of(family)
    settings = {"curve": "list", "values": (1.0, 0.0)}
    controlled, record = mixing(family, settings=settings)
    rows = []
    handle = model.model.diffusion_model.register_forward_pre_hook(lambda module, args: rows.append(args[0].shape))
    try:
        sample(controlled, family, size=size, steps=4)
    finally:
        handle.remove()
    mixed = [any(entry.weights) for entry in record.mixes]
    assert mixed[0] and not mixed[-1] and not any(entry.skipped for entry in record.mixes)
    pictures = [shape[0] for shape in rows if shape[1:] == size[1:]]
    if family == "flux":  # a row more for each object
        assert pictures == [2 + 2 * weighs for weighs in mixed] and len(rows) == 4
    else:  # the network is asked what it makes of each object's text
        assert pictures == [2] * 4 and len(rows) == 4 + 2 * sum(mixed)


@every_family
@pytest.mark.parametrize("recompute", ["on", "off"])
def test_all_kinds_of_methods_at_once(family, recompute, drawn={}):  # noqa: B006, the other case's result
    size = latent_of(family)
    excite = METHODS["attend_and_excite"]
    guided = excite(type(excite().settings)(acts_on=PREDICTION, refine_steps=0, end=1.0))
    method = CombinedMethods(
        [
            (guided, 0.05),
            (METHODS["divide_and_bind"](), 0.01),
            (METHODS["attention_regulation"](), 1.0),
            (SpaceTime(), 1.0),
        ]
    )
    with torch.inference_mode():
        controlled, record = attach(
            models(family)[0], method, encoded(family)[1], recompute=recompute, layout=placed(family)
        )
    drawn[family, recompute] = sample(controlled, family, size=size, steps=2), record
    assert record.edits and record.mixes and len(record.steps) >= 2 and record.maps.steps == 2
    if (other := drawn.get((family, "off" if recompute == "on" else "on"))) is not None:
        assert same(drawn[family, recompute], other)
        assert str(record.edits) == str(other[1].edits) and str(record.mixes) == str(other[1].mixes)
