"""What nodes say while they run, in the page's language (tools/sentences.py)."""

import re
from collections.abc import Iterator

import pytest
from comfy_page import ComfyPage
from live_server import pack_name
from prompt_fidelity.tools import sentences
from test_live_runs import graph
from test_page import WORKFLOWS

SAY = "async ([file, texts]) => { const { said } = await import(file); return texts.map(said) }"


@pytest.fixture
def in_english_afterwards(comfy: ComfyPage) -> Iterator[None]:
    yield
    comfy.speak("en")


def said(comfy: ComfyPage, texts: list[str]) -> list[str]:
    """What the page makes of what the server says."""
    return comfy.page.evaluate(SAY, [f"/extensions/{pack_name()}/said.js", texts])


@pytest.mark.usefixtures("in_english_afterwards")
@pytest.mark.parametrize("language", sentences.LANGUAGES[1:])
def test_the_page_knows_every_sentence(comfy: ComfyPage, language: str):
    comfy.speak(language)
    english, other = (
        [re.sub(r"\{(\w+)\}", r"<\1>", text) for text in sentences.read(one).values()] for one in ("en", language)
    )
    assert said(comfy, english) == other


@pytest.mark.usefixtures("in_english_afterwards")
def test_sentences_in_sentences_and_what_is_not_known(comfy: ComfyPage):
    verdict = "✓ red ball  ✗ blue ring: the model looked for it on the red ball; try another seed, or strength 1.5"
    listed = "- The strength is 0, so the picture is the plain one."
    two = 'The word "cow" is not in the prompt. The prompt has: red, ball.'
    unknown = "Something else; and more. It is new: try another seed"
    assert said(comfy, [verdict, unknown]) == [verdict, unknown]
    comfy.speak("zh")
    assert said(comfy, [f"{verdict}\n\n{listed}", two, unknown]) == [
        "✓ red ball  ✗ blue ring：模型去“red ball”上找它了；换一个种子，或把强度设为 1.5\n\n"
        "- 强度为 0，所以这是原本的图。",
        '提示词里没有 "cow" 这个词。提示词里有：red, ball。',
        unknown,
    ]


@pytest.mark.usefixtures("in_english_afterwards")
def test_a_page_in_chinese_shows_the_verdict_in_chinese(comfy: ComfyPage):
    """As when a run has ended; what is kept with the graph is of no language, so that another one can open it."""
    comfy.speak("zh")
    comfy.load_template(pack_name(), WORKFLOWS[0].stem)
    verdict = "✓ cat  ✗ red backpack: the model hardly looked for it; try another seed"
    comfy.page.evaluate(
        "text => app.graph.nodes.find(node => node.type === 'FidelityViewMaps').onExecuted({ text: [text] })", verdict
    )
    assert comfy.texts()["FidelityViewMaps"] == "✓ cat  ✗ red backpack：模型几乎没有找它；换一个种子"
    saved = comfy.page.evaluate("app.graph.serialize()")
    comfy.speak("en")
    comfy.page.evaluate("graph => app.loadGraphData(graph, true, true, 'of a test')", saved)
    assert comfy.texts()["FidelityViewMaps"] == verdict


@pytest.mark.usefixtures("in_english_afterwards")
def test_a_page_in_chinese_shows_an_error_in_chinese(comfy: ComfyPage):
    comfy.speak("zh")
    comfy.load_api(graph(seed=21, steps=2, words="zebra"))
    with pytest.raises(AssertionError):
        comfy.queue()
    sentence = '提示词里没有 "zebra" 这个词。'
    comfy.until(lambda: sentence in comfy.page.inner_text("body"), "the message")
    comfy.wait_for_text("FidelityExtractTargets", sentence)
    assert comfy.errors == []
