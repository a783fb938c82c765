"""The pack works on every ComfyUI it names, not only on the one that the rest of the suite runs in."""

import os
import sys
from pathlib import Path

import pytest
from patience import finished
from prompt_fidelity.tools.hosts import HOSTS, host_version, pinned_host

ROOT = Path(__file__).resolve().parent.parent
# What leans on the host's internals: encoding, the gradient, other packs' patches, refusals, the nodes' schemas, CLIP.
NAMES = (
    "text",
    "encoders",
    "text_attention",
    "tokens_host",
    "coordinates",
    "other_packs",
    "bad_input",
    "nodes",
    "scoring",
)
# Of two longer files what differs between hosts: how a network is run and streamed, not the losses, rules and settings,
# which are the pack's own arithmetic. A test that is not there any more is an error.
SOME = {
    "gradient": (
        *(
            f"test_ending_the_pass_early_changes_no_bit_of_the_gradient[t_sam-{family}]"
            for family in ("sd1", "sd2", "sdxl")
        ),
        "test_gradient_agrees_with_central_differences",
        "test_weights_stay_what_they_are",
        "test_a_pass_in_a_pass_takes_nothing_from_it",
        "test_another_threads_picture_is_drawn_as_ever",
        "test_the_pass_runs_only_the_controlled_row",
    ),
    "second_look": tuple(
        f"test_every_family_says_what_it_sees_and_draws_what_it_would_have[{family}]"
        for family in ("sdxl", "flux", "sd3")
    ),
    "optimise": (
        "test_the_gradient_is_that_of_backpropagation_through_the_whole_sampling[convex-sd1]",
        "test_a_sampler_draws_the_very_picture_that_was_optimised[normal]",
        "test_cancelling_ends_it_and_nothing_stays_behind",
        "test_weights_that_are_streamed_are_learned_from_as_well",
        "test_the_node_gives_a_method_a_plot_and_weights_that_the_other_node_reads",
    ),
}
TESTS = [f"tests/host/test_{name}.py" for name in NAMES] + [
    f"tests/host/test_{name}.py::{test}" for name, tests in SOME.items() for test in tests
]

OTHERS = [version for version in HOSTS if version != host_version(Path(os.environ["COMFYUI_PATH"]))]


@pytest.mark.parametrize("version", OTHERS)
def test_the_host_tests_pass_in(version, tmp_path):
    environment = {**os.environ, "COMFYUI_PATH": str(pinned_host(version))}
    log = tmp_path / "log.txt"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    ended = finished(command, f"the tests in ComfyUI {version}", log, cwd=ROOT, env=environment)
    assert ended == 0, log.read_text()[-6000:]
