"""What nodes say while they run, in the page's language (tools/sentences.py)."""

import re
from collections.abc import Iterator

import pytest
from comfy_page import ComfyPage
from live_server import Server, pack_name
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
        "✓ red ball  ✗ blue ring：模型去“red ball”上找它了；换一个种子，或把强度设为 1.5\n\n- 强度为 0，所以这是原本的图。",
        '提示词里没有 "cow" 这个词。提示词里有：red, ball。',
        unknown,
    ]


@pytest.mark.usefixtures("in_english_afterwards")
def test_a_page_in_chinese_shows_the_verdict_and_an_error_in_chinese(comfy: ComfyPage, server: Server):
    comfy.speak("zh")
    comfy.load_template(pack_name(), WORKFLOWS[0].stem)
    comfy.page.evaluate(
        "app.graph.nodes.flatMap(node => node.widgets ?? []).find(widget => widget.name === 'strength').value = 0"
    )
    server.forget()
    comfy.queue(timeout=150)
    verdict = comfy.wait_for_text("FidelityViewMaps", "或把强度设到 0 以上")
    assert "✗" in verdict and "- 强度为 0，所以这是原本的图。" in verdict
    comfy.reload()
    assert comfy.texts()["FidelityViewMaps"] == verdict
    comfy.speak("en")
    comfy.reload()
    assert "or a strength above 0" in comfy.texts()["FidelityViewMaps"], "what is kept is not of one language"
    comfy.speak("zh")
    comfy.load_api(graph(seed=21, steps=2, words="zebra"))
    with pytest.raises(AssertionError):
        comfy.queue()
    comfy.until(lambda: '提示词里没有 "zebra" 这个词。' in comfy.page.inner_text("body"), "the message")
    comfy.wait_for_text("FidelityExtractTargets", '提示词里没有 "zebra" 这个词。')
    assert comfy.errors == []
