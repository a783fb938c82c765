"""The gradient of a whole run, one step at a time."""

import pytest
import torch
from prompt_fidelity.core.search import replay

STEPS = 7


class Network:
    """A little network in float64; `used` are the steps in which the weights count."""

    def __init__(self, used=range(STEPS)):
        generator = torch.Generator().manual_seed(0)
        self.matrices = [torch.randn(12, 12, generator=generator, dtype=torch.float64) / 4 for _ in range(3)]
        self.used = used
        self.calls = 0

    def step(self, t, x, weights):
        self.calls += 1
        y = torch.tanh(x @ self.matrices[0])
        if t in self.used:
            y = y + weights[0, t] * torch.sin(x @ self.matrices[1]) - weights[1, t] ** 2 * y
        return x + 0.3 * torch.tanh(y @ self.matrices[2])

    def whole(self, x, weights, objective):
        weights = weights.clone().requires_grad_()
        for t in range(STEPS):
            x = self.step(t, x, weights)
        loss = objective(x)
        return loss, torch.autograd.grad(loss, weights)[0]


def start():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 12, generator=generator, dtype=torch.float64), torch.rand(
        2, STEPS, generator=generator, dtype=torch.float64
    )


def objective(x):
    return (x**2).sum() + x[0, 3].exp()


@pytest.mark.parametrize("used, first", [(range(STEPS), 0), (range(2, 5), 2), ((3,), 3), ((3,), 1)])
def test_it_is_the_gradient_of_backpropagation_through_all_steps(used, first):
    network, (x, weights) = Network(used), start()
    latents = replay.run(network.step, x, weights, STEPS)
    loss, slope = replay.gradient(network.step, latents, weights, objective, first)
    whole_loss, whole = network.whole(x, weights, objective)
    torch.testing.assert_close(slope, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(loss, whole_loss.detach(), rtol=1e-12, atol=0)
    assert all(
        float(slope[:, t].abs().max()) > 0 if t in used else float(slope[:, t].abs().max()) == 0 for t in range(STEPS)
    )


def test_each_step_is_done_once_more_and_none_before_the_first():
    network, (x, weights) = Network(range(3, STEPS)), start()
    latents = replay.run(network.step, x, weights, STEPS)
    assert network.calls == STEPS and len(latents) == STEPS + 1 and not any(latent.requires_grad for latent in latents)
    replay.gradient(network.step, latents, weights, objective, first=3)
    assert network.calls == STEPS + STEPS - 3


def saved_bytes(work) -> int:
    """The most bytes that autograd kept for backward at once."""
    kept, most = 0, 0

    class Held:
        def __init__(self, tensor):
            nonlocal kept, most
            self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
            kept += self.size
            most = max(most, kept)

        def __del__(self):
            nonlocal kept
            kept -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        work()
    return most


def test_what_is_kept_for_backward_does_not_grow_with_the_steps():
    network, (x, weights) = Network(), start()

    def ours(steps):
        latents = replay.run(network.step, x, weights, steps)
        return saved_bytes(lambda: replay.gradient(network.step, latents, weights, objective))

    assert ours(2) == ours(STEPS) > 0
    assert saved_bytes(lambda: network.whole(x, weights, objective)) > 4 * ours(STEPS)
