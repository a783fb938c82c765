"""TinyScenes as a demo model, with random weights: loaded, guided, previewed, and judged by the benchmark."""

import json
import sys
from pathlib import Path

import comfy.cli_args
import comfy.model_management
import latent_preview
import numpy as np
import pytest
import torch
from hostkit import encoded, models, noise, sample
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.auto import Auto
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models import demo_scenes
from prompt_fidelity.host.models.demo_model import load_demo_model
from prompt_fidelity.host.models.family import family_of
from prompt_fidelity.host.networks.families import network_of
from prompt_fidelity.host.sampling.ability import abilities
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.host.text import encode_with_targets
from prompt_fidelity.nodes import demo as node
from random_scenes import random_scenes
from test_fidelity_benchmark import run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from measuring.cases import excite_cases  # noqa: E402
from measuring.judge import SceneJudge  # noqa: E402
from tinyscenes import data  # noqa: E402

PROMPT = "a cat and a red backpack"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return random_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def loaded(file):
    with torch.inference_mode():
        return demo_scenes.load_demo_scenes(file)


@pytest.fixture(scope="module")
def asked(loaded):
    """(conditioning, targets, the empty prompt's conditioning)"""
    with torch.inference_mode():
        return *encode_with_targets(loaded[1], PROMPT), encode_with_targets(loaded[1], "")[0]


def drawn(model, asked, steps: int = 4) -> torch.Tensor:
    return sample(
        model, start=noise(2, 16, 16, 16), positive=asked[0], negative=asked[2], steps=steps, cfg=3.0,
        scheduler="simple",
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain(loaded, asked) -> torch.Tensor:
    return drawn(loaded[0], asked)


def test_the_family_of_each_demo_model_is_known(loaded):
    with torch.inference_mode():
        assert (family_of(loaded[0]), family_of(load_demo_model()[0])) == ("scenes", "demo")
    assert network_of(loaded[0].model).joint and "transformer (Flux)" in abilities(loaded[0])


def test_the_node_offers_both_models(monkeypatch, file, tmp_path):
    (choice,) = node.FidelityLoadDemoModel.GET_SCHEMA().inputs
    assert (choice.id, choice.options, choice.default, choice.optional) == (
        "model",
        ["scenes", "shapes"],
        "scenes",
        True,
    )
    with torch.inference_mode():
        assert family_of(node.FidelityLoadDemoModel.execute().args[0]) == "demo", "as workflows of earlier versions ask"
        monkeypatch.setitem(node.LOADERS, "scenes", lambda: demo_scenes.load_demo_scenes(file))
        assert family_of(node.FidelityLoadDemoModel.execute("scenes").args[0]) == "scenes"
    monkeypatch.setitem(node.LOADERS, "scenes", lambda: demo_scenes.load_demo_scenes(tmp_path / "none.safetensors"))
    with pytest.raises(HostError, match="pack is incomplete.*The scenes demo model's weights are missing"):
        node.FidelityLoadDemoModel.execute("scenes")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_draws_with_it(method, loaded, asked, plain):
    waiting = METHODS[method].waiting()
    with torch.inference_mode():
        listening, record = attach(loaded[0], waiting, asked[1], strength=0.0)
        guided, acting = attach(loaded[0], waiting, asked[1], strength=0.3)
    assert torch.equal(drawn(listening, asked), plain) and record.maps.steps == 4
    picture = drawn(guided, asked)
    assert picture.isfinite().all() and not torch.equal(picture, plain) and acting.acted
    assert not any("preset" in warning for warning in acting.warnings), acting.warnings


def test_a_preset_for_the_other_demo_model_is_warned_of(loaded, asked):
    def warnings(preset: str) -> str:
        chosen = METHODS["syngen"]
        with torch.inference_mode():
            return "\n".join(attach(loaded[0], chosen(chosen.PRESETS[preset]), asked[1])[1].warnings)

    assert "made for TinyShapes" in warnings("demo") and 'choose the preset "published"' in warnings("demo")
    assert warnings("published") == ""


def test_auto_takes_one_pass_and_taca_says_nothing_against_it(loaded, asked):
    with torch.inference_mode():
        record = attach(loaded[0], Auto(METHODS), asked[1])[1]
        assert record.method.title == "FOCUS + T-SAM" and record.method.preset == "scenes + scenes"
        assert attach(loaded[0], METHODS["taca"](), asked[1])[1].warnings == []


def test_a_unet_is_told_apart_and_one_that_fills_the_memory_is_spared_gradients(monkeypatch):
    patcher, targets = models("sd1")[0], encoded("sd1")[1]

    def attached(method):
        with torch.inference_mode():
            return attach(patcher, method, targets)[1]

    assert attached(Auto(METHODS)).method.name == "syngen" and "U-Net" in abilities(patcher)
    assert "the words have the attention to themselves" in attached(METHODS["taca"]()).warnings[0]
    monkeypatch.setattr(comfy.model_management, "get_total_memory", lambda *_: 1.2 * patcher.model_size())
    assert attached(Auto(METHODS)).method.name == "attention_regulation"


def test_the_hosts_preview_shows_the_cells_colours(monkeypatch, loaded):
    patcher, _, vae = loaded
    monkeypatch.setattr(latent_preview.args, "preview_method", comfy.cli_args.LatentPreviewMethod.Latent2RGB)
    latents = 0.5 * noise(1, 16, 16, 16)
    with torch.inference_mode():
        previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
        shown = np.asarray(previewer.decode_latent_to_preview(latents)) / 255.0
        # Not clipped, unlike the VAE's pictures: a cell's mean comes before that.
        cells = vae.first_stage_model.decode(latents)[0].unflatten(1, (16, 8)).unflatten(3, (16, 8)).mean((2, 4))
    expected = ((cells + 1.0) / 2.0).clamp(0, 1).movedim(0, -1)
    assert shown.shape == (16, 16, 3) and expected.std() > 0.05
    assert np.abs(shown - expected.numpy()).max() < 2 / 255


def test_the_judge_reads_scenes_as_asked():
    case = next(case for case in excite_cases("dev") if case.kind == "animal and object")
    things = data.place(np.random.default_rng(0), list(case.wanted))
    figures = SceneJudge()(data.render(things), case, None)
    assert set(figures) == set(SceneJudge.figures) and figures["success"] == figures["presence"] == 1.0
    alone = SceneJudge()(data.render(things[:1]), case, None)
    assert alone["presence"] == 0.5 and alone["success"] == 0.0


def test_the_benchmark_runs_on_scenes_and_answers_by_kind(file, tmp_path):
    answer, printed = run(
        "--model", "scenes", "--weights", str(file), "--half", "dev", "--count", "3", "--seeds", "0", "--steps", "3",
        "--methods", "attention_regulation,focus", "--sheet", "0", folder=tmp_path,
    )  # fmt: skip
    assert set(answer["kinds"]) == {"animal and animal", "animal and object", "object and object"}
    for ways in answer["kinds"].values():
        assert {"plain", "attention_regulation", "placebo of focus"} <= set(ways)
        assert all(figures["pictures"] == 1 and 0 <= figures["detected"] <= 1 for figures in ways.values())
    assert answer["methods"]["focus"]["moved"] > 0 and answer["placebos"]["focus"]["distance"] > 0
    assert answer["placebos"]["attention_regulation"]["distance"] > 0
    assert "read in the papers" in printed and "66.2%" in printed
    assert json.loads(file.with_suffix(".json").read_text())["sampling"]["width"] == 128
    assert (tmp_path / "fidelity_scenes.csv").is_file()
