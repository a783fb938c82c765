"""A real Chromium on the real server: the page as an artist has it."""

from collections.abc import Iterator

import pytest
from live_server import Server
from playwright.sync_api import Browser, sync_playwright
from comfy_page import ComfyPage
from prompt_fidelity.tools import CACHE
from prompt_fidelity.tools.chromium import get_chromium
