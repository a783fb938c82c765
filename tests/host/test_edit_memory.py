"""What a score edit keeps in memory: scores are written out in the layers at work alone, and only small maps stay."""

from collections import Counter

import pytest
import torch
from comfy.ldm.modules.attention import CrossAttention, attention_pytorch
from hostkit import models, patched, sample
from prompt_fidelity.core.control.scores import ScoreEditor
from prompt_fidelity.host.networks.base import Site
from prompt_fidelity.host.networks.families import network_of
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TOKENS = 77
REGULATION = "attention_regulation"


class WrittenScores(TorchDispatchMode):
    """Notes every new tensor of the size of one row's scores [heads, pixels, tokens] or larger in the layer at work.

    `made` counts them by layer, `largest` is the greatest size in rows, and `left` the most that a layer left behind.
    """

    def __init__(self, diffusion_model: torch.nn.Module):
        super().__init__()
        self.made: Counter[Site] = Counter()
        self.largest = 0.0
        self.left = 0
        self.alive: list[StorageWeakRef] = []
        self.at: tuple[Site, int, int] | None = None
        self.handles = []
        for name, module in diffusion_model.named_modules():
            if isinstance(module, CrossAttention) and name.endswith("attn2"):
                site = site_of(name)
                self.handles.append(module.register_forward_pre_hook(self._entering(site), with_kwargs=True))
                self.handles.append(module.register_forward_hook(self._leaving))

    def _entering(self, site: Site):
        def enter(module, args, kwargs):
            self.at = (site, args[0].shape[1], module.heads)

        return enter

    def _leaving(self, module, args, out):
        self.at = None
        self.left = max(self.left, self.still_alive())

    def still_alive(self) -> int:
        """How many of all that were noted lie in memory now."""
        self.alive = [one for one in self.alive if not one.expired()]
        return len({one.cdata for one in self.alive})

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if self.at is not None:
            site, pixels, heads = self.at
            given = {storage(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
            for x in tree_leaves(out):
                if isinstance(x, torch.Tensor) and x.shape[-2:] == (pixels, TOKENS) and storage(x) not in given:
                    rows = x.numel() / (heads * pixels * TOKENS)
                    if rows >= 1:
                        self.made[site] += 1
                        self.largest = max(self.largest, rows)
                        self.alive.append(StorageWeakRef(x.untyped_storage()))
        return out

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def site_of(name: str) -> Site:
    """The layer that a module's name speaks of: "input_blocks.7.1.transformer_blocks.0.attn2"."""
    parts = name.split(".")
    block = parts[0].split("_")[0]
    return Site(block, 0 if block == "middle" else int(parts[1]), int(parts[parts.index("transformer_blocks") + 1]))


def with_fused_attention(family: str):
    """The family's model with a kernel that writes no scores out, whatever the host would choose on this machine."""
    model = models(family)[0].clone()
    fused = lambda func, *args, **kwargs: attention_pytorch(*args, **kwargs)  # noqa: E731
    model.model_options["transformer_options"]["optimized_attention_override"] = fused
    return model


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_scores_are_written_out_in_the_layers_at_work_only(family):
    """Of the edited rows alone; a layer that is recorded but not edited writes its maps out once, all others none."""
    settings = {"resolution": "1/4"}
    controlled, record = patched(family, REGULATION, model=with_fused_attention(family), settings=settings)
    network = network_of(controlled.model)
    recorded = network.recorded(4)
    edited = network.edited(recorded, "first")
    written = WrittenScores(controlled.model.diffusion_model)
    try:
        with written:
            sample(controlled, family, size=(1, 4, 32, 32), steps=1)
    finally:
        written.remove()
    assert {str(site) for site in edited} == set(record.edits[0].layers)
    assert edited < set(network.sites) and set(written.made) == recorded
    assert all(written.made[site] == 2 for site in recorded - edited)  # the product and its softmax, for the record
    # The scores, their exponentials while the edit is sought, the edited scores; the probabilities of both, those that
    # got their start and end tokens back, the same renormalised, and the difference to the plain ones.
    assert all(written.made[site] == 8 for site in edited)
    assert written.largest == 1.0  # the prompt's row, not the negative's
    # What the layer last edited attends with is for the record of the layer; it goes when the next layer is at work.
    assert written.left == 1 and written.still_alive() == 0


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_between_the_steps_only_the_last_maps_are_kept(sampler, monkeypatch):
    """Of each layer the maps of this step and of the one before, which a second call in the step needs."""
    editors, sizes = set(), []
    real = ScoreEditor.edit

    def edit(self, scores, *args):
        editors.add(self)
        edited = real(self, scores, *args)
        images, heads, pixels, _ = scores.shape
        sizes.append((2 * images * heads * pixels * 4, [kept_bytes(memory) for memory in self._memories.values()]))
        return edited

    monkeypatch.setattr(ScoreEditor, "edit", edit)
    controlled, record = patched(method=REGULATION, settings={"end": 1.0})
    sample(controlled, sampler=sampler, steps=6, size=(2, 4, 16, 16))
    assert len(record.edits) == 6 and len(editors) == 1
    layers = len(record.edits[0].layers)
    for one_map, memories in sizes:
        assert len(memories) <= layers
        assert all(one_map <= kept <= 2 * one_map for kept in memories)
    assert max(len(memories) for _, memories in sizes) == layers


def kept_bytes(memory: dict[int, torch.Tensor]) -> int:
    """Bytes of whole storages: a small view of something large would keep that."""
    return sum(kept.untyped_storage().nbytes() for kept in memory.values())
