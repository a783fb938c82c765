"""Blocks that are run again in the backward pass: the same bits, and less that is kept."""

import functools

import comfy.model_management
import comfy.patcher_extension
import pytest
import torch
from comfy_extras import nodes_freelunch
from hostkit import FAMILIES, encoded, fingerprint, models, patched, sample
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import PREDICTION
from prompt_fidelity.core.methods.combined import CombinedMethods
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.networks.families import network_of
from prompt_fidelity.host.sampling import memory
from prompt_fidelity.host.sampling.install import attach
from streaming import FETCHES, stream_weights

WAYS = ("latent", PREDICTION)
every_way = pytest.mark.parametrize("way", WAYS)


def draw(recompute: str, family="sd1", way="latent", method="attend_and_excite", model=None, **options):
    """(latent, record) of a short run, with how often each block was run while gradients were on."""
    settings = {"acts_on": way, "refine_steps": 0}
    controlled, record = patched(family, method, model=model, settings=settings, strength=0.05, recompute=recompute)
    return sample(controlled, family, **{"size": (2, 4, 16, 24), **options}), record


def same(first, second) -> bool:
    losses = [torch.stack([step.totals[0] for step in record.steps if step.totals]) for _, record in (first, second)]
    maps = [record.maps.__dict__ for _, record in (first, second)]
    assert losses[0].shape[0] >= 3 and maps[0].keys() == maps[1].keys()
    return torch.equal(first[0], second[0]) and torch.equal(*losses)


@every_way
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_that_are_run_again_give_the_same_bits(family, way):
    before = fingerprint(models(family)[0])
    assert same(draw("on", family, way), draw("off", family, way))
    assert fingerprint(models(family)[0]) == before
    blocks = network_of(models(family)[0].model).blocks()
    assert not any("forward" in vars(module) for block in blocks for module in (block.module, *block.parts))


@every_way
@pytest.mark.parametrize("method", ["t_sam", "syngen"])
def test_every_map_counts_once(way, method):
    """The record's maps and losses are those of a run in which no block is run twice."""
    again, once = draw("on", "sdxl", way, method), draw("off", "sdxl", way, method)
    assert same(again, once)
    shown = [run[1].maps for run in (again, once)]
    assert held(shown[0]) == held(shown[1])


def held(thing):
    """What there is to compare of tensors, of objects and of what they hold."""
    if isinstance(thing, torch.Tensor):
        return thing.tolist()
    if isinstance(thing, (list, tuple)):
        return [held(each) for each in thing]
    return {name: held(value) for name, value in vars(thing).items()} if hasattr(thing, "__dict__") else thing


def test_a_combination_with_what_acts_inside_the_attention():
    """Edits and mixtures note what they do: a second run of their layers must not be noted."""
    drawn = []
    for recompute in ("on", "off"):
        excite = METHODS["attend_and_excite"]
        guided = type(excite().settings)(acts_on=PREDICTION, refine_steps=0)
        method = CombinedMethods(
            [(excite(guided), 0.05), (METHODS["attention_regulation"](), 1.0), (METHODS["space_time"](), 1.0)]
        )
        with torch.inference_mode():
            controlled, record = attach(models("sd1")[0], method, encoded("sd1")[1], recompute=recompute)
        drawn.append((sample(controlled), record))
    assert same(*drawn)
    assert str(drawn[0][1].edits) == str(drawn[1][1].edits) and str(drawn[0][1].mixes) == str(drawn[1][1].mixes)


@every_way
def test_with_streamed_weights(monkeypatch, way):
    once = draw("off", way=way)
    for kind in FETCHES:
        with monkeypatch.context() as patch:
            stream_weights(patch, kind)
            assert same(draw("on", way=way), once)
            comfy.model_management.unload_all_models()


@every_way
def test_with_neighbours_that_write_and_draw_random_numbers(way):
    """FreeU writes into the network's features; a noisy patch inside the blocks draws the same numbers twice."""

    def noisy(n, options):
        return n.mul_(1.0 + 0.1 * torch.rand_like(n))

    with torch.inference_mode():
        model = nodes_freelunch.FreeU_V2.execute(models("sd1")[0], 1.3, 1.4, 0.9, 0.2).result[0]
    model.set_model_attn1_output_patch(noisy)
    model.set_model_attn2_output_patch(noisy)
    drawn = []
    for recompute in ("on", "off"):
        torch.manual_seed(9)
        drawn.append(draw(recompute, way=way, model=model))
    assert same(*drawn)


