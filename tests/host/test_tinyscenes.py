"""TinyScenes as it is trained is TinyScenes as the host runs it; its code is the host's VAE object."""

import sys
from pathlib import Path
from types import SimpleNamespace

import comfy.sd1_clip
import numpy as np
import pytest
import torch
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models import demo_scenes, text_encoder
from prompt_fidelity.host.models.assemble import assemble_clip, assemble_model
from prompt_fidelity.host.models.pca_vae import component_vae

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tinyscenes import components, data, model, train  # noqa: E402


@pytest.fixture(scope="module")
def texts() -> train.Texts:
    return train.Texts()


@pytest.fixture(scope="module")
def net(texts) -> model.TinyScenes:
    """The network with random weights everywhere: as it starts, most of it says nothing."""
    made = model.TinyScenes(demo_scenes.FLUX_CONFIG, demo_scenes.CLIP_CONFIG, texts.vocabulary)
    made.initialise(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture(scope="module")
def code() -> components.Components:
    return components.fit(count=200)


def test_the_trained_transformer_computes_what_the_hosts_computes(net):
    generator = torch.Generator().manual_seed(2)
    x, t = torch.randn(3, 16, 16, 16, generator=generator), torch.tensor([0.1, 0.6, 1.0])
    rows = torch.randint(0, len(net.vocabulary), (3, demo_scenes.TOKENS), generator=generator)
    with torch.inference_mode():
        context = net.encode(rows)
        flux = {name.removeprefix("flux."): value for name, value in net.state_dict().items() if name[:5] == "flux."}
        config = {"image_model": "flux", **demo_scenes.FLUX_CONFIG}
        patcher = assemble_model(demo_scenes.TinyScenes(config), flux)
        host = patcher.model.diffusion_model(x, t, context)
        ours = net(x, t, rows)
    assert host.std() > 0.05
    assert torch.allclose(host, ours, atol=1e-4 * float(host.abs().max()))


def test_the_trained_text_encoder_computes_what_the_hosts_computes(net, texts):
    captions = ["a red cat and a blue dog", "an elephant", ""]
    with torch.inference_mode():
        ours = net.encode(texts.rows(captions))
        kinds = comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel
        weights = text_encoder.text_weights(stored_text(net), demo_scenes.TEXT_PREFIX)
        clip = assemble_clip(*kinds, {"clip_l": demo_scenes.CLIP_CONFIG}, weights, demo_scenes.TOKENS)
        theirs = torch.cat([clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0] for text in captions])
    assert theirs.shape == ours.shape == (3, demo_scenes.TOKENS, 128)
    assert torch.allclose(theirs, ours, atol=1e-4 * float(ours.abs().max()))


def stored_text(net) -> dict[str, torch.Tensor]:
    """The text encoder's weights under the names of the weights file."""
    stored = {demo_scenes.TOKEN_IDS: torch.tensor(net.vocabulary)}
    for name, value in net.state_dict().items():
        if name.startswith("text."):
            name = demo_scenes.TEXT_PREFIX + "transformer." + name.removeprefix("text.")
            stored[demo_scenes.TOKEN_ROWS if "token_embedding" in name else name] = value
    return stored


def test_the_vae_is_the_training_code_and_reverses(code):
    rng = np.random.default_rng(0)
    scenes = [data.sample(rng, (0.3, 0.4, 0.3), 0.3)[0] for _ in range(6)]
    pictures = np.stack([data.render(things, data.ground(rng)) for things in scenes])
    vae = component_vae(*(torch.from_numpy(value) for value in (code.mean, code.basis, code.scale)))
    with torch.inference_mode():
        latents = vae.encode(torch.from_numpy(pictures))
        decoded = vae.decode(latents)
    assert latents.shape == (6, 16, 16, 16) and decoded.shape == pictures.shape
    assert np.allclose(latents.numpy(), code.encode(pictures), atol=1e-4)
    assert np.allclose(decoded.numpy(), code.decode(code.encode(pictures)), atol=1e-4)
    with torch.inference_mode():
        again = vae.encode(vae.decode(0.3 * latents))
        assert torch.allclose(again, 0.3 * latents, atol=0.05)


def test_the_network_and_the_words_fit(net, texts):
    assert sum(parameter.numel() for parameter in net.parameters()) <= 10_000_000
    longest = ", ".join(["an orange elephant"] * 2) + " and an orange elephant"
    assert len(set(texts.vocabulary)) == len(texts.vocabulary) < 60
    assert texts.ids(longest)[-1] == texts.ids("")[-1]  # ends inside the positions
    # Every noun and every colour is one token: a word's attention is one column.
    for word in (*data.NOUNS, *data.COLOURS):
        assert texts.ids(word)[2] == texts.ids("")[1]


def test_a_window_is_computed_as_that_part_of_the_whole_picture_would_be_named(net):
    """A window's cells carry the places that they have in the whole picture."""
    whole, part = net.turn_of((0, 0), 16), net.turn_of((3, 5), 8)
    words = demo_scenes.TOKENS
    for all_of_them, some in zip(whole, part):
        cells = all_of_them[words:].unflatten(0, (16, 16))[3:11, 5:13].flatten(0, 1)
        assert torch.equal(some[words:], cells) and torch.equal(some[:words], all_of_them[:words])


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(code, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "restart_with_memory_kept", lambda args: None)
    monkeypatch.setattr(train.watch, "look", lambda *args: "")
    monkeypatch.setattr(train.components, "fit", lambda: code)
    monkeypatch.setattr(train.signal, "signal", lambda *args: None)

    def run(folder: str, *steps: int, branch: tuple[str, ...] = ()) -> dict:
        for last in steps:
            arguments = ["train.py", "--output", str(tmp_path / folder), "--windows", "8:2", "16:1", "--counts", "0.5",
                         "0.5", "0", "--warmup", "2", "--eager", "--steps", str(last), *branch]  # fmt: skip
            monkeypatch.setattr(sys, "argv", arguments)
            train.main()
        return torch.load(tmp_path / folder / "last.pt", weights_only=True)

    whole, parted = run("whole", 4), run("parted", 2, 4)
    again = run("branched", 4, branch=("--branch-at", "3", "--branch-steps", "2"))
    finished = torch.load(tmp_path / "branched" / "at-3" / "last.pt", weights_only=True)
    assert finished["samples"] == 6 and finished["phases"][-1]["finish"] == "2"
    assert whole["step"] == parted["step"] == 4 and whole["samples"] == parted["samples"] == 6
    for kind in ("model", "averaged"):
        for name, value in whole[kind].items():
            assert torch.allclose(value, parted[kind][name], atol=1e-6), (kind, name)
            assert torch.allclose(value, again[kind][name], atol=1e-6), (kind, name)


def test_stages_follow_the_samples_unless_settings_are_given():
    free, fixed = SimpleNamespace(windows=None, counts=None), SimpleNamespace(windows=["8:4"], counts=(1.0, 0.0, 0.0))
    for first, windows, counts in train.STAGES:
        assert (train.at_stage(free, first).windows, train.at_stage(free, first).counts) == (windows, counts)
        assert train.at_stage(fixed, first).windows == ["8:4"]
    assert train.at_stage(free, train.STAGES[1][0] - 1).windows == train.STAGES[0][1]


def test_missing_weights_are_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(HostError, match="train.py"):
        demo_scenes.load_demo_scenes(tmp_path / "none.safetensors")
