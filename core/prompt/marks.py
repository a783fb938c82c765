"""Targets marked inside the prompt: `a (black car:1) and a (clock:1)`.

A weight of exactly 1 changes nothing for anyone who encodes the prompt, so the marks may stay in it wherever it goes.
"""

from __future__ import annotations

from .syntax import Prompt


def marked(prompt: Prompt) -> list[str]:
    """The stretches of a prompt that stand in brackets with a weight of 1, in order."""
    found = []
    for ((start, end), weight), begin in zip(prompt.weights, prompt.runs, strict=True):
        after = begin + end - start
        in_brackets = prompt.literal[begin - 1 : begin] == "(" and prompt.literal[after : after + 1] == ":"
        text = prompt.text[start:end].strip()
        if weight == 1.0 and in_brackets and begin > 0 and text:
            found.append(text)
    return found
