"""Rearranged noise in the host: once, from noise alone, each picture by its own maps; else left alone, and said so."""

import pytest
import torch
from hostkit import encoded, latent_of, models, noise, patched, sample
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.methods import METHODS, InitialEditing
from prompt_fidelity.core.methods.combined import CombinedMethods
from prompt_fidelity.core.show.report import headline, report
from prompt_fidelity.host.sampling.install import attach

NAMES = ("black car", "white clock")


def layout(family: str, names=NAMES) -> Layout:
    height, width = (8 * side for side in latent_of(family)[-2:])
    boxes = (Box(0.0, 0.1, 0.4, 0.7), Box(0.5, 0.4, 1.0, 0.9))
    return Layout(tuple(Placement(i, name, box) for i, (name, box) in enumerate(zip(names, boxes))), width, height)


def drawn(family="sd1", strength=1.0, where=None, method=None, **options):
    with torch.inference_mode():
        method, where = method or InitialEditing(), where or layout(family)
        model, record = attach(models(family)[0], method, encoded(family)[1], strength=strength, layout=where)
    return sample(model, family, size=options.pop("size", latent_of(family)), **options), record


class Watched:
    """The latents that the network is given, one for each step of euler."""

    def __init__(self, family: str):
        self.seen: list[torch.Tensor] = []
        self.model = models(family)[0].clone()
        self.model.set_model_unet_function_wrapper(self._noted)

    def _noted(self, apply, given):
        self.seen.append(given["input"][:1].clone())
        return apply(given["input"], given["timestep"], **given["c"])


@pytest.mark.parametrize("family", ["sd1", "flux"])
def test_before_the_third_step_the_latent_gets_a_new_order_and_nothing_else(family):
    size = latent_of(family)
    plain, ours = Watched(family), Watched(family)
    sample(plain.model, family, size=size, steps=20)
    with torch.inference_mode():
        model, record = attach(ours.model, InitialEditing(), encoded(family)[1], layout=layout(family))
    sample(model, family, size=size, steps=20)
    step = record.arranged[0].index
    assert step in (1, 2) and len(record.arranged) == 1 and record.arranged[0].shifts.any()
    for before in range(step):
        assert torch.equal(ours.seen[before], plain.seen[before])
    new, old = ours.seen[step], plain.seen[step]
    assert not torch.equal(new, old)
    assert torch.equal(new.flatten(2).sort(-1).values, old.flatten(2).sort(-1).values), "the same cells"
    assert headline(record).startswith("Initial Image Editing: noise rearranged before step")
    assert f"Before step {step + 1} the noise was rearranged: black car by" in report(record)
    assert not record.warnings and record.evaluations == 0


def test_strength_0_changes_nothing():
    size = latent_of("sd1")
    plain = sample(models("sd1")[0], size=size)
    picture, record = drawn(strength=0.0)
    assert torch.equal(picture, plain) and not record.arranged and record.maps.steps == 6


def test_a_picture_in_a_batch_is_that_of_its_own():
    size = latent_of("sd1")
    both, record = drawn(size=(2, *size[1:]), start=noise(2, *size[1:]))
    assert record.arranged[0].shifts.shape == (2, 2, 2)
    for image in range(2):
        alone, _ = drawn(start=noise(2, *size[1:])[image : image + 1])
        torch.testing.assert_close(both[image : image + 1], alone, rtol=1e-3, atol=1e-4)


def test_a_picture_that_is_given_is_left_alone_and_the_artist_told():
    size = latent_of("sd1")
    kept = noise(*size, seed=4)
    plain = sample(models("sd1")[0], size=size, latent=kept, denoise=0.5)
    picture, record = drawn(latent=kept, denoise=0.5)
    assert torch.equal(picture, plain) and not record.acted
    assert "the picture was not begun from noise" in report(record)


@pytest.mark.parametrize("other", ["attention_regulation", "layout_guidance"])
def test_a_picture_that_one_part_of_a_combination_changed_is_not_called_plain(other):
    """The others' parts of the run are over, or never came."""
    method = CombinedMethods([(METHODS[name](), 1.0) for name in ("initial_editing", "space_time", other)])
    kept = noise(*latent_of("sd1"), seed=4)
    picture, record = drawn(method=method, latent=kept, denoise=0.4)
    assert record.mixes and not record.edited() and not record.measured() and not record.rearranged()
    assert not torch.equal(picture, sample(models("sd1")[0], size=latent_of("sd1"), latent=kept, denoise=0.4))
    assert "the plain one" not in report(record)


def test_what_a_mask_keeps_is_left_alone():
    size = latent_of("sd1")
    mask = torch.zeros(1, 1, *size[-2:])
    mask[..., size[-1] // 2 :] = 1.0
    run = {"latent": noise(*size, seed=4), "noise_mask": mask}
    picture, record = drawn(**run)
    assert torch.equal(picture, sample(models("sd1")[0], size=size, **run))
    assert "a mask keeps a part of the picture" in report(record)


@pytest.mark.parametrize("sampler", ["uni_pc", "lms", "dpm_adaptive"])
def test_a_sampler_that_would_lose_it_leaves_the_picture_plain(sampler):
    picture, record = drawn(sampler=sampler)
    assert torch.equal(picture, sample(models("sd1")[0], size=latent_of("sd1"), sampler=sampler))
    assert "does not keep a moved latent" in report(record)


def test_a_layout_of_other_objects_is_refused_before_any_compute():
    with pytest.raises(MethodError, match="red ball"):
        drawn(where=layout("sd1", ("red ball", "white clock")))
    assert patched("sd1", strength=0.0)[1].runs == []
