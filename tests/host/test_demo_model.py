"""TinyShapes: its container, its VAE, and that it draws what it is asked for."""

import sys
from pathlib import Path

import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import numpy as np
import pytest
import torch
from hostkit import models
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models import demo_model, text_encoder
from prompt_fidelity.host.models.mean_vae import block_mean_vae, pictures_to_latents
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.text import encode_with_targets

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tinyshapes import data, detector, evaluate, model  # noqa: E402


@pytest.fixture(scope="module")
def loaded():
    with torch.inference_mode():
        return demo_model.load_demo_model()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([data.render(data.sample(rng, (0.2, 0.4, 0.4), 0.0)[0]) for _ in range(12)]))


def test_it_is_made_of_the_hosts_own_classes(loaded):
    patcher, clip, vae = loaded
    assert type(patcher) is comfy.model_patcher.ModelPatcher
    assert isinstance(clip, comfy.sd.CLIP) and isinstance(vae, comfy.sd.VAE)
    assert isinstance(patcher.model.model_config, comfy.supported_models.SD15)


def test_the_weights_are_small_and_finite(loaded):
    assert sum(path.stat().st_size for path in demo_model.ASSETS.glob("tinyshapes*")) <= 20_000_000
    for part in (loaded[0].model, loaded[1].cond_stage_model, loaded[2].first_stage_model):
        with torch.inference_mode():
            assert all(parameter.isfinite().all() for parameter in part.parameters())


def test_the_card_says_how_to_sample_and_how_it_was_made():
    card = demo_model.demo_card()
    assert set(card["sampling"]) == {"steps", "cfg", "sampler", "scheduler", "width", "height"}
    assert card["vocabulary"] == {
        "nouns": list(data.NOUNS),
        "colours": list(data.COLOURS),
        "relations": list(data.RELATIONS),
    }
    assert len(data.NOUNS) >= 6 and len(data.COLOURS) >= 6
    assert card["unet"] == demo_model.UNET_CONFIG and card["text_encoder"] == demo_model.CLIP_CONFIG
    assert card["trained_samples"] == card["trained_steps"] * int(card["recipe"][-1]["batch"])


def test_loading_leaves_the_hosts_table_of_models_alone():
    before = list(comfy.supported_models.models)
    demo_model.load_demo_model()
    assert comfy.supported_models.models == before


def test_missing_weights_are_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(HostError, match="train.py"):
        demo_model.load_demo_model(tmp_path / "none.safetensors")


def test_prompts_take_16_positions_and_long_ones_another_16(loaded):
    clip = loaded[1]
    for text, positions in (("", 16), ("a red ball, a blue ring and a white cup", 16), ("a red ball and " * 4, 32)):
        encoded = clip.encode_from_tokens_scheduled(clip.tokenize(text))
        assert encoded[0][0].shape == (1, positions, demo_model.CLIP_CONFIG["hidden_size"])


def test_the_host_encodes_text_as_it_was_trained(loaded):
    clip = loaded[1]
    stored = demo_model.comfy.utils.load_torch_file(str(demo_model.WEIGHTS), safe_load=True)
    vocabulary = stored[demo_model.TOKEN_IDS].tolist()
    trained = model.TinyShapes(demo_model.UNET_CONFIG, demo_model.CLIP_CONFIG, vocabulary)
    weights = {
        "text." + name.removeprefix("clip_l.transformer."): value
        for name, value in text_encoder.text_weights(stored, demo_model.TEXT_PREFIX).items()
        if name.startswith("clip_l.transformer.text_model")
    }
    weights["text." + text_encoder.TOKEN_TABLE.removeprefix("transformer.")] = stored[demo_model.TOKEN_ROWS].float()
    missing, unexpected = trained.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.startswith("unet.") for name in missing)
    caption = "a red ball to the left of a blue ring"
    rows = model.rows_of([caption], clip.tokenizer, vocabulary)
    assert torch.allclose(trained.encode(rows), clip.encode_from_tokens(clip.tokenize(caption)), atol=2e-4)


def test_the_vae_encodes_block_means(pictures):
    with torch.inference_mode():
        latents = block_mean_vae().encode(pictures) * comfy.supported_models.SD15.latent_format().scale_factor
    assert torch.allclose(latents, pictures_to_latents(pictures), atol=1e-4)


def test_the_vae_returns_pictures_the_detector_reads_as_before(pictures):
    vae = block_mean_vae()
    with torch.inference_mode():
        decoded = vae.decode(vae.encode(pictures)).numpy()
    for before, after in zip(pictures.numpy(), decoded):
        names = [[(item.noun, item.colour) for item in detector.detect(picture)] for picture in (before, after)]
        assert names[0] == names[1]
        blocks = [picture.reshape(16, 8, 16, 8, 3).mean((1, 3)) for picture in (before, after)]
        assert (
            abs(blocks[0] - blocks[1]).mean() < 0.01 and abs(before - after).mean() < 0.05
        )  # edges are what a cell of 8 x 8 cannot hold


def test_one_object_is_drawn_as_asked(loaded):
    sampling = demo_model.demo_card()["sampling"]
    with torch.inference_mode():
        figures, _ = evaluate.evaluate(objects=1, count=16, sampling=sampling, loaded=loaded)
    assert figures["success"] >= 0.85
    assert figures["peak_inside"] >= 0.8 > 3 * figures["peak_chance"] / 2


@pytest.mark.parametrize("objects", [2, 3])
def test_several_objects_leave_something_to_repair(loaded, objects):
    sampling = demo_model.demo_card()["sampling"]
    with torch.inference_mode():
        figures, _ = evaluate.evaluate(objects=objects, count=24, sampling=sampling, loaded=loaded)
    assert 0.2 <= figures["success"] <= 0.8


def test_the_cards_figures_are_those_the_benchmark_needs():
    """One object is drawn right, two and three leave head-room, and the nouns' attention tells where they are drawn."""
    card = demo_model.demo_card()
    metrics = card["metrics"]
    assert metrics["sampling"] == card["sampling"] and metrics["objects"].keys() == {"1", "2", "3"}
    assert all(figures["prompts"] >= 200 and figures["peak_inside"] >= 0.9 for figures in metrics["objects"].values())
    assert metrics["objects"]["1"]["success"] >= 0.95
    assert all(0.3 <= metrics["objects"][objects]["success"] <= 0.7 for objects in "23")


def test_a_preset_for_another_model_is_warned_of_with_the_right_one(loaded):
    def warnings(model, clip, preset: str, strength: float = 1.0) -> str:
        targets = encode_with_targets(clip, "a red ball and a blue ring")[1]
        method = METHODS["syngen"](METHODS["syngen"].PRESETS[preset])
        return "\n".join(attach(model, method, targets, strength=strength)[1].warnings)

    with torch.inference_mode():
        demo, other = loaded[:2], models("sd1")[:2]
        assert 'choose the preset "demo"' in warnings(*demo, "published")
        assert 'choose the preset "published"' in warnings(*other, "demo")
        assert (
            warnings(*demo, "demo") == warnings(*other, "published") == warnings(*demo, "published", strength=0.0) == ""
        )
