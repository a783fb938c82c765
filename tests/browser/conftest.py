"""Adds this folder's helper to the path, and opens one page per module: a start of Chromium costs seconds."""

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