def runs(monkeypatch) -> list[bool]:
    """Whether blocks are run again, for each gradient pass from now on."""
    seen, network = [], memory.Memory.network

    def noted(self):
        found = network.fget(self)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(memory.Memory, "network", property(noted))
    return seen


def says(free: int, device=None, torch_free_too=False):
    return (free, free) if torch_free_too else free


def kept(family: str, size: tuple[int, ...], run_again: bool) -> int:
    """The estimate for a pass in float32 up to the last attention at full size."""
    network = network_of(models(family)[0].model)
    return network.kept_bytes(size, 4, run_again, network.recorded(1))


@every_way
def test_the_choice_follows_what_the_host_says_is_free(monkeypatch, way):
    needed = kept("sd1", (2, 4, 16, 24), False)
    for free, expected in ((needed - 1, True), (needed + 1, False)):
        with monkeypatch.context() as patch:
            seen = runs(patch)
            patch.setattr(comfy.model_management, "get_free_memory", functools.partial(says, free))
            draw("auto", way=way)
        assert set(seen) == {expected}


class Scarce:
    """A card whose memory runs out in a gradient pass `times` times."""

    def __init__(self, model, times: int, error: Exception):
        self.left, self.error = times, error
        self.model = model.clone()
        self.model.set_model_output_block_patch(self._patch)

    def _patch(self, h, hsp, options):
        if h.requires_grad and self.left:
            self.left -= 1
            raise self.error
        return h, hsp


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"),
]


# One kind of error in both ways of acting; what tells the kinds apart is asked in the same place in both.
@pytest.mark.parametrize(
    ("error", "way"),
    [(ERRORS[0], "latent"), (ERRORS[0], PREDICTION), (ERRORS[1], "latent"), (ERRORS[2], PREDICTION)],
    ids=["cuda, latent", "cuda, prediction", "mps", "cpu"],
)
def test_out_of_memory_frees_then_runs_again_then_says_so(monkeypatch, way, error):
    whole = draw("off", way=way)
    before = fingerprint(models("sd1")[0])
    emptied = []
    monkeypatch.setattr(comfy.model_management, "soft_empty_cache", lambda *args: emptied.append(args))
    for times, again in ((1, False), (2, True)):
        seen = runs(monkeypatch)
        assert same(draw("off", way=way, model=Scarce(models("sd1")[0], times, error).model), whole)
        assert emptied and seen[times] is again and seen[-1] is again, "and it stays so to the run's end"
    with pytest.raises(HostError, match="Attend-and-Excite needs.*smaller picture"):
        draw("auto", way=way, model=Scarce(models("sd1")[0], 3, error).model)
    assert fingerprint(models("sd1")[0]) == before


def test_another_error_passes_through():
    with pytest.raises(RuntimeError, match="something else"):
        draw("auto", model=Scarce(models("sd1")[0], 1, RuntimeError("something else")).model)


def test_an_unknown_choice():
    with pytest.raises(HostError, match='auto, on, off; "maybe"'):
        draw("maybe")


@pytest.mark.parametrize("recompute", memory.CHOICES)
def test_the_host_is_told_what_is_needed(recompute):
    """Its own reckoning is for two rows of each image; a gradient pass has one, and what it keeps."""
    told = []

    def prepare(executor, model, noise_shape, conds, *args, **kwargs):
        told.append(tuple(noise_shape))
        return executor(model, noise_shape, conds, *args, **kwargs)

    model = models("sd1")[0].clone()
    draw(recompute, model=model)
    controlled, _ = patched("sd1", model=model, recompute=recompute)
    controlled.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING, "test", prepare)
    size = (2, 4, 16, 24)
    sample(controlled, size=size)
    network = model.model
    bytes_told = network.memory_required([2 * told[0][0], *size[1:]])
    plain = network.memory_required([2 * size[0], *size[1:]])
    row = network.memory_required([2, *size[1:]])
    assert told[0][0] == size[0] or 0 <= bytes_told - (plain / 2 + kept("sd1", size, recompute == "on")) <= row
