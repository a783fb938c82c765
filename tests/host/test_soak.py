"""The soak's short form: a queue through the host's own executor, cancelled and wrong prompts in it."""

import json
import sys
from pathlib import Path

from patience import finished

ROOT = Path(__file__).resolve().parents[2]


def test_a_short_soak(tmp_path):
    log = tmp_path / "log.txt"
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), "--count", "25", "--seed", "3", "--json"]
    ended = finished(command, "the soak", log)
    text = log.read_text()
    assert ended == 0, text[-6000:]
    figures = json.loads([line for line in text.splitlines() if line.startswith("{")][-1])
    assert figures["references"] == 15 and figures["references_changed"] == 0
    assert figures["tracebacks"] == 0 and figures["unexpected"] == 0
    assert sum(figures["ended"].values()) == 25 and figures["ended"]["drawn"] >= 15
    assert figures["ended"].get("cancelled", 0) >= 2
    assert figures["ended"].get("wrong", 0) + figures["ended"].get("refused", 0) == 2
    # From the first look on; what is made once has been made by then, but for samplers' noise.
    assert figures["objects"][-1] - figures["objects"][0] < 20_000
    assert figures["tensors"][-1] - figures["tensors"][0] < 60
