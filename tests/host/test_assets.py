"""A copy of the pack whose files did not arrive whole says so by the file's name, and how to mend it."""

import functools
import hashlib
import json
import re
import shutil
import struct

import pytest
import torch
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.layout import files
from prompt_fidelity.host.models import assets, demo_clip, demo_model, demo_scenes
from safetensors.torch import save_file

LOADERS = {
    "tinyscenes": demo_scenes.load_demo_scenes,
    "tinyshapes": demo_model.load_demo_model,
    "tinyclip": demo_clip.load_demo_clip,
}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0cf3d73f\nsize 5461234\n"


def damaged(whole: bytes) -> dict[str, bytes]:
    """What may lie in a file's place."""
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    return {
        "nothing": b"",
        "zeros": bytes(len(whole)),
        "a pointer": POINTER,
        "a page of the web": b"<!DOCTYPE html><html><title>404</title></html>",
        "half of it": whole[: len(whole) // 2],
        "all but a byte": whole[:-1],
        "half of its header": whole[: header // 2],
        "its first bytes": whole[:5],
        "new line ends": whole.replace(b"\n", b"\r\n"),
        "one other byte": whole[:header] + bytes([whole[header] ^ 1]) + whole[header + 1 :],
        "a zip file": b"PK\x03\x04" + bytes(2000),
    }


def copied(name: str, folder):
    """The weights in a folder of their own, with their card."""
    for ending in ("safetensors", "json"):
        shutil.copy(assets.ASSETS / f"{name}.{ending}", folder)
    return folder / f"{name}.safetensors"


@pytest.mark.parametrize("kind", damaged((assets.ASSETS / "tinyclip.safetensors").read_bytes()))
@pytest.mark.parametrize("name", LOADERS)
def test_damaged_weights_are_named(name, kind, tmp_path):
    file = copied(name, tmp_path)
    file.write_bytes(damaged(file.read_bytes())[kind])
    with pytest.raises(HostError, match="pack is incomplete: install it again") as error:
        LOADERS[name](file)
    assert str(file) in str(error.value)
    assert error.value.__context__ is None or error.value.__suppress_context__
    if kind in ("nothing", "zeros"):
        assert "empty" in str(error.value)
    if kind == "a pointer":
        assert "git lfs pull" in str(error.value)


@pytest.mark.parametrize("name", LOADERS)
def test_missing_unreadable_and_foreign_weights_are_named(name, tmp_path):
    said = []
    (tmp_path / "folder.safetensors").mkdir()
    save_file({"some.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    foreign = {**assets.read_weights(assets.ASSETS / f"{name}.safetensors", "it", "a script")}
    longest = max((key for key in foreign if "token" not in key), key=lambda key: foreign[key].numel())
    save_file({**foreign, longest: foreign[longest][..., :-1].contiguous()}, tmp_path / "resized.safetensors")
    for place in ("none", "folder", "other", "resized"):
        with pytest.raises(HostError, match="install it again.*" + re.escape(str(tmp_path / place))) as error:
            LOADERS[name](tmp_path / f"{place}.safetensors")
        said.append(str(error.value))
    assert "missing" in said[0] and "not readable" in said[1]


@pytest.mark.parametrize("content", [b"", POINTER, b'{"sampling": {', None])
def test_a_damaged_card_is_named(content, tmp_path, monkeypatch):
    card = tmp_path / "tinyshapes.json"
    if content is not None:
        card.write_bytes(content)
    monkeypatch.setattr(demo_model, "CARD", card)
    with pytest.raises(HostError, match="install it again.*card.*tinyshapes.json"):
        demo_model.demo_card.__wrapped__()


@pytest.mark.parametrize("name", LOADERS)
def test_the_cards_know_their_weights(name):
    """Weights that are exported bring their digest along; a card without one cannot tell that they are others."""
    file = assets.ASSETS / f"{name}.safetensors"
    card = json.loads(file.with_suffix(".json").read_text())
    assert card[assets.DIGEST] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_weights_under_training_need_no_card(tmp_path):
    file = tmp_path / "mine.safetensors"
    shutil.copy(demo_model.WEIGHTS, file)
    assert len(demo_model.load_demo_model(file)) == 3


def test_all_assets_are_read_in_one_place():
    """A loader of its own would bring the traceback back."""
    loading = re.compile(r"load_torch_file|load_file|safe_open|\.read_text\(|\.read_bytes\(")
    models = sorted(assets.ASSETS.parent.joinpath("host", "models").glob("*.py"))
    assert models and [path.name for path in models if loading.search(path.read_text())] == ["assets.py"]


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", POINTER, b"PK\x03\x04" + bytes(200), b"\x80\x02}q\x00."])
def test_a_damaged_file_of_the_layout_predictor_is_named(content, ending, tmp_path, monkeypatch):
    """Which the artist downloaded."""
    for name, what in ((f"predictor.{ending}", content), ("vocab.json", b"{}"), ("merges.txt", b"")):
        (tmp_path / name).write_bytes(what)
    monkeypatch.setattr(files.folder_paths, "get_folder_paths", lambda name: [str(tmp_path)])
    monkeypatch.setattr(files, "_loaded", functools.lru_cache(files._loaded.__wrapped__))
    with pytest.raises(ValueError, match="layout predictor"):
        files.load_predictor()
