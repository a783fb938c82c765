from dataclasses import fields, replace

import pytest
import torch
from prompt_fidelity.core.maps.competition import SHARPNESS
from prompt_fidelity.core.maps.distances import cosine_matrix
from prompt_fidelity.core.maps.probabilities import smooth
from prompt_fidelity.core.methods import METHODS, LatentLoss, MethodError, OutputMix, Rearrangement, ScoreEdit
from prompt_fidelity.core.methods.attend_and_excite import AttendAndExcite, AttendAndExciteSettings
from prompt_fidelity.core.methods.t_sam import TSAM, TSAMSettings, cosine_terms
from prompt_fidelity.core.prompt.targets import Target
from torch.nn.functional import cosine_similarity
from toy import OBJECTS, PROMPT, ToyNetwork, latents, make_targets

LATENT = {name: method for name, method in METHODS.items() if issubclass(method, LatentLoss)}
ALL = [(name, preset) for name, method in LATENT.items() for preset in method.PRESETS]


def maps_of(batch=1, h=16, w=16, tokens=77, dtype=torch.float32):
    return ToyNetwork(h, w, tokens)(latents(batch, h, w)).to(dtype).requires_grad_()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_describes_itself(name):
    method = METHODS[name]()
    assert method.name == name
    kinds = (LatentLoss, ScoreEdit, OutputMix, Rearrangement)
    assert [kind.kind for kind in kinds if isinstance(method, kind)] == [method.kind]
    assert method.title and method.paper.count(".") == 1
    assert method.preset == next(iter(method.PRESETS))
    assert type(method)(replace(method.settings, end=0.123)).preset == "custom"
    for field in fields(method.settings):
        assert len(field.metadata["tooltip"]) > 20
    assert "end 0.5" in type(method)(replace(method.settings, end=0.5)).settings_text()


@pytest.mark.parametrize(("name", "preset"), ALL)
@pytest.mark.parametrize(("h", "w"), [(16, 16), (12, 20), (7, 5), (1, 9), (1, 1)])
def test_loss_and_gradient_are_finite_at_any_size(name, preset, h, w):
    method = METHODS[name](METHODS[name].PRESETS[preset])
    maps = maps_of(2, h, w)
    losses = method.loss(maps, make_targets())
    assert losses.per_image.shape == (2,)
    assert losses.per_target.shape == (2, len(losses.names))
    assert losses.per_image.isfinite().all()
    assert torch.autograd.grad(losses.per_image.sum(), maps)[0].isfinite().all()


@pytest.mark.parametrize(("name", "preset"), ALL)
def test_an_image_has_the_same_loss_alone_and_in_a_batch(name, preset):
    method = METHODS[name](METHODS[name].PRESETS[preset])
    maps, targets = maps_of(3), make_targets()
    together = method.loss(maps, targets)
    gradient = torch.autograd.grad(together.per_image.sum(), maps)[0]
    for i in range(3):
        single = maps[i : i + 1].detach().requires_grad_()
        alone = method.loss(single, targets)
        torch.testing.assert_close(alone.per_image[0], together.per_image[i])
        torch.testing.assert_close(torch.autograd.grad(alone.per_image.sum(), single)[0][0], gradient[i])


@pytest.mark.parametrize(("name", "preset"), ALL)
@pytest.mark.parametrize("maps", [torch.zeros(1, 8, 8, 77), torch.full((1, 8, 8, 77), 1 / 77)])
def test_degenerate_maps_give_no_nan(name, preset, maps):
    method = METHODS[name](METHODS[name].PRESETS[preset])
    maps = maps.clone().requires_grad_()
    losses = method.loss(maps, make_targets())
    assert losses.per_image.isfinite().all()
    assert torch.autograd.grad(losses.per_image.sum(), maps)[0].isfinite().all()


