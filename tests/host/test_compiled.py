"""Compiled networks: what a method does is done all the same."""

import comfy_api.torch_helpers.torch_compile as host
import pytest
import torch
from comfy_extras.nodes_torch_compile import skip_torch_compile_dict
from hostkit import ONE_A_STEP, models, patched, sample
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.host.sampling import compiled as module


class Backend:
    """Runs what was traced as it was traced, and counts; inductor, which makes faster code of it, needs a compiler."""

    def __init__(self):
        self.traced = self.runs = 0

    def __call__(self, graph, inputs):
        self.traced += 1

        def run(*arguments):
            self.runs += 1
            return graph.forward(*arguments)

        return run


def compiled(family="sd1"):
    """By the host's own helper; one block, with attention that is recorded and edited, as tracing takes long."""
    torch._dynamo.reset()
    backend, model = Backend(), models(family)[0].clone()
    host.set_torch_compile_wrapper(
        model=model,
        backend=backend,
        options={"guard_filter_fn": skip_torch_compile_dict},
        keys=["diffusion_model.output_blocks.6.1.transformer_blocks.0"],
    )
    return model, backend


KINDS = [
    ("attend_and_excite", ONE_A_STEP),
    ("attend_and_excite", {"acts_on": PREDICTION, "refine_steps": 0}),
    ("attention_regulation", {}),
    ("space_time", {}),
]


# After a picture without a method, as the artist would, every kind; and as the first one what takes gradients and what
# does not: what is traced then is the same for both of either.
@pytest.mark.parametrize(
    ("method", "settings", "warm"), [*((*kind, True) for kind in KINDS), (*KINDS[0], False), (*KINDS[2], False)]
)
def test_a_compiled_network_draws_the_uncompiled_ones_picture(method, settings, warm):
    options = {"settings": settings, "strength": 0.2}
    expected, log = patched("sd1", method, **options)
    expected = sample(expected)
    model, backend = compiled()
    if warm:
        sample(model)
    before = backend.runs
    controlled, record = patched("sd1", method, model=model, **options)
    drawn = sample(controlled)
    assert (drawn - expected).norm() < 1e-3 * expected.norm()
    assert len(record.steps + record.edits + record.mixes) == len(log.steps + log.edits + log.mixes) > 0
    assert record.updates == log.updates
    assert any("torch.compile" in warning for warning in record.warnings)
    acted = len(record.steps + record.edits + record.mixes)
    assert backend.runs > before or acted == 6, "the steps in which nothing acts run compiled"


def test_the_second_look_compiles_nothing_anew():
    model, backend = compiled()
    looking, record = patched("sd1", model=model, strength=0.0, look_again=2.0)
    sample(model)
    traced, runs = backend.traced, backend.runs
    drawn = sample(looking)
    assert record.evidence.looks > 1 and backend.traced == traced
    assert backend.runs == 2 * runs, "the steps themselves run compiled"
    plainly = patched("sd1", strength=0.0, look_again=2.0)
    assert (drawn - sample(plainly[0])).norm() < 1e-3 * drawn.norm()
    torch.testing.assert_close(record.evidence.gains, plainly[1].evidence.gains, rtol=0.01, atol=1e-4)


def test_an_older_pytorch_without_stances(monkeypatch):
    monkeypatch.delattr(torch.compiler, "set_stance")
    expected = sample(patched("sd1", settings=ONE_A_STEP, strength=0.05)[0])
    controlled, record = patched("sd1", model=compiled()[0], settings=ONE_A_STEP, strength=0.05)
    drawn = sample(controlled)
    assert record.updates == 3 and (drawn - expected).norm() < 1e-3 * expected.norm()


def test_what_is_compiled_is_recognised(monkeypatch):
    class Guider:
        model_patcher = models("sd1")[0]
        model_options = models("sd1")[0].model_options

    assert not module.is_compiled(Guider)
    part = models("sd1")[0].model.diffusion_model.middle_block
    monkeypatch.setattr(part, "_compiled_call_impl", lambda *args: None)
    assert module.is_compiled(Guider)
