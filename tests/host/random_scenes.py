"""TinyScenes with random weights, in a file as train.py and export.py leave it: what needs its shape, not its skill."""

import sys
from pathlib import Path

import torch
from prompt_fidelity.host.models import demo_scenes

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tinyscenes import components, export, model, train  # noqa: E402


def random_scenes(folder: Path) -> Path:
    """The weights' file in `folder`, its card beside it."""
    vocabulary = train.Texts().vocabulary
    net = model.TinyScenes(demo_scenes.FLUX_CONFIG, demo_scenes.CLIP_CONFIG, vocabulary)
    net.initialise(0)
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: value.detach() + 0.03 * torch.randn(value.shape, generator=generator)
        for name, value in net.named_parameters()
    }
    code = components.fit(count=200)
    parts = {name: torch.from_numpy(getattr(code, name)) for name in ("mean", "basis", "scale")}
    state = {"averaged": weights, "vocabulary": vocabulary, "step": 0, "samples": 0, "seconds": 0.0, "phases": []}
    file = folder / "tinyscenes.safetensors"
    export.write(state | parts, file)
    return file
