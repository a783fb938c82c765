"""What a gradient pass keeps at the published widths, counted on the meta device, where nothing is computed."""

import sys
from pathlib import Path

import pytest
import torch
from prompt_fidelity.host.networks.families import network_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import kept  # noqa: E402

# Bytes in half precision with blocks that are run again, at most.
LIMITS = {
    ("sd15", (64, 64)): 0.10e9,
    ("sd21", (96, 96)): 0.2e9,
    ("sdxl", (128, 128)): 0.8e9,
    ("flux", (128, 128)): 1.5e9,  # ending at its last block that is looked at
    ("sd35_large", (128, 128)): 1.5e9,
    ("z_image", (128, 128)): 1.5e9,
    ("qwen_image", (128, 128)): 2.0e9,
}


@pytest.mark.parametrize(("family", "latent"), LIMITS)
def test_the_estimate_is_what_is_kept(family, latent):
    model = kept.model_of(family, torch.bfloat16)
    network = network_of(model)
    sites, _ = network.looked_at("auto", *latent)
    for run_again in (False, True):
        counted = kept.kept(family, latent, torch.bfloat16, run_again)
        estimated = network.kept_bytes((1, 4, *latent), 2, run_again, sites)
        assert counted < estimated < 1.3 * counted
    assert counted < LIMITS[family, latent]
