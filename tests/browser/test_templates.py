"""The workflows in ComfyUI's own templates dialog, found by what an artist types there.

Of a pack's template the dialog knows the file's name alone: it is name, title and description at once, and there are
neither tags nor models. Its search (Fuse.js, threshold 0.33) wants the words near the name's beginning.
"""

import re
from collections.abc import Iterator

import pytest
from comfy_page import ComfyPage
from test_page import WORKFLOWS

PICTURES = re.compile(r"/templates/.*\.(webp|jpg|png|gif|mp3|mp4)")
SHOWN = """[...document.querySelectorAll("[data-testid^='template-workflow-']")]
    .map(card => card.dataset.testid.slice('template-workflow-'.length))"""


@pytest.fixture(scope="module")
def dialog(comfy: ComfyPage) -> Iterator[None]:
    """Shows the host's own templates first, of several hundred; their moving pictures would keep the machine busy."""
    comfy.page.route(PICTURES, lambda route: route.abort())
    comfy.page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    comfy.until(lambda: comfy.page.evaluate(SHOWN), "the templates' cards")
    assert not {file.stem for file in WORKFLOWS} & set(comfy.page.evaluate(SHOWN))
    yield
    comfy.page.keyboard.press("Escape")
    comfy.page.unroute(PICTURES)


@pytest.mark.usefixtures("dialog")
@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("prompt fidelity", "123456789"),
        ("two objects", "2"),
        ("regional", "3"),
        ("attend and excite", "4"),
    ],
)
def test_the_templates_are_found(comfy: ComfyPage, words: str, numbers: str):
    wanted = {file.stem for file in WORKFLOWS if file.stem[0] in numbers}
    comfy.page.evaluate("document.querySelector(\"[role=dialog] input[placeholder^='Search']\").select()")
    comfy.page.keyboard.insert_text(words)
    comfy.until(lambda: wanted <= set(comfy.page.evaluate(SHOWN)), f'our templates for "{words}"')
