"""Every family of transformers: what is recorded is what the network attends to, and nothing else is changed by it.

Where text and picture are among the tokens is written down here once more, by itself (`Oracle`).
"""

import importlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import comfy.model_management
import comfy.patcher_extension
import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from hostkit import encoded, fingerprint, latent_of, models, noise, patched, sample
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.methods.base import EditSite, ScoreEdit, ScoreEditSettings
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.models.random_transformers import TRANSFORMERS, available
from prompt_fidelity.host.networks.attention import JointAttention
from prompt_fidelity.host.networks.base import Site
from prompt_fidelity.host.networks.families import network_of
from prompt_fidelity.host.networks.hidream import TwiceAttention
from prompt_fidelity.host.sampling.install import attach
from prompt_fidelity.tools.hosts import host_version

TEXT = 77
CROSS = ("cosmos_predict2", "kandinsky5", "anima", "wan", "pixart", "pixart_alpha", "hunyuan_dit")
BESIDE = {"hunyuan_dit": 16, "hidream": 2 * 20}  # columns of a second text, behind the first
# Networks that hand no options on to their attention, by the module that calls it.
KEEPS_OPTIONS = {
    "ernie": "ernie.model",
    "pixart": "pixart.blocks",
    "pixart_alpha": "pixart.blocks",
    "hunyuan_dit": "hydit.attn_layers",
}
REGISTERS = {"aura": 8}  # tokens before the text
FRONT = {"flux2": 512}  # the host fills the text up to so many, in front
PICTURE_FIRST = ("lens", "joyimage", "ernie", "hidream")
MULTIPLE = {"z_image": 32}  # text and picture are each filled up to a multiple, behind
every_family = pytest.mark.parametrize("family", available())


def attending(model, family: str, attention):
    """The model with `attention` in the place of the host's function, whether the network hands options on or not."""
    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = attention

    def with_options(executor, x, t, c_concat=None, c_crossattn=None, control=None, options=None, **more):
        module = importlib.import_module(f"comfy.ldm.{KEEPS_OPTIONS[family]}")
        plain = module.optimized_attention
        try:
            module.optimized_attention = partial(plain, transformer_options=options)
            return executor(x, t, c_concat, c_crossattn, control, options, **more)
        finally:
            module.optimized_attention = plain

    if family in KEEPS_OPTIONS:
        model.add_wrapper(comfy.patcher_extension.WrappersMP.APPLY_MODEL, with_options)
    return model


def fused(func, *arguments, **named):
    """PyTorch's fused attention, as the host takes it on a card."""
    return attention_pytorch(*arguments, **named)


