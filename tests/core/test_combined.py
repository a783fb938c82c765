"""Several methods at once: one gradient pass, each method by its own schedule, window and thresholds."""

from dataclasses import dataclass, replace

import pytest
import torch
from prompt_fidelity.core.control.latent import LatentOptimiser
from prompt_fidelity.core.methods import METHODS, MethodError
from prompt_fidelity.core.methods.attend_and_excite import AttendAndExcite, AttendAndExciteSettings
from prompt_fidelity.core.methods.base import LatentLoss, LatentLossSettings
from prompt_fidelity.core.methods.combined import CombinedMethods
from prompt_fidelity.core.methods.losses import Losses
from prompt_fidelity.core.methods.syngen import SynGen, SynGenSettings
from prompt_fidelity.core.methods.t_sam import TSAM, TSAMSettings
from prompt_fidelity.core.show.report import report
from toy import OBJECTS, ToyNetwork, latents, make_targets, sample


def once(method, x=None, progress=0.0, **options):
    """The update that one step makes."""
    x = latents(2) if x is None else x
    return LatentOptimiser(method, make_targets(), **options).step(x, progress, 1.0, ToyNetwork()) - x


def gentle(method_type, settings_type, **changes):
    return method_type(settings_type(**{"step_size": 0.5, "refine_steps": 0, **changes}))


def three():
    return gentle(TSAM, TSAMSettings), gentle(AttendAndExcite, AttendAndExciteSettings), gentle(SynGen, SynGenSettings)


def test_the_update_is_the_weighted_sum_of_the_methods_updates():
    weights = (0.5, 1.0, 2.0)
    together = once(CombinedMethods(list(zip(three(), weights))), strength=0.7)
    singly = sum(0.7 * weight * once(method) for method, weight in zip(three(), weights))
    assert together.abs().max() > 1e-3
    torch.testing.assert_close(together, singly, rtol=1e-4, atol=1e-6)


def test_one_network_call_serves_all():
    network = ToyNetwork()
    optimiser = LatentOptimiser(CombinedMethods([(method, 1.0) for method in three()]), make_targets())
    optimiser.step(latents(), 0.0, 1.0, network)
    assert network.calls == optimiser.log[0].evaluations == 1


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if issubclass(method, LatentLoss)])
def test_a_combination_of_one_is_that_method(name):
    method = METHODS[name](replace(METHODS[name]().settings, acts_on="latent"))
    combined = CombinedMethods([(method, 1.0)])
    assert torch.equal(once(combined), once(method)) and once(method).any()
    assert (combined.title, combined.preset, combined.window) == (method.title, method.preset, method.window)


def test_two_halves_make_the_whole():
    method = gentle(SynGen, SynGenSettings)
    torch.testing.assert_close(
        once(CombinedMethods([(method, 0.5), (method, 0.5)])), once(method), rtol=1e-5, atol=1e-7
    )


def test_a_method_outside_its_window_contributes_nothing():
    early, late = gentle(TSAM, TSAMSettings, end=0.3), gentle(SynGen, SynGenSettings, start=0.2, end=0.6)
    combined = CombinedMethods([(early, 1.0), (late, 1.0)])
    torch.testing.assert_close(once(combined, progress=0.1), once(early, progress=0.1))
    torch.testing.assert_close(once(combined, progress=0.4), once(late, progress=0.4))
    both = once(early, progress=0.25) + once(late, progress=0.25)
    torch.testing.assert_close(once(combined, progress=0.25), both, rtol=1e-4, atol=1e-6)
    optimiser = LatentOptimiser(combined, make_targets())
    assert combined.window == (0.0, 0.6)
    assert [optimiser.wants(p) for p in (0.0, 0.29, 0.59, 0.6)] == [True, True, True, False]


@dataclass(frozen=True)
class PullSettings(LatentLossSettings):
    step_size: float = 0.5
    decay: float = 0.0
    end: float = 1.0
    channel: int = 0
    wanted: float = 0.0


class Pull(LatentLoss):
    """½·Σ of the squares of one channel: an update by 0.5 halves that channel and touches no other."""

    name, title, paper = "pull", "Pull", "0000.00000"
    PRESETS = {"plain": PullSettings()}

    def applies(self, targets):
        return True

    def check(self, targets):
        return []

    def loss(self, maps, targets):
        per_image = maps[..., self.settings.channel].flatten(1).square().sum(1) / 2
        return Losses(per_image, per_image[:, None], ("all",))

    def satisfied(self, losses, point_index, iteration, targets):
        return losses.per_image < self.settings.wanted


def pull(**changes):
    return Pull(PullSettings(**changes))


def channels(*images):
    """One latent [3 channels, 1, 1] per image."""
    return torch.tensor(images)[..., None, None]


def test_each_method_is_refined_until_its_own_threshold_is_reached():
    combined = CombinedMethods(
        [
            (pull(channel=0, refine_at=(0.0,), refine_steps=10, wanted=0.5), 1.0),  # 3 → 1.5 → 0.75 (loss .28)
            (pull(channel=1, refine_at=(0.0,), refine_steps=1, wanted=0.5), 1.0),  # at most one: 8 → 4
            (pull(channel=2), 1.0),  # no refinement
        ]
    )
    optimiser = LatentOptimiser(combined, make_targets())
    result = optimiser.step(channels([3.0, 8.0, 1.0], [0.5, 0.5, 1.0]), 0.0, 1.0, lambda z: z.permute(0, 2, 3, 1))
    # then one closing update of all three
    torch.testing.assert_close(result, channels([0.375, 2.0, 0.5], [0.25, 0.25, 0.5]))
    assert optimiser.log[0].updates.tolist() == [3, 1]
    assert optimiser.log[0].evaluations == 3


