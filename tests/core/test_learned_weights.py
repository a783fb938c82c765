"""Space-Time Attention's weights: learning them, and writing them down."""

import json

import pytest
import torch
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.methods.space_time import SpaceTime, SpaceTimeSettings
from prompt_fidelity.core.search import learned_weights as learned
from prompt_fidelity.core.search.learned_weights import Epoch
from prompt_fidelity.core.show.plot import epochs_plot


def layout(*names):
    return Layout(tuple(Placement(i, name, Box(0, 0, 1, 1)) for i, name in enumerate(names)), 64, 64)


def bowl(goal):
    """The squared distance to `goal` and its slope, as an evaluation."""

    def evaluate(weights, with_gradient):
        loss = float(((weights - goal) ** 2).sum())
        return Epoch(loss, {"whole prompt": loss}, weights), 2 * (weights - goal) if with_gradient else None

    return evaluate


def test_it_goes_down_and_keeps_the_best():
    found = learned.optimise(torch.full((2, 3), 0.5), bowl(torch.tensor([[0.8] * 3, [0.1] * 3])), epochs=4, rate=0.1)
    assert len(found.epochs) == 5 and found.best.loss < found.epochs[0].loss / 4
    assert 0.2 < float(found.change.mean()) < 0.45
    # So large a step that it only makes things worse: the start stays the best.
    lost = learned.optimise(torch.full((2, 3), 0.5), bowl(torch.full((2, 3), 0.49)), epochs=2, rate=0.4)
    assert lost.best is lost.epochs[0] and float(lost.change.max()) == 0
    assert "no update made it lower" in lost.report(("a", "b"))


def test_the_published_settings_move_the_weights_by_next_to_nothing_and_ours_do_not():
    goal = torch.ones(2, 50)
    published = learned.optimise(torch.full((2, 50), 0.5), bowl(goal), epochs=3, rate=0.005)
    ours = learned.optimise(torch.full((2, 50), 0.5), bowl(goal))
    assert float(published.change.mean()) < 0.02 and float(ours.change.mean()) > 0.3


def test_weights_stay_in_their_range():
    found = learned.optimise(torch.full((1, 2), 0.9), bowl(torch.tensor([[5.0, -5.0]])), epochs=15, rate=0.1)
    assert found.best.weights.tolist() == [[1.0, 0.0]]
    assert learned.most_of(SpaceTimeSettings()) == 1.0 and learned.most_of(SpaceTime.PRESETS["repo"]) == 10.0


def test_what_is_not_finite_ends_the_search():
    calls = []

    def evaluate(weights, with_gradient):
        calls.append(weights)
        return Epoch(1.0, {}, weights), torch.full_like(weights, float("nan"))

    found = learned.optimise(torch.ones(1, 2), evaluate, epochs=5)
    assert (
        len(calls) == 1
        and "not finite after 0 updates" in found.notes[0]
        and torch.equal(found.best.weights, torch.ones(1, 2))
    )
    with pytest.raises(MethodError, match="very first picture"):
        learned.optimise(torch.ones(1, 2), lambda w, g: (Epoch(float("nan"), {}, w), w), epochs=5)


def test_it_starts_from_the_methods_own_curve():
    method = SpaceTime(SpaceTimeSettings(weight=0.8, curve="linear", final=0.0))
    weights = learned.start_weights(method, layout("a", "b"), 4)
    torch.testing.assert_close(weights, torch.tensor([[0.7, 0.5, 0.3, 0.1]] * 2))


def test_the_text_gives_the_method_back():
    settings = SpaceTimeSettings(rule="published", weight=1.0, local="{}", values=(1.0, 0.5))
    method = SpaceTime(settings, table=[[0.1, 0.25], [0.5, 1.5]], names=("cat", "dog"))
    back = learned.from_text(learned.to_text(method))
    assert back.settings == settings and back.names == method.names
    torch.testing.assert_close(back.table, method.table)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "is no JSON"),
        ("[1]", "no object in braces"),
        ('{"space_time": {"wieght": 1}, "objects": ["a"], "weights": [[1]]}', "unknown settings: wieght"),
        (
            '{"space_time": {"rule": "best"}, "objects": ["a"], "weights": [[1]]}',
            "rule must be one of convex, published",
        ),
        ('{"space_time": {"radius": 5}, "objects": ["a"], "weights": [[1]]}', "radius must be a number from 0.02 to 1"),
        ('{"space_time": {"weight": NaN}, "objects": ["a"], "weights": [[1]]}', "weight must be a number"),
        (
            '{"space_time": {"values": [1, "x"]}, "objects": ["a"], "weights": [[1]]}',
            "values must be a list of numbers",
        ),
        ('{"space_time": {"divide": 1}, "objects": ["a"], "weights": [[1]]}', "divide must be true or false"),
        ('{"space_time": {"local": 1}, "objects": ["a"], "weights": [[1]]}', "local must be a text"),
        ('{"space_time": [], "objects": ["a"], "weights": [[1]]}', "settings in braces"),
        ('{"objects": ["a"], "weights": [[NaN]]}', "from 0 to 10 for each object"),
        ('{"objects": ["a"], "weights": [[99]]}', "from 0 to 10 for each object"),
        ('{"objects": [], "weights": []}', '"objects" must be'),
        ('{"objects": ["a"], "weights": [[1], [2]]}', "one list of numbers"),
        ('{"objects": ["a"], "weights": [["x"]]}', "one list of numbers"),
        ('{"objects": ["a", "b"], "weights": [[1, 2], [2]]}', "all of the same length"),
    ],
)
def test_any_other_text_is_refused(text, said):
    with pytest.raises(MethodError, match=said):
        learned.from_text(text)


def test_the_weights_follow_their_objects():
    method = SpaceTime(table=[[0.1, 0.2], [0.3, 0.4]], names=("cat", "dog"))
    assert method.weights(0.0, layout("dog", "cat")).tolist() == pytest.approx([0.3, 0.1])
    assert method.weights(1.0, layout("dog")).tolist() == pytest.approx([0.4])
    with pytest.raises(MethodError, match="optimised for cat, dog, but the layout places cat, bird"):
        method.check_layout(layout("cat", "bird"))
    with pytest.raises(MethodError, match="optimised for 2 objects"):
        SpaceTime(table=[[0.1], [0.3]]).check_layout(layout("cat"))
    assert "optimised weights (2 objects, 2 steps)" in method.settings_text()
    assert json.loads(learned.to_text(method))["weights"] == [[0.1, 0.2], [0.3, 0.4]]


def test_the_plot_shows_every_part():
    plain = epochs_plot({"whole prompt": [0.5, 0.4]}, "title")
    more = epochs_plot({"whole prompt": [0.5, 0.4], "cat": [0.9, 0.2]}, "title")
    assert plain.shape == more.shape == (1, 540, 960, 3) and not torch.equal(plain, more)
