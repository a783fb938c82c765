"""How much of a run's time goes into showing its steps, on a clock that the test winds."""

import pytest
import torch
from hostkit import encoded
from prompt_fidelity.host.sampling import live


@pytest.mark.parametrize("step, picture", [(0.02, 0.004), (1.0, 0.004), (0.001, 0.5)])
def test_pictures_of_steps_take_no_more_than_their_share(monkeypatch, step: float, picture: float):
    now, shown = [0.0], []

    def preview(image, node):
        shown.append(image)
        now[0] += picture

    monkeypatch.setattr(live, "previews_reach", lambda node: True)
    monkeypatch.setattr(live, "preview_on_node", preview)
    monkeypatch.setattr(live.time, "perf_counter", lambda: now[0])
    _, targets = encoded("sd1")
    maps = live.LiveMaps(targets, "1")
    for _ in range(100):
        now[0] += step
        maps.show(torch.rand(1, 4, 16, 16))
    assert shown, "the first step is shown at once"
    assert (len(shown) - 1) * picture <= live.SHARE * now[0]
    if picture < live.SHARE * step:
        assert len(shown) == 100