@pytest.mark.parametrize(("name", "preset"), ALL)
def test_gradient_agrees_with_central_differences(name, preset):
    method = METHODS[name](METHODS[name].PRESETS[preset])
    targets = make_targets()
    network, z = ToyNetwork(4, 5), latents(1, 4, 5).double().requires_grad_()
    gradient = torch.autograd.grad(method.loss(network(z), targets).per_image.sum(), z)[0]
    # The gradient grows with the sharpness of the words' competition: the demo presets' 3 instead of 100.
    assert gradient.abs().max() > 1e-3 * getattr(method.settings, "sharpness", SHARPNESS) / SHARPNESS
    direction = torch.randn(z.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (method.loss(network(z + sign * step * direction), targets).per_image.sum() for sign in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-4)


@pytest.mark.parametrize(("name", "preset"), ALL)
def test_a_prompt_of_several_chunks(name, preset):
    """Words in two chunks, the text encoder's attention block-diagonal."""
    method = METHODS[name](METHODS[name].PRESETS[preset])
    objects = (replace(OBJECTS[0]), Target("clock", "white clock", (77 + 3,)))
    targets = make_targets(objects, chunks=2)
    assert targets.length == 154 and targets.content[-1] > 77
    maps = maps_of(2, tokens=154)
    assert method.check(targets) == []
    losses = method.loss(maps, targets)
    gradient = torch.autograd.grad(losses.per_image.sum(), maps)[0]
    assert gradient.isfinite().all()
    assert losses.per_image.isfinite().all()
    with pytest.raises(ValueError, match="maps have 77 tokens, the prompt has 154"):
        method.loss(maps_of(), targets)


# --- T-SAM ------------------------------------------------------------------------------------------------------------


def test_tsam_of_chunks_is_the_sum_over_the_chunks():
    method = TSAM()
    targets = make_targets(chunks=2)
    maps = maps_of(tokens=154)
    first, second = ([i for i, p in enumerate(targets.content) if p // 77 == c] for c in (0, 1))
    expected = 0.0
    for block in (first, second):
        attention = targets.text_attention[block][:, block]
        single = replace(
            targets, content=tuple(targets.content[i] for i in block), text_attention=attention, objects=()
        )
        expected = expected + method.loss(maps, single).per_image
    torch.testing.assert_close(method.loss(maps, targets).per_image, expected)
    assert method.threshold(targets) == pytest.approx(0.14 * (len(first) - 1 + len(second) - 1))


@pytest.mark.parametrize(("preset", "alpha"), [("paper", 10.0), ("paper-free", 40.0)])
def test_tsam_paper_presets_are_the_formula(preset, alpha):
    """loss = Σ_{j≤i} (i/s)·|T^γ − S|, written as loops; α constant; one update per step on the first half."""
    method = TSAM(TSAM.PRESETS[preset])
    targets, maps = make_targets(), maps_of()
    words = [method_map.flatten() for method_map in smoothed(maps, targets)]
    s, expected = len(words), torch.zeros(())
    for i in range(s):
        text = targets.text_attention[i] / targets.text_attention[i].sum()
        alike = torch.stack([cosine_similarity(words[i], words[j], dim=0) for j in range(i + 1)])
        alike = alike / alike.sum()
        for j in range(i + 1):
            expected = expected + (i + 1) / s * (text[j] ** 4 - alike[j]).abs()
    torch.testing.assert_close(method.loss(maps, targets).per_image[0], expected, rtol=1e-5, atol=1e-6)
    schedule = method.schedule
    assert [schedule.size_at(p) for p in (0.0, 0.4)] == [alpha, alpha]
    assert (schedule.end, schedule.refinement_due(0.0)) == (0.5, None)


def smoothed(maps, targets):
    return smooth(maps[0, ..., list(targets.content)].movedim(-1, 0))


def test_tsam_asks_nothing_of_the_first_two_words():
    """The second word's row is one number against one number: no angle, even where one of them is 0."""
    terms = cosine_terms(torch.eye(4), cosine_matrix(torch.rand(1, 4, 9)))
    assert terms[0, :2].tolist() == [0.0, 0.0]
    assert (terms[0, 2:] > 0).all()


def test_tsam_columns_are_the_objects_and_add_up():
    losses = TSAM().loss(maps_of(2), make_targets())
    assert losses.names == ("black car", "white clock", "other words")
    torch.testing.assert_close(losses.per_target.sum(1), losses.per_image)


def test_tsam_length_normalisation_makes_prompts_comparable():
    long = PROMPT + " on a wooden table in front of a large window with green curtains and three small plants beside it"
    plain, normal = TSAM(), TSAM(TSAMSettings(length_normalised=True))
    short_targets, long_targets = make_targets(), make_targets(words=long)
    maps = maps_of()
    torch.testing.assert_close(normal.loss(maps, short_targets).per_image, plain.loss(maps, short_targets).per_image)
    ratio = plain.loss(maps, long_targets).per_image / plain.loss(maps, short_targets).per_image
    assert ratio > 8
    assert 0.4 < normal.loss(maps, long_targets).per_image / normal.loss(maps, short_targets).per_image < 2.5
    assert normal.threshold(long_targets) == normal.threshold(short_targets) == pytest.approx(0.84)


@pytest.mark.parametrize(
    ("words", "preset", "applies"),
    [
        ("cat", "repo", False),
        ("a cat", "repo", False),
        ("a black cat", "repo", True),
        ("cat", "paper", False),
        ("a cat", "paper", True),
    ],
)
def test_tsam_says_when_there_are_too_few_words(words, preset, applies):
    method, targets = TSAM(TSAM.PRESETS[preset]), make_targets((), words)
    assert method.applies(targets) is applies
    assert bool(method.check(targets)) is not applies
    assert bool(method.loss(maps_of(), targets).per_image.any()) is applies
    if not applies:
        assert "too few words" in method.check(targets)[0]


def test_tsam_needs_the_text_encoders_attention():
    with pytest.raises(MethodError, match="Extract Targets"):
        TSAM().check(replace(make_targets(), text_attention=None))
    with pytest.raises(MethodError, match="for 3 tokens, but the prompt has 7"):
        TSAM().check(replace(make_targets(), text_attention=torch.eye(3)))


def test_tsam_attention_of_the_host_is_an_inference_tensor():
    with torch.inference_mode():
        targets = make_targets()
    assert targets.text_attention.is_inference()
    maps = maps_of()
    assert torch.autograd.grad(TSAM().loss(maps, targets).per_image.sum(), maps)[0].abs().sum() > 0


# --- Attend-and-Excite ------------------------------------------------------------------------------------------------


def one_hot_map(*weak_strong):
    """[1, 8, 8, 77] logits-like map: token → its peak at one pixel of its own."""
    maps = torch.zeros(1, 8, 8, 77)
    for i, (token, value) in enumerate(weak_strong):
        maps[0, i, i, token] = value
    return maps


def test_ae_takes_the_weakest_object_and_its_strongest_pixel():
    method = AttendAndExcite(AttendAndExciteSettings(smoothing=False))
    maps = one_hot_map((3, 0.08), (7, 0.05)).requires_grad_()
    losses = method.loss(maps, make_targets())
    assert losses.names == ("car", "clock")
    assert losses.per_target[0, 1] > losses.per_target[0, 0]
    assert losses.per_image[0] == losses.per_target[0, 1]
    gradient = torch.autograd.grad(losses.per_image.sum(), maps)[0]
    assert gradient.abs().sum(-1).nonzero().tolist() == [[0, 1, 1]]
    assert gradient[0, 1, 1, 7] < 0


def test_ae_word_of_several_pieces_is_as_strong_as_its_strongest():
    method = AttendAndExcite()
    maps = one_hot_map((3, 0.08), (4, 0.02))
    alone = method.loss(maps, make_targets((Target("car", "car", (3,)),))).per_image
    split = method.loss(maps, make_targets((Target("carpet", "carpet", (4, 3)),))).per_image
    assert split == alone


def test_ae_equal_objects_send_the_gradient_to_the_first():
    method = AttendAndExcite(AttendAndExciteSettings(smoothing=False))
    maps = one_hot_map((3, 0.05), (7, 0.05)).requires_grad_()
    gradient = torch.autograd.grad(method.loss(maps, make_targets()).per_image.sum(), maps)[0]
    assert gradient.abs().sum(-1).nonzero().tolist() == [[0, 0, 0]]


def test_ae_drops_the_special_columns_of_every_chunk():
    two = make_targets((Target("clock", "clock", (80,)),), chunks=2)
    columns = AttendAndExcite().competing_columns(two)
    assert set(range(154)) - set(columns) == {0, 76, 77, 153}
    assert AttendAndExcite(AttendAndExciteSettings(competing="words")).competing_columns(two) == list(two.content)
    assert AttendAndExcite().competing_columns(replace(two, pads_with_end=False)) == list(two.content)


def test_ae_warns_about_nothing_to_do():
    method = AttendAndExcite()
    assert "no object" in method.check(make_targets(()))[0]
    assert not method.applies(make_targets(()))
    assert '"car"' in method.check(make_targets(OBJECTS[:1]))[0]
    assert method.applies(make_targets(OBJECTS[:1]))
    assert method.check(make_targets()) == []


def test_ae_leaves_out_an_object_without_tokens():
    losses = AttendAndExcite().loss(maps_of(), make_targets((OBJECTS[0], Target("ghost", "ghost", ()))))
    assert losses.names == ("car",)


def test_ae_thresholds_rise_over_the_refinement_points():
    method = AttendAndExcite()
    targets = make_targets()
    losses = method.loss(maps_of(), targets)
    losses = replace(losses, per_image=torch.tensor([0.96, 0.94, 0.4, 0.1]))
    assert method.satisfied(losses, 0, 0, targets).tolist() == [False, True, True, True]
    assert method.satisfied(losses, 1, 0, targets).tolist() == [False, False, True, True]
    assert method.satisfied(losses, 2, 0, targets).tolist() == [False, False, False, True]
    # more refinement points than thresholds: the last one holds on
    assert method.satisfied(losses, 5, 0, targets).tolist() == [False, False, False, True]
