"""The descent of Attention Regulation: its gradient written out, in both libraries, at any scale, on any map."""

import pytest
import torch
from prompt_fidelity.core.methods.attention_regulation import descent as regulation
from prompt_fidelity.core.methods.attention_regulation import loop
from prompt_fidelity.core.methods.attention_regulation.bumps import Bumps
from prompt_fidelity.core.methods.attention_regulation.descent import Aim, against_rest, descend, log_sum_of_rest
from prompt_fidelity.core.methods.attention_regulation.quantile import quantile_rank, sorted_neighbours
from toy import scores_of


def loss_of(weights, base, bumps, aim):
    """Every row's loss as the paper states it, for autograd: weights [T, rows, centres] → [rows]."""
    targets = base.shape[0]
    ratio = (base + weights @ bumps.matrix).exp()
    p = ratio / (1.0 + ratio.sum(0))
    peaks = torch.quantile(p, aim.quantile, dim=2)
    terms = (peaks - aim.peak) ** 2 + aim.share_weight * (p.mean(2) - aim.share(targets)) ** 2
    return terms.mean(0) + aim.size_weight * (weights**2).mean((0, 2))


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (8, 8)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_descent_follows_autograd(size, count):
    bumps, aim = Bumps.on(*size, "cpu", torch.float64), Aim()
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(count, 3, size[0] * size[1], generator=generator, dtype=torch.float64) - 2
    start = torch.rand(count, 3, bumps.count, generator=generator, dtype=torch.float64)
    steps = descend(base, start, bumps, aim, 6, 100.0)
    weights = start
    for i in range(6):
        torch.testing.assert_close(steps.weights[i], weights, rtol=1e-7, atol=1e-7)
        leaf = weights.clone().requires_grad_()
        losses = loss_of(leaf, base, bumps, aim)
        torch.testing.assert_close(steps.losses[i], losses.detach(), rtol=1e-7, atol=1e-9)
        weights = weights - 100.0 * torch.autograd.grad(losses.sum(), leaf)[0]


@pytest.mark.parametrize("count", [2, 16, 256, 1024])
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 1.0])
def test_quantile_is_torchs(count, quantile):
    values = torch.randn(5, count, generator=torch.Generator().manual_seed(2))
    lower, fraction = quantile_rank(quantile, count)
    pair, places = sorted_neighbours(values, lower)
    ours = pair @ torch.tensor([1.0 - fraction, fraction])
    torch.testing.assert_close(ours, torch.quantile(values, quantile, dim=1), rtol=1e-6, atol=1e-6)
    assert torch.equal(values.gather(1, places), pair)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantile_rank_is_rounded_as_torch_rounds_it(dtype):
    ranks = torch.quantile(torch.arange(1024, dtype=dtype), 0.9)
    assert sum(quantile_rank(0.9, 1024, dtype)) == float(ranks)
    assert (float(ranks) == 920.7) == (dtype == torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("h", "w", "count"), [(16, 16, 2), (12, 20, 1), (32, 32, 3), (1, 1, 2)])
def test_the_loop_for_the_cpu_is_that_for_any_device(monkeypatch, dtype, h, w, count):
    base = against_rest(scores_of(2, h=h, w=w, dtype=dtype), [[3], [7], [9]][:count])
    bumps = Bumps.on(h, w, "cpu", dtype)
    start = torch.rand(count, base.shape[1], bumps.count, dtype=dtype, generator=torch.Generator().manual_seed(3))
    ours = descend(base, start, bumps, Aim(), 20, 100.0)
    monkeypatch.setattr(loop, "run_in_numpy", loop.run_in_torch)
    other = descend(base, start, bumps, Aim(), 20, 100.0)
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(ours.losses, other.losses, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.weights, other.weights, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("images", [1, 3])
def test_the_best_is_found_alike_in_either_library(monkeypatch, images):
    bumps, base = Bumps.on(16, 16), against_rest(scores_of(images), [[3], [7]])
    base[0, -1] = torch.nan  # the last image's last head is left alone
    descent = descend(base, torch.full((2, 2 * images, bumps.count), 0.5), bumps, Aim(), 20, 100.0)
    best = descent.best(images)
    added = descent.added(best)
    assert added.shape == base.shape and (added[:, -1] == 0).all() and (added[:, 0] != 0).any()
    monkeypatch.setattr(regulation, "quick", lambda tensor: tensor)
    assert torch.equal(descent.best(images), best)
    torch.testing.assert_close(descent.added(best), added)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, -200.0, 200.0, 3000.0, -torch.inf])
@pytest.mark.parametrize("where", ["targets", "others", "all"])
def test_the_rest_is_summed_at_any_scale(dtype, value, where):
    """Also where exp over- or underflows, and where the targets leave next to nothing for the others."""
    if value == -torch.inf and where != "targets":
        pytest.skip("no token is left")
    scores, others = scores_of(2, dtype=dtype), [c for c in range(77) if c not in (3, 7)]
    columns = {"targets": [3, 7], "others": others, "all": list(range(77))}[where]
    plain = scores[..., others].logsumexp(dim=-1)
    torch.testing.assert_close(log_sum_of_rest(scores, [3, 7]), plain, rtol=1e-6, atol=1e-6)
    scores[0, 0, :5][:, columns] += value  # of five pixels of one image; the rest must not notice
    sums = log_sum_of_rest(scores, [3, 7])
    torch.testing.assert_close(sums, scores[..., others].logsumexp(dim=-1), rtol=1e-6, atol=1e-6)
    assert torch.equal(sums[1], log_sum_of_rest(scores_of(2, dtype=dtype), [3, 7])[1])


@pytest.mark.filterwarnings("error")
def test_a_descent_that_overflows_changes_nothing_and_is_silent():
    base, bumps = against_rest(scores_of(), [[3], [7]]), Bumps.on(16, 16)
    descent = descend(base, torch.full((2, 2, bumps.count), 0.5), bumps, Aim(size_weight=1e6), 20, 1000.0)
    assert descent.losses[-1].isinf().all() and not descent.losses.isnan().any()
    assert descent.added(descent.best(1)).isfinite().all()


@pytest.mark.parametrize(
    ("size", "centres"), [((16, 16), 49), ((32, 32), 49), ((24, 24), 121), ((16, 24), 77), ((8, 8), 9), ((2, 1), 1)]
)
def test_bumps_cover_any_map(size, centres):
    bumps = Bumps.on(*size)
    assert bumps.matrix.shape == (centres, size[0] * size[1]) == bumps.transposed.T.shape
    assert 0 <= bumps.matrix.min() and 0.8 < bumps.matrix.max() <= 1
    assert (bumps.matrix.sum(0) > 0.01).all()


def test_bumps_of_a_wide_map_lie_where_they_say():
    first_column_down = Bumps.on(16, 24).matrix[1].view(16, 24)  # x = 2, y = 4
    assert (first_column_down == 1).nonzero().tolist() == [[4, 2]]


def test_the_best_iteration_is_each_images_own():
    base = against_rest(scores_of(4, heads=2), [[3], [7]])
    bumps = Bumps.on(16, 16)
    descent = descend(base, torch.full((2, 8, bumps.count), 0.5), bumps, Aim(), 20, 100.0)
    best = descent.best(4)
    assert best.shape == (4,)
    mean = descent.losses.view(20, 4, 2).mean(2)
    assert torch.equal(mean[best, torch.arange(4)], mean.min(0).values)
    torch.testing.assert_close(descent.added(best)[:, 2], descent.weights[best[1], :, 2] @ bumps.matrix)
