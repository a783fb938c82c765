"""Adds this folder's helper to the path, opens one page per module (a start of Chromium costs seconds), and switches it
between the two node designs.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import Server

sys.path.append(str(Path(__file__).resolve().parent))

from comfy_page import ComfyPage, open_page  # noqa: E402


@pytest.fixture(scope="module")
def comfy(server: Server) -> Iterator[ComfyPage]:
    with open_page(server) as page:
        yield page


DESIGNS = {"classic": False, "Nodes 2.0": True}


@pytest.fixture(scope="module", params=DESIGNS)
def design(comfy: ComfyPage, request: pytest.FixtureRequest) -> str:
    """The way in which the page draws nodes. Of a module's scope, so that it is switched but once."""
    comfy.nodes_2(DESIGNS[request.param])
    return request.param
