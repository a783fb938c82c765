"""The tiny random networks: each family wired as its large relatives are, the same for the same seed."""

import comfy.model_base
import comfy.sample
import comfy.supported_models
import pytest
import torch
from prompt_fidelity.host.models.random_models import FAMILIES, load_random_model

PROMPT = "a red ball and a blue ring"


def sample(model, clip, side=16, steps=3, cfg=4.0):
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (PROMPT, ""))
    latent = torch.zeros(1, 4, side, side)
    noise = comfy.sample.prepare_noise(latent, 7)
    return comfy.sample.sample(
        model, noise, steps, cfg, "euler", "normal", positive, negative, latent, disable_pbar=True, seed=7
    )


def cross_attention_levels(model, clip, side=16) -> dict[str, list[int]]:
    """Side lengths of the maps, per part of the UNet, in the order in which the layers run."""
    levels: dict[str, list[int]] = {"input": [], "middle": [], "output": []}

    def look(original, q, k, v, heads, *args, transformer_options=None, **kwargs):
        if k.shape[1] == 77:
            levels[transformer_options["block"][0]].append(round(q.shape[1] ** 0.5))
        return original(q, k, v, heads, *args, transformer_options=transformer_options, **kwargs)

    watched = model.clone()
    watched.model_options["transformer_options"]["optimized_attention_override"] = look
    sample(watched, clip, side, steps=1, cfg=1.0)
    return levels


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_through_the_host_and_repeats_itself(family):
    with torch.inference_mode():
        pictures = []
        for _ in range(2):
            model, clip, vae = load_random_model(family, seed=3)
            pictures.append(vae.decode(sample(model, clip)))
        other = load_random_model(family, seed=4)
        assert pictures[0].shape == (1, 128, 128, 3) and pictures[0].isfinite().all()
        assert torch.equal(*pictures)
        assert not torch.equal(pictures[0], vae.decode(sample(*other[:2])))


def test_prediction_types_are_the_families_own():
    types = {family: load_random_model(family)[0].model.model_type for family in FAMILIES}
    kinds = comfy.model_base.ModelType
    assert types == {"sd1": kinds.EPS, "sd2": kinds.V_PREDICTION, "sdxl": kinds.EPS}


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_four_levels_hold_attention_at_1_2_4_and_8_in_the_middle(family):
    model, clip, _ = load_random_model(family)
    levels = cross_attention_levels(model, clip)
    assert levels == {"input": [16, 8, 4], "middle": [2], "output": [4, 4, 8, 8, 16, 16]}


def test_sdxl_has_no_attention_at_full_resolution_and_deeper_blocks_below():
    model, clip, _ = load_random_model("sdxl")
    levels = cross_attention_levels(model, clip)
    assert levels == {"input": [8, 4, 4], "middle": [4, 4], "output": [4, 4, 4, 4, 8, 8]}


def test_sdxl_text_joins_both_encoders_and_pools_the_second():
    model, clip, _ = load_random_model("sdxl")
    ((tokens, extra),) = clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT))
    assert set(clip.tokenize(PROMPT)) == {"l", "g"}
    assert tokens.shape == (1, 77, 48 + 64) and extra["pooled_output"].shape == (1, 64)
    assert model.model.adm_channels == 64 + 6 * 256


@pytest.mark.parametrize("family", FAMILIES)
def test_words_change_the_encoding_from_their_place_on(family):
    _, clip, _ = load_random_model(family)
    first, second = (clip.encode_from_tokens(clip.tokenize(text)) for text in ("a red ball", "a blue ball"))
    assert torch.allclose(first[:, :2], second[:, :2], atol=1e-6)
    assert not torch.allclose(first[:, 3], second[:, 3], atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_float64_gives_the_same_network(family):
    single, clip, _ = load_random_model(family, seed=1)
    double, _, _ = load_random_model(family, seed=1, dtype=torch.float64)
    assert next(double.model.diffusion_model.parameters()).dtype == torch.float64
    assert torch.allclose(sample(single, clip), sample(double, clip), rtol=1e-3, atol=1e-2)


def test_another_family_is_refused_by_name():
    with pytest.raises(ValueError, match="sd9.*sd1, sd2, sdxl"):
        load_random_model("sd9")


def test_the_hosts_table_of_models_is_left_alone():
    before = list(comfy.supported_models.models)
    load_random_model("sd1")
    assert comfy.supported_models.models == before