@dataclass
class Oracle:
    """Writes every attention out. `raised`: what is added to the scores of the prompt's columns in the conditional rows
    of the blocks `blocks`, for the picture's queries.
    """

    family: str
    pixels: int
    blocks: set[int] | None = None
    raised: torch.Tensor | None = None

    def __post_init__(self):
        self.maps: list[torch.Tensor] = []  # of the conditional rows, [rows, pixels, TEXT], the heads' mean
        self.names = {}  # (block type, block index) where the host says them

    def model(self):
        """The family's model with every attention written out by this."""
        self.seen = 0
        return attending(models(self.family)[0], self.family, self)

    def __call__(self, func, q, k, v, heads, mask=None, **named):
        tokens = 2 if named.get("skip_reshape") else 1
        queries, keys, picture, text = self.places()
        if (q.shape[tokens], k.shape[tokens]) != (queries, keys):
            return func(q, k, v, heads, mask=mask, **named)
        width = q.shape[-1] if named.get("skip_reshape") or q.ndim == 4 else q.shape[-1] // heads
        heads_first = [
            each if named.get("skip_reshape") else each.reshape(*each.shape[:2], -1, width).transpose(1, 2)
            for each in (q, k, v)
        ]
        heads_first = [
            each.repeat_interleave(q.shape[1] // each.shape[1], 1) if named.get("skip_reshape") else each
            for each in heads_first
        ]
        q, k, v = (each.double() for each in heads_first)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        number, kinds = self.seen, named["transformer_options"]["cond_or_uncond"]
        self.seen += 1
        own = [i for i in range(q.shape[0]) if kinds[i * len(kinds) // q.shape[0]] == 0]
        if self.raised is not None and number % self.depth in self.blocks:
            for row in own:
                scores[row, :, picture, text] += self.raised.double()
        probs = scores.softmax(-1)
        self.maps.append(probs[own][:, :, picture, text].mean(1))
        out = (probs @ v).to(heads_first[0].dtype)
        return out if named.get("skip_output_reshape") else out.transpose(1, 2).flatten(2)

    def places(self) -> tuple[int, int, slice, slice]:
        """Queries, keys, the picture's queries and the prompt's keys."""
        if self.family in CROSS:
            return self.pixels, TEXT + BESIDE.get(self.family, 0), slice(0, self.pixels), slice(0, TEXT)
        if self.family in PICTURE_FIRST:
            whole = self.pixels + TEXT + BESIDE.get(self.family, 0)
            return whole, whole, slice(0, self.pixels), slice(self.pixels, self.pixels + TEXT)
        multiple, before = MULTIPLE.get(self.family, 1), REGISTERS.get(self.family, 0)
        front = max(FRONT.get(self.family, 0) - TEXT, 0)
        text = slice(before + front, before + front + TEXT)
        after = text.stop + -(front + TEXT) % multiple
        whole = after + self.pixels + -self.pixels % multiple
        return whole, whole, slice(after, after + self.pixels), text

    @property
    def depth(self) -> int:
        return len(network_of(models(self.family)[0].model).sites)

    def mean(self) -> torch.Tensor:
        """Over the blocks that are looked at by default, and over the steps: [rows, pixels, TEXT]."""
        depth = self.depth
        assert len(self.maps) % depth == 0
        return torch.stack([each for i, each in enumerate(self.maps) if i % depth in looked_at(self.family)]).mean(0)


def looked_at(family: str) -> set[int]:
    network = network_of(models(family)[0].model)
    chosen = network.recorded(network.levels[0])
    return {i for i, site in enumerate(network.sites) if site in chosen}


def words(maps: torch.Tensor, targets) -> torch.Tensor:
    return torch.stack([maps[..., list(target.positions)].mean(-1) for target in targets.objects], dim=1)


@every_family
@pytest.mark.parametrize(("cfg", "kernel"), [(1.0, "fused"), (3.0, "the host's")])
def test_recording_leaves_every_bit_and_shows_the_softmax(family, cfg, kernel, monkeypatch):
    """A fused kernel tells what it divides by, so that nothing is attended to a second time."""
    model, size = models(family)[0], latent_of(family, batch=2)
    if kernel == "fused":
        model = attending(model, family, fused)
        monkeypatch.setattr(JointAttention, "_given_to", None)
    before, plain = fingerprint(model), sample(model, family, size=size, steps=2, cfg=cfg)
    controlled, record = patched(family, model=model, strength=0.0)
    assert torch.equal(sample(controlled, family, size=size, steps=2, cfg=cfg), plain)
    assert fingerprint(model) == before
    assert not any("forward" in vars(module) for module in model.model.diffusion_model.modules())
    assert record.maps.steps == 2 and record.maps.mean.shape == (2, 4, 8, 12) and not record.warnings
    oracle = Oracle(family, 8 * 12)
    torch.testing.assert_close(
        sample(oracle.model(), family, size=size, steps=2, cfg=cfg), plain, rtol=1e-3, atol=1e-3 * float(plain.std())
    )
    expected = words(oracle.mean().float(), encoded(family)[1]).unflatten(-1, (8, 12))
    torch.testing.assert_close(record.maps.shown(encoded(family)[1])[1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["flux", "cosmos_predict2"])
def test_large_maps_are_put_together(family):
    """A network of one resolution has finer maps than the methods were made for: theirs have the mean of 2 × 2."""
    size = latent_of(family, 64, 64)
    controlled, record = patched(family, strength=0.0)
    sample(controlled, family, size=size, steps=1, cfg=1.0)
    oracle = Oracle(family, 32 * 32)
    sample(oracle.model(), family, size=size, steps=1, cfg=1.0)
    expected = words(oracle.mean().float(), encoded(family)[1]).unflatten(-1, (16, 2, 16, 2)).mean((-1, -3))
    torch.testing.assert_close(record.maps.shown(encoded(family)[1])[1], expected, rtol=1e-4, atol=1e-5)


class Raised(ScoreEdit):
    """Adds a fixed number to each column's scores."""

    name, title, paper = "raised", "Raised", ""
    PRESETS = {"default": ScoreEditSettings(end=1.0)}
    by = torch.linspace(-2.0, 2.0, TEXT)

    def applies(self, targets):
        return True

    def check(self, targets):
        return []

    def watched(self, targets):
        return [(target.name, list(target.positions)) for target in targets.objects]

    def edit(self, scores, targets, site: EditSite, strength: float = 1.0):
        raised = strength * self.by.to(scores)
        return scores + torch.nn.functional.pad(raised, (0, scores.shape[-1] - TEXT))


@every_family
def test_an_edit_is_a_softmax_of_edited_scores(family):
    """The whole picture, drawn with every edited attention written out."""
    size = latent_of(family)
    with torch.inference_mode():
        controlled, record = attach(attending(models(family)[0], family, fused), Raised(), encoded(family)[1])
    oracle = Oracle(family, 8 * 12, looked_at(family), Raised.by)
    drawn, expected = (sample(model, family, size=size, steps=2) for model in (controlled, oracle.model()))
    plain = sample(models(family)[0], family, size=size, steps=2)
    assert (drawn - plain).abs().max() > 0.01 * plain.std(), "it does something"
    torch.testing.assert_close(drawn, expected, rtol=1e-3, atol=2e-4 * float(plain.std()))
    shown = words(oracle.mean().float(), encoded(family)[1]).unflatten(-1, (8, 12))
    torch.testing.assert_close(record.maps.shown(encoded(family)[1])[1], shown, rtol=1e-3, atol=1e-5)
    assert len(record.edits) == 2 and len(record.edits[0].layers) == len(looked_at(family))


def joint(dtype: torch.dtype, mask: torch.Tensor | None = None) -> JointAttention:
    q, k, v = (2.0 * noise(2, 3, 30, 8, seed=seed).to(dtype) for seed in range(3))
    places = {"picture": slice(10, 28), "text": slice(2, 10)}
    return JointAttention(Site("double", 0), (3, 6), {}, q, k, v, mask, 0.3, **places)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_a_word_that_stands_there_twice(dtype, tolerance):
    """HiDream: of the text's eight columns the last five stand behind them once more."""
    q, k, v = (2.0 * noise(2, 3, 31, 8, seed=seed).to(dtype) for seed in range(3))
    attention = TwiceAttention(Site("double", 0), (3, 6), {}, q, k, v, picture=slice(0, 18), text=slice(18, 26))
    rows, change = slice(1, 2), 3.0 * noise(1, 3, 18, 8, seed=9).to(dtype)
    scores = q @ k.transpose(-1, -2) * 8**-0.5
    plain = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def of_words():
        probs = scores.softmax(-1)[rows, :, :18]
        return torch.cat([probs[..., 18:21], probs[..., 21:26] + probs[..., 26:]], dim=-1)

    torch.testing.assert_close(attention.shares(rows), of_words(), rtol=0, atol=tolerance)
    some = attention.shares(rows, [1, 6])
    torch.testing.assert_close(some, of_words()[..., [1, 6]], rtol=0, atol=tolerance)
    own = attention.scores(rows, 8)
    before, after = attention.whole(own, rows, own), attention.whole(own + change, rows, own)
    scores[rows, :, :18, 18:26] += change
    scores[rows, :, :18, 26:] += change[..., 3:]
    expected = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)[rows]
    torch.testing.assert_close(after[..., :8], of_words(), rtol=0, atol=tolerance)
    torch.testing.assert_close(attention.changed(plain, rows, before, after), expected, rtol=0, atol=10 * tolerance)
    assert torch.equal(attention.changed(plain, rows, before, before), plain[rows])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_the_closed_form_is_a_softmax_of_edited_scores(dtype, tolerance, masked):
    """Registers before the text, a reference behind the picture, some columns shut out; no matrix of all columns."""
    mask = torch.zeros(2, 1, 1, 30, dtype=dtype).masked_fill(torch.arange(30) % 7 == 3, -torch.inf) if masked else None
    attention, rows = joint(dtype, mask), slice(1, 2)
    scores = attention.q @ attention.k.transpose(-1, -2) * 0.3 + (0 if mask is None else mask)
    plain = (scores.softmax(-1) @ attention.v).transpose(1, 2).flatten(2)
    shares = scores.softmax(-1)[rows, :, 10:28, 2:10]
    torch.testing.assert_close(attention.shares(rows), shares, rtol=0, atol=tolerance)
    some = attention.shares(rows, [1, 6])
    torch.testing.assert_close(some, shares[..., [1, 6]], rtol=0, atol=tolerance)

    change = 3.0 * noise(1, 3, 18, 8, seed=9).to(dtype)
    own = attention.scores(rows, 8)
    before, after = attention.whole(own, rows, own), attention.whole(own + change, rows, own)
    scores[rows, :, 10:28, 2:10] += change
    expected = (scores.softmax(-1) @ attention.v).transpose(1, 2).flatten(2)[rows]
    torch.testing.assert_close(after[..., :8], scores.softmax(-1)[rows, :, 10:28, 2:10], rtol=0, atol=tolerance)
    torch.testing.assert_close(attention.changed(plain, rows, before, after), expected, rtol=0, atol=10 * tolerance)
    assert torch.equal(attention.changed(plain, rows, before, before), plain[rows])


def test_where_nothing_is_left_for_the_picture_the_words_are_all():
    attention = joint(torch.float32)
    attention.k[:, :, 2:10] *= 500.0
    attention.q = attention.q.abs() * attention.k[:, :, 2:3].sign()
    rows, out = slice(0, 2), torch.zeros(2, 30, 24)
    own = attention.scores(rows, 8)
    plain, final = attention.whole(own, rows, own), attention.whole(own - own.mean(-1, keepdim=True), rows, own)
    assert torch.isfinite(attention.changed(out, rows, plain, final)).all()


def test_videos_are_refused_by_name():
    size = (1, 16, 3, 16, 24)
    controlled, _ = patched("cosmos_predict2")
    with pytest.raises(HostError, match="3 frames.*Cosmos-Predict2.*one frame"):
        sample(controlled, "cosmos_predict2", size=size, steps=1)


@pytest.mark.parametrize(
    ("family", "blocks", "expected"),
    [
        ("flux", "auto", ["double 1"]),
        ("flux", "all", ["double 0", "double 1", "single 0", "single 1"]),
        ("flux", "single, double 0", ["double 0", "single 0", "single 1"]),
        ("flux", "Double 0-5", ["double 0", "double 1"]),
        ("sd3", "auto", ["joint 0", "joint 1"]),
        ("cosmos_predict2", "", ["block 0", "block 1", "block 2"]),
        ("sd1", "output 4-6", ["output 6.0"]),  # of those at the level in question
    ],
)
def test_the_blocks_to_look_at_are_the_artists_choice(family, blocks, expected):
    network = network_of(models(family)[0].model)
    chosen = network.recorded(network.levels[0], blocks)
    assert [str(site) for site in network.sites if site in chosen] == expected


@pytest.mark.parametrize("blocks", ["triple 1", "double x", "double 7-9"])
def test_blocks_that_are_none(blocks):
    with pytest.raises(HostError, match=r"Flux.*double 0-1, single 0-1"):
        patched("flux", blocks=blocks)


def test_a_resolution_that_is_none():
    controlled, _ = patched("flux", settings={"resolution": "1/1"})
    with pytest.raises(MethodError, match="1/1.*1/2"):
        sample(controlled, "flux", size=latent_of("flux"), steps=1)


# What ComfyUI 0.18.2 and 0.16.3 don't have yet.
NEWER = {"lens", "krea2", "ideogram4", "mage_flow", "joyimage", "boogu", "pixeldit", "ernie"}


def test_every_family_of_the_list_is_made_through_the_hosts_own_classes():
    """No family drops out of these tests unnoticed."""
    version = host_version(Path(os.environ["COMFYUI_PATH"]))
    assert TRANSFORMERS.keys() - set(available()) == (NEWER if version in ("0.18.2", "0.16.3") else set())
    for family in available():
        model = models(family)[0]
        assert type(model.model).__module__ == "comfy.model_base"
        assert model.load_device == comfy.model_management.get_torch_device()
