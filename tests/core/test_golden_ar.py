"""The published Attention Regulation, call by call: its losses, kept weights, added maps, scores and probabilities."""

from __future__ import annotations

import pytest
import torch
from golden import FOLDER, case_names, load, make_targets
from prompt_fidelity.core.maps.probabilities import probabilities
from prompt_fidelity.core.methods.attention_regulation.method import AttentionRegulation, kept_columns
from prompt_fidelity.core.methods.base import EditSite

NAMES = case_names("ar")
MODULES = [name for name in NAMES if "_module" in name]
CALLS = [name for name in NAMES if name not in MODULES]


class Published(AttentionRegulation):
    """The published preset with the starting weights of the case, [images · heads, centres, targets]."""

    def __init__(self):
        super().__init__(self.PRESETS["published"])

    def starting_from(self, draw):
        self.draw = draw
        return self

    def start_weights(self, site, images, heads, centres, count):
        assert self.draw.shape == (images * heads, centres, count)
        return self.draw.permute(2, 0, 1)


def targets_of(case):
    """The targets in the reference's order; the words end where its end token stands."""
    return make_targets(case.hyper["eos_id"] - 1, case.hyper["target_ids"])


def sites_of(case, layer: int, memories: dict):
    steps, side = case.hyper["steps"], case.hyper["map_side"]
    memory = memories.setdefault(layer, {})
    return [EditSite(layer, step, step / 50, (side, side), memory) for step in steps]


def test_there_are_cases():
    assert CALLS and MODULES, f"no ar_* cases in {FOLDER}"


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    case = load(name)
    hyper = case.hyper
    images, heads, side = hyper["images"], hyper["heads"], hyper["map_side"]
    ids, end = list(hyper["target_ids"]), hyper["eos_id"]
    method, targets, memories = Published(), targets_of(case), {}
    assert kept_columns(targets) == [0, end]
    scores_of = case.input("scores_x8").to(getattr(torch, hyper["score_dtype"])) / 8
    draws = case.input("weights_init")
    if hyper["layers"] == 1:
        scores_of, draws = scores_of[:, None], draws[:, None]

    for s, step in enumerate(hyper["steps"]):
        for layer in range(hyper["layers"]):
            prefix = f"step{step}_" + (f"layer{layer}_" if hyper["layers"] > 1 else "")
            site = sites_of(case, layer, memories)[s]
            unconditional, scores = scores_of[s, layer].chunk(2)  # each [images * heads, pixels, tokens]
            scores = scores.unflatten(0, (images, heads))
            method.starting_from(draws[s, layer])
            if f"{prefix}ma_in" in case.outputs:
                earlier = site.memory[max(site.memory)]
                case.check(f"{prefix}ma_in", earlier.permute(1, 2, 0).unflatten(1, (side, side)))

            descent = method.descent(scores, targets, site)
            best = descent.best(1)
            case.check(f"{prefix}loss", descent.losses.mean(dim=1))
            case.check(f"{prefix}best_iter", best[0].int())
            case.check(f"{prefix}best_weights", descent.weights[best[0]].permute(1, 2, 0))
            if f"{prefix}weights_trace" in case.outputs:
                case.check(f"{prefix}weights_trace", descent.weights.permute(0, 2, 3, 1))
            before = scores.clone()
            edited = method.edit(scores.float(), targets, site).flatten(0, 1)
            assert torch.equal(scores, before)
            case.check(f"{prefix}best_additive", site.memory[step].permute(1, 2, 0).unflatten(1, (side, side)))
            case.check(f"{prefix}edited_target_f16", edited[..., ids].half())
            others = [column for column in range(edited.shape[-1]) if column not in ids]
            assert torch.equal(edited[..., others], scores.flatten(0, 1)[..., others].float())
            exact = scores.float()[..., ids] + method.change(scores.float(), targets, site).movedim(0, -1)
            case.check(f"{prefix}edited_target_f32", exact.flatten(0, 1))

            plain = scores.float().softmax(dim=-1)
            probs = method.settle(edited.unflatten(0, (images, heads)).softmax(dim=-1), plain, targets).flatten(0, 1)
            both = torch.cat([unconditional.float().softmax(dim=-1), probs])
            if f"{prefix}probs" in case.outputs:
                case.check(f"{prefix}probs", both)
            else:
                case.check(f"{prefix}probs_cols", probs[..., hyper["probe_columns"]])
                case.check(f"{prefix}probs_rowsum", both.sum(dim=-1))
    case.check_all_compared()


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    case = load(name)
    hyper = case.hyper
    heads, targets = hyper["heads"], targets_of(case)
    method, memories = Published(), {}
    weight = {part: case.input(f"w.{part}") for part in ("to_q.weight", "to_k.weight", "to_v.weight")}

    def split(tensor):
        return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)

    def project(probs, v):
        joined = (probs @ v).transpose(1, 2).flatten(2)
        return joined @ case.input("w.to_out.0.weight").T + case.input("w.to_out.0.bias")

    for s, step in enumerate(hyper["steps"]):
        context = case.input("context")
        q = split(case.input("hidden")[s] @ weight["to_q.weight"].T)
        k, v = (split(context @ weight[f"to_{name}.weight"].T) for name in "kv")
        plain = probabilities(q, k)
        probs = plain.clone()
        site = sites_of(case, 0, memories)[s]
        if site.progress < method.window[1]:
            scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5)[1:]
            method.starting_from(case.input("weights_init")[s])
            case.check(f"step{step}_loss", method.descent(scores, targets, site).losses.mean(dim=1))
            edited = method.edit(scores, targets, site).softmax(dim=-1)
            probs[1:] = method.settle(edited, plain[1:], targets)
        case.check(f"step{step}_output", project(probs, v))
        if f"step{step}_plain_output" in case.outputs:
            case.check(f"step{step}_plain_output", project(plain, v))
    case.check_all_compared()
