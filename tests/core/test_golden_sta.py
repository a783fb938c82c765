"""Space-Time Attention against the published code's outputs: the discs, the mixtures, and a whole transformer block."""

import pytest
import torch
from golden import case_names, load
from prompt_fidelity.core.layout.boxes import Box, Layout, Placement
from prompt_fidelity.core.layout.regions import disc
from prompt_fidelity.core.maps.probabilities import probabilities
from prompt_fidelity.core.methods.space_time import SpaceTime
from torch.nn.functional import gelu, layer_norm, linear

REPO, PAPER = SpaceTime(SpaceTime.PRESETS["repo"]), SpaceTime(SpaceTime.PRESETS["paper"])
MIXTURES = [name for name in case_names("sta") if name.startswith("sta_side")]


def layout_at(centroids) -> Layout:
    boxes = [Box(x - 0.1, y - 0.1, x + 0.1, y + 0.1) for x, y in centroids]
    return Layout(tuple(Placement(i, f"thing {i}", box) for i, box in enumerate(boxes)), 512, 512)


def test_the_set_is_whole():
    assert set(case_names("sta")) == {"sta_block", "sta_masks", *MIXTURES} and len(MIXTURES) == 5


def test_discs():
    case = load("sta_masks")
    for side in case.hyper["sides"]:
        masks = torch.stack(
            [disc(tuple(map(float, xy)), case.hyper["radius"], side, side, "corner") for xy in case.inputs["centroids"]]
        )
        case.check(f"mask_{side}", masks.to(torch.from_numpy(case.outputs[f"mask_{side}"]).dtype))
    case.check_all_compared()


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures(name):
    case = load(name)
    side, g, local, weights = case.hyper["side"], case.input("g"), case.input("local")[:, 1:], case.input("coef")
    regions = REPO.regions(layout_at(case.hyper["centroids"]), side, side)
    case.check("masks", regions.to(torch.from_numpy(case.outputs["masks"]).dtype))
    regions = regions.flatten(1)
    coded = REPO.mix(g[1:], local, regions, weights, unconditional=g[:1])
    case.check("combined_as_coded", torch.cat([g[:1], coded]))
    case.check("combined_paper_cond", PAPER.mix(g[1:], local, regions, weights, unconditional=g[:1])[0])
    case.check_all_compared()


def test_a_whole_block():
    """With the block's weights: the mixture of outputs before their common projection is that of
    the projected outputs.
    """
    case = load("sta_block")
    heads, side = case.hyper["heads"], case.hyper["side"]

    def projected(name, x):
        bias = f"w.{name}.bias"
        return linear(x, case.input(f"w.{name}.weight"), case.input(bias) if bias in case.inputs else None)

    def norm(name, x):
        return layer_norm(x, x.shape[-1:], case.input(f"w.{name}.weight"), case.input(f"w.{name}.bias"))

    def attention(layer, x, context):
        """Before the output's projection."""
        q, k, v = (
            projected(f"{layer}.to_{p}", y).unflatten(-1, (heads, -1)).transpose(1, 2)
            for p, y in (("q", x), ("k", context), ("v", context))
        )
        return (probabilities(q, k) @ v).transpose(1, 2).flatten(2)

    x = case.input("x")
    normed = norm("norm1", x)
    x = x + projected("attn1.to_out.0", attention("attn1", normed, normed))
    case.check("after_self_attention", x)
    normed = norm("norm2", x)
    whole = attention("attn2", normed, torch.cat([case.input("context_uncond"), case.input("context_global")]))
    case.check("attn2_global", projected("attn2.to_out.0", whole))
    locals_ = torch.stack(
        [
            attention("attn2", normed, torch.cat([case.input("context_uncond"), c[None]]))
            for c in case.input("context_local")
        ]
    )
    case.check("attn2_local", projected("attn2.to_out.0", locals_))
    regions = REPO.regions(layout_at(case.hyper["centroids"]), side, side).flatten(1)
    mixed = REPO.mix(whole[1:], locals_[:, 1:], regions, case.input("coef"), unconditional=whole[:1])
    x = projected("attn2.to_out.0", torch.cat([whole[:1], mixed])) + x
    case.check("before_feedforward", x)
    value, gate = projected("ff.net.0.proj", norm("norm3", x)).chunk(2, dim=-1)
    case.check("block_output", projected("ff.net.2", value * gelu(gate)) + x)
    case.check_all_compared()
