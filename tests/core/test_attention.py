import numpy as np
import pytest
import torch
from prompt_fidelity.core.maps.probabilities import MapMean, fold_repeats, probabilities, smooth, smoothing_weights
from prompt_fidelity.core.maps.recorder import TargetMaps
from torch.nn.functional import scaled_dot_product_attention
from toy import make_targets


def test_probabilities_are_the_softmax_of_the_scores():
    q, k = torch.randn(2, 3, 20, 8), torch.randn(2, 3, 7, 8)
    probs = probabilities(q, k)
    v = torch.randn(2, 3, 7, 5)
    torch.testing.assert_close(probs @ v, scaled_dot_product_attention(q, k, v), atol=1e-5, rtol=0)
    torch.testing.assert_close(probabilities(q, k, scale=0.3), probabilities(q * 0.3 * 8**0.5, k))


def test_probabilities_are_float32_and_differentiable_in_half_precision():
    q, k = torch.randn(1, 2, 16, 8).half().requires_grad_(), torch.randn(1, 2, 7, 8).half()
    probs = probabilities(q, k)
    assert probs.dtype == torch.float32
    torch.testing.assert_close(probs.sum(-1), torch.ones(1, 2, 16))
    probs[..., 3].sum().backward()
    assert q.grad.abs().sum() > 0


def test_masks_add_or_shut_out():
    q, k = torch.randn(1, 1, 4, 8), torch.randn(1, 1, 5, 8)
    keep = torch.tensor([True, True, False, True, True])
    shut = probabilities(q, k, mask=keep)
    assert not shut[..., 2].any()
    torch.testing.assert_close(shut, probabilities(q, k, mask=torch.zeros(5).masked_fill(~keep, -torch.inf)))
    torch.testing.assert_close(shut[..., keep], probabilities(q, k[:, :, keep]))


def test_copies_of_a_token_are_added():
    q, k = torch.randn(1, 2, 9, 8), torch.randn(1, 2, 7, 8)
    repeated = probabilities(q, k.repeat(1, 1, 3, 1))
    torch.testing.assert_close(fold_repeats(repeated, 7), probabilities(q, k))
    assert fold_repeats(repeated, 21) is repeated
    with pytest.raises(ValueError, match="no whole number"):
        fold_repeats(repeated, 8)


@pytest.mark.parametrize(("h", "w"), [(16, 16), (3, 7), (1, 9), (9, 1), (1, 1), (2, 2)])
def test_smoothing_is_the_mirrored_convolution(h, w):
    maps = torch.randn(2, 5, h, w, dtype=torch.float64)
    taps = np.array([smoothing_weights()[1], smoothing_weights()[0], smoothing_weights()[1]])
    kernel = np.outer(taps, taps)
    padded = maps.numpy()
    padded = np.pad(padded, [(0, 0), (0, 0), (0, 0), (1, 1)], mode="reflect" if w > 1 else "edge")
    padded = np.pad(padded, [(0, 0), (0, 0), (1, 1), (0, 0)], mode="reflect" if h > 1 else "edge")
    expected = sum(kernel[i, j] * padded[..., i : i + h, j : j + w] for i in range(3) for j in range(3))
    np.testing.assert_allclose(smooth(maps).numpy(), expected, atol=1e-12)
    assert kernel.sum() == pytest.approx(1.0)
    assert kernel[1, 1] == pytest.approx(0.33191, abs=1e-5)


def test_map_mean_weighs_a_layer_by_its_heads():
    first, second = torch.rand(2, 2, 15, 7), torch.rand(2, 6, 15, 7)
    mean = MapMean()
    assert not mean.layers_seen
    mean.add(first, 3, 5)
    mean.add(second, 3, 5)
    assert mean.layers_seen
    torch.testing.assert_close(mean.mean, torch.cat([first, second], 1).mean(1).reshape(2, 3, 5, 7))


def test_map_mean_refuses_other_sizes_and_emptiness():
    mean = MapMean()
    with pytest.raises(ValueError, match="no layer"):
        _ = mean.mean
    mean.add(torch.rand(1, 1, 15, 7), 3, 5)
    with pytest.raises(ValueError, match="5×3.*3×5"):
        mean.add(torch.rand(1, 1, 15, 7), 5, 3)
    with pytest.raises(ValueError, match="16 pixels"):
        mean.add(torch.rand(1, 1, 16, 7), 3, 5)


@pytest.mark.parametrize(("h", "w"), [(16, 16), (5, 13), (1, 7)])
def test_target_maps_average_steps_and_name_the_words(h, w):
    targets = make_targets()
    steps = [torch.rand(2, h, w, 77).half().requires_grad_() for _ in range(4)]
    recorded = TargetMaps()
    for maps in steps:
        recorded.add(maps, targets)
    assert recorded.names == ("car", "black (car)", "clock", "white (clock)")
    expected = torch.stack([maps.detach().float() for maps in steps]).mean(0)[..., [3, 2, 7, 6]].movedim(-1, 1)
    assert (recorded.mean.dtype, recorded.mean.device.type, recorded.mean.requires_grad) == (
        torch.float32,
        "cpu",
        False,
    )
    torch.testing.assert_close(recorded.mean, expected, atol=1e-3, rtol=0)
    assert recorded.steps == 4
    recorded.add(torch.rand(2, 2 * h, w + 1, 77), targets)  # a map that changes its size in a run
    assert recorded.steps == 5 and recorded.mean.shape == expected.shape


def test_target_maps_of_a_prompt_without_objects_stay_empty():
    recorded = TargetMaps()
    recorded.add(torch.rand(1, 4, 4, 77), make_targets(objects=()))
    assert recorded.mean is None
    assert recorded.names == ()
