"""The workflows in ComfyUI's own templates dialog, found by what an artist types there.

Of a pack's template the dialog knows the file's name alone: it is name, title and description at once, and there are
neither tags nor models. Its search (Fuse.js, threshold 0.33) wants the words near the name's beginning.
"""

import pytest
from comfy_page import ComfyPage
from test_page import WORKFLOWS

SHOWN = """[...document.querySelectorAll("[data-testid^='template-workflow-']")]
    .map(card => card.dataset.testid.slice('template-workflow-'.length))"""


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
    """Without a search the dialog shows the host's own templates, those of packs after hundreds of them."""
    wanted = {file.stem for file in WORKFLOWS if file.stem[0] in numbers}
    comfy.page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    comfy.until(lambda: comfy.page.evaluate(SHOWN), "the templates' cards")
    assert not wanted & set(comfy.page.evaluate(SHOWN))
    comfy.page.get_by_role("dialog").get_by_placeholder("Search ...").fill(words)
    comfy.until(lambda: wanted <= set(comfy.page.evaluate(SHOWN)), f'our templates for "{words}"')
    comfy.page.keyboard.press("Escape")
    comfy.until(lambda: not comfy.page.evaluate(SHOWN), "the end of the dialog")
