"""SynGen against the published code: every syngen_* case of GOLDEN_DIR."""

import numpy as np
import pytest
import torch
from golden import CHUNK, FOLDER, case_names, load, toy_maps
from prompt_fidelity.core.control.latent import LatentOptimiser
from prompt_fidelity.core.maps.distances import pixel_distributions, symmetric_kl
from prompt_fidelity.core.methods.syngen import SynGen, apart, away, groups
from prompt_fidelity.core.prompt.targets import Attribute, Target, Targets

NAMES = case_names("syngen")
STEPPED = [name for name in NAMES if "_loop" in name or "_batch" in name]
SINGLE = [name for name in NAMES if name not in STEPPED]


def pieces(word) -> tuple[int, ...]:
    return tuple(word) if isinstance(word, list) else (word,)


def targets_of(case) -> Targets:
    """The golden groups (modifiers first, the entity last) as objects with attributes."""
    objects = []
    for *modifiers, entity in case.hyper["groups"]:
        attributes = tuple(Attribute(f"word{m}", pieces(m)) for m in modifiers)
        objects.append(Target(f"word{entity}", f"word{entity}", pieces(entity), attributes))
    content = tuple(range(1, case.hyper["n_tokens"] + 1))
    return Targets("", tuple(objects), (), content, tuple(f"word{p}" for p in content), CHUNK, CHUNK)


def pair_terms(p, targets) -> tuple[list, list]:
    """(positive, negative) terms [B] of every pair, in the published order."""
    positive, negative = [], []
    for group in groups(targets):
        entity = away(p, group.entity, group.outside)
        if not group.modifiers:
            negative.append(-entity)
        for modifier in group.modifiers:
            positive.append(apart(p, group.entity, modifier))
            negative.append(-(away(p, modifier, group.outside) + entity) / 2)
    return positive, negative


def check_where_finite(case, name, value) -> None:
    """The published divergence is infinite at exact zeros (and the loss inf − inf), where ours stays a number."""
    expected = case.outputs[name]
    finite = np.isfinite(expected)
    value = value.detach().numpy()
    assert np.isfinite(value).all()
    case.check(name, np.where(finite, value, expected))


def test_there_are_cases():
    assert SINGLE and STEPPED, f"no syngen_* cases in {FOLDER}"


@pytest.mark.parametrize("name", SINGLE)
def test_loss(name):
    case, method = load(name), SynGen()
    targets = targets_of(case)
    maps = case.input("attention_map")[None].requires_grad_()

    losses = method.loss(maps, targets)
    check_where_finite(case, "loss", losses.per_image[0])
    gradient = torch.autograd.grad(losses.per_image.sum(), maps)[0][0]
    words = case.hyper["n_tokens"]
    case.check("grad", gradient[..., : words + 2])
    assert not gradient[..., words + 2 :].any()

    p = pixel_distributions(maps.detach().movedim(-1, 1))
    positive, negative = pair_terms(p, targets)
    check_where_finite(case, "pair_positive", torch.cat(positive))
    check_where_finite(case, "pair_negative", torch.cat(negative))
    content = p[0, 1 : words + 1]
    check_where_finite(case, "divergence", symmetric_kl(content[:, None], content[None]))
    case.check_all_compared()


def test_the_loop():
    """The published step: one update, then z − 0.006·z."""
    case = load("syngen_loop")
    steps, last = case.hyper["num_intervention_steps"], 49
    optimiser = LatentOptimiser(SynGen(), targets_of(case))
    z, latents = case.input("latents0"), []
    for i in range(steps):
        assert optimiser.wants(i / last)
        z = optimiser.step(z, i / last, 1.0, lambda leaf: toy_maps(case, leaf))
        z = z - 0.1 * 0.06 * z
        latents.append(z)
    assert not optimiser.wants(steps / last)
    assert {entry.step_size for entry in optimiser.log} == {case.hyper["step_size"]}
    case.check("loss_evaluations", [float(total) for entry in optimiser.log for total in entry.totals])
    case.check("latents_after_step", torch.stack(latents))
    case.check_all_compared()


def test_a_batch_of_two():
    """The published step returns the last image alone; ours updates both, and the last as published."""
    case = load("syngen_batch2")
    optimiser = LatentOptimiser(SynGen(), targets_of(case))
    result = optimiser.step(case.input("latents0"), 0.0, 1.0, lambda leaf: toy_maps(case, leaf))
    assert len(result) == 2 and not torch.equal(result[0], case.input("latents0")[0])
    case.check("returned_latents", result[1:])
    case.check_all_compared()
