"""Pick Seeds: what is looked at is what KSampler draws, and what goes wrong for the artist."""

import comfy.model_management
import comfy.sample
import pytest
import torch
from hostkit import encoded, fingerprint, models
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.seeds import FirstPart, decoder, look_at_seeds
from prompt_fidelity.nodes.seeds import FidelityPickSeeds

LATENT = {"samples": torch.zeros(1, 4, 16, 16)}


def looked(sampler="euler", seeds=(3, 4, 5), *, latent=LATENT, text=None, told=lambda *_: None, at_once=1, **part):
    model, _, vae = models("sd1")
    conditioning, targets = encoded("sd1", text) if text else encoded("sd1")
    settings = {"steps": 6, "cfg": 4.0, "sampler": sampler, "scheduler": "normal", "denoise": 1.0, "share": 0.34}
    part = FirstPart(**settings | part, at_once=at_once)
    with torch.inference_mode():
        return look_at_seeds(
            model, conditioning, encoded("sd1", "")[0], targets, latent, list(seeds), part, lambda x: x[0], told
        )


def predicted_by_ksampler(sampler: str, seed: int, step: int, latent=LATENT, **more) -> torch.Tensor:
    """What the model predicts at a step of KSampler's own run."""
    seen = {}
    model = models("sd1")[0]
    with torch.inference_mode():
        samples = latent["samples"]
        comfy.sample.sample(
            model, comfy.sample.prepare_noise(samples, seed), 6, 4.0, sampler, "normal", encoded("sd1")[0],
            encoded("sd1", "")[0], samples, seed=seed, noise_mask=latent.get("noise_mask"), disable_pbar=True,
            callback=lambda i, x0, x, total: seen.setdefault(i, x0.clone()), **more,
        )  # fmt: skip
        return model.model.process_latent_out(seen[step])[0]


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m_sde", "euler_ancestral", "uni_pc", "heun"])
def test_each_seed_begins_as_ksampler_begins_it(sampler):
    for early in looked(sampler, (3, 4)):
        torch.testing.assert_close(early.picture, predicted_by_ksampler(sampler, early.seed, 1), rtol=1e-4, atol=1e-4)


def test_img2img_and_a_mask_as_in_ksampler():
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:] = 1.0
    latent = {"samples": torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1)), "noise_mask": mask}
    (early,) = looked(seeds=(3,), latent=latent, denoise=0.6)
    expected = predicted_by_ksampler("euler", 3, 1, latent, denoise=0.6)
    torch.testing.assert_close(early.picture, expected, rtol=1e-4, atol=1e-4)


def test_several_at_once_are_the_same_and_noise_of_the_samplers_own_goes_singly():
    singly, together = looked(), looked(at_once=3)
    assert [early.seed for early in together] == [3, 4, 5]
    for one, other in zip(singly, together, strict=True):
        torch.testing.assert_close(one.picture, other.picture, rtol=1e-3, atol=1e-3)
        assert one.signs.weakest == pytest.approx(other.signs.weakest, rel=1e-3)
    part = FirstPart(20, 4.0, "dpmpp_2m_sde", "normal", 1.0, 0.2, at_once=8)
    assert part.looked_at == 4 and part.groups([1, 2]) == [[1], [2]]


def test_progress_is_told_and_nothing_is_left_on_the_model():
    model, seen = models("sd1")[0], []
    before = fingerprint(model)
    looked(told=lambda done, total, picture: seen.append((done, total, picture is not None)))
    assert [done for done, _, _ in seen] == [1, 2, 2, 3, 4, 4, 5, 6, 6] and {total for _, total, _ in seen} == {6}
    assert [done for done, _, picture in seen if picture] == [2, 4, 6]
    assert fingerprint(model) == before


def test_cancel_ends_it_and_nothing_is_left_on_the_model():
    model = models("sd1")[0]
    before = fingerprint(model)

    def cancel(done, total, picture):
        if done == 3:
            comfy.model_management.interrupt_current_processing()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        looked(told=cancel)
    comfy.model_management.interrupt_current_processing(False)
    assert fingerprint(model) == before


def picked(**changes):
    model, _, vae = models("sd1")
    conditioning, targets = encoded("sd1")
    inputs = {
        "model": model, "positive": conditioning, "negative": encoded("sd1", "")[0], "targets": targets,
        "latent": LATENT, "first_seed": 10, "count": 5, "share": 0.3, "steps": 4, "cfg": 4.0,
        "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0, "keep": 2,
    }  # fmt: skip
    with torch.inference_mode():
        return FidelityPickSeeds.execute(**inputs | changes).args


def test_the_node_gives_the_best_seeds_and_a_contact_sheet():
    seed, seeds, scores, sheet = picked(vae=models("sd1")[2])
    assert len(seeds) == 2 and seeds[0] == seed and set(seeds) <= set(range(10, 15))
    assert f"1. seed {seed}: +" in scores and scores.count("\n") == 5
    assert sheet.ndim == 4 and sheet.shape[0] == 1 and 0 <= float(sheet.min()) and float(sheet.max()) <= 1
    again = picked(keep=9)
    assert again[0] == seed and len(again[1]) == 5 and again[2] == scores  # without a VAE nothing but the sheet differs


def test_without_a_vae_the_colours_are_the_hosts_own():
    picture = decoder(None, models("sd1")[0].get_model_object("latent_format"))(torch.randn(1, 4, 8, 6))
    assert picture.shape == (64, 48, 3) and 0 <= float(picture.min()) and float(picture.max()) <= 1

    class Unknown:
        latent_rgb_factors = None

    with pytest.raises(HostError, match="Connect it to vae"):
        decoder(None, Unknown())


def test_bad_input_is_explained():
    with pytest.raises(HostError, match="no objects to look for"):
        looked(text="beautifully and quickly")
    with pytest.raises(HostError, match="dpm_adaptive chooses its steps itself"):
        looked("dpm_adaptive")
    with pytest.raises(HostError, match="of another kind"):
        looked(latent={"samples": torch.zeros(1, 4, 1, 16, 16)})
    with pytest.raises(HostError, match="does not come from the Extract Targets node"):
        picked(positive=encoded("sd1", "")[0])