def test_refinement_points_are_each_methods_own():
    combined = CombinedMethods(
        [
            (pull(channel=0, refine_at=(0.0,), refine_steps=2, step_size=0.1), 1.0),
            (pull(channel=1, refine_at=(0.4,), refine_steps=3, step_size=0.1), 1.0),
        ]
    )
    optimiser, x = LatentOptimiser(combined, make_targets()), channels([1.0, 1.0, 1.0])
    for i in range(10):
        x = optimiser.step(x, i / 10, 1.0, lambda z: z.permute(0, 2, 3, 1))
    assert [int(entry.updates) for entry in optimiser.log] == [3, 1, 1, 1, 4, 1, 1, 1, 1, 1]
    torch.testing.assert_close(x, channels([0.9**12, 0.9**13, 1.0]))


def test_a_method_that_has_no_finite_loss_does_not_stop_the_others():
    class Broken(Pull):
        def loss(self, maps, targets):
            losses = super().loss(maps, targets)
            return Losses(losses.per_image.detach() * torch.nan + maps.sum() * 0, losses.per_target, losses.names)

    combined = CombinedMethods([(Broken(PullSettings(channel=1)), 1.0), (pull(channel=0), 1.0)])
    optimiser = LatentOptimiser(combined, make_targets())
    result = optimiser.step(channels([2.0, 2.0, 2.0]), 0.0, 1.0, lambda z: z.permute(0, 2, 3, 1))
    torch.testing.assert_close(result, channels([1.0, 2.0, 2.0]))
    assert "image 1" in optimiser.log[0].skipped[0]


def test_the_logged_loss_is_each_methods_by_its_share_of_the_pull():
    combined = CombinedMethods([(pull(channel=0, step_size=0.1), 1.0), (pull(channel=1, step_size=0.2), 2.0)])
    optimiser = LatentOptimiser(combined, make_targets())
    optimiser.step(channels([2.0, 4.0, 0.0]), 0.0, 1.0, lambda z: z.permute(0, 2, 3, 1))
    entry = optimiser.log[0]
    assert entry.names == ("Pull: all", "Pull: all")
    assert entry.first.tolist() == [[2.0, 8.0]]
    assert float(entry.totals[0]) == pytest.approx((0.1 * 2.0 + 0.4 * 8.0) / 0.5)
    assert entry.step_size == pytest.approx(0.5)


def test_combinations_of_combinations_multiply_their_weights():
    inner = CombinedMethods([(pull(channel=0), 0.5), (pull(channel=1), 1.0)])
    outer = CombinedMethods([(inner, 2.0), (pull(channel=2), 1.0), (pull(channel=0), 0.0)])
    assert [part.weight for part in outer.parts] == [1.0, 2.0, 1.0]


def test_weights_and_map_sizes_are_checked():
    with pytest.raises(MethodError, match="weight"):
        CombinedMethods([(TSAM(), 0.0)])
    with pytest.raises(MethodError, match="1/2, 1/4"):
        CombinedMethods(
            [
                (gentle(TSAM, TSAMSettings, resolution="1/4"), 1.0),
                (gentle(SynGen, SynGenSettings, resolution="1/2"), 1.0),
            ]
        )
    mixed = CombinedMethods([(TSAM(), 1.0), (gentle(SynGen, SynGenSettings, resolution="1/2"), 1.0)])
    assert mixed.resolution == "1/2"


def test_an_edit_of_scores_may_be_among_them_but_not_two():
    edit = METHODS["attention_regulation"]()
    both = CombinedMethods([(edit, 0.5), (SynGen(), 1.0)])
    assert both.kind == "latent_loss" and [part.weight for part in both.parts] == [0.5, 1.0]
    assert CombinedMethods([(edit, 1.0)]).kind == "score_edit"
    torch.testing.assert_close(once(both, strength=0.1), once(SynGen(), strength=0.1))
    with pytest.raises(MethodError, match="edit attention scores"):
        CombinedMethods([(edit, 0.5), (METHODS["attention_regulation"](), 0.5)])


def test_a_method_without_anything_to_do_is_left_out():
    combined = CombinedMethods([(TSAM(), 1.0), (AttendAndExcite(), 1.0)])
    short = make_targets((OBJECTS[0],), words="a black car")
    nothing = make_targets((), words="beautiful thing here today")
    assert combined.applies(short) and combined.check(short) == AttendAndExcite().check(short)
    assert combined.applies(nothing)
    assert combined.check(nothing) == [
        "Attend-and-Excite finds nothing to work on in this prompt and is left out of the combination."
    ]
    optimiser = LatentOptimiser(combined, nothing)
    x = latents()
    torch.testing.assert_close(
        optimiser.step(x, 0.0, 1.0, ToyNetwork()), LatentOptimiser(TSAM(), nothing).step(x, 0.0, 1.0, ToyNetwork())
    )


def test_the_report_names_the_methods_and_their_weights():
    text = report(sample(CombinedMethods([(gentle(TSAM, TSAMSettings), 0.5), (gentle(SynGen, SynGenSettings), 2.0)])))
    assert "T-SAM + SynGen" in text and "0.5 × T-SAM (" in text and "2 × SynGen (" in text
    assert "SynGen: white clock" in text
    assert "2411.15236, 2306.08877" in text
