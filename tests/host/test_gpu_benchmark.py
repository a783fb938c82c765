"""benchmarks/gpu.py does everything it does on a card, with tiny networks on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--small", "--steps", "2", "--networks", "sdxl"]
    command += ["--loaders", "resident", "novram", "--methods", "t_sam", "attention_regulation", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_loader_gives_the_residents_update(folder):
    loaders = json.loads((folder / "gpu.json").read_text())["networks"]["sdxl"]
    assert loaders["resident"]["cosine float16"] > 0.99 and loaders["resident"]["cosine bfloat16"] > 0.95
    assert loaders["novram"]["difference float16"] == 0.0
    assert loaders["resident"]["too_large"] == loaders["novram"]["too_large"] == []


def test_the_table_has_every_picture_that_was_drawn(folder):
    text = (folder / "gpu.md").read_text()
    for way in ("plain", "t_sam in the prediction", "t_sam in the latent"):
        assert f"| sdxl | novram | {way} |" in text
    assert "| sdxl | novram, float16 | 0.9" in text and "no card: the CPU" in text


def test_what_there_is_no_time_for_is_left_out_and_said(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--small", "--minutes", "0", "--networks", "sd15"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1 and "no time" in done.stderr
    assert "left out" in (tmp_path / "gpu.md").read_text()
