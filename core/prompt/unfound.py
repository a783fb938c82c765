"""What is wrong with an entry of the artist's list, in words."""

from __future__ import annotations

from collections import Counter

from .lexicon import singular
from .limits import MOST_WORDS
from .word import Word

# Tags of words that hold a sentence together; an error message doesn't offer them.
_FUNCTION_TAGS = frozenset("AT0 CJC CJS CJT PRP PRF PNP DPS DT0 DTQ TO0 PUN PUL PUR VBZ VBD VBB POS EX0".split()) | {""}
_MOST_OFFERED = 40


def explain(entry: str, typed: list[Word], entries: list[str], prompt: list[Word]) -> str:
    """Why `entry`, of the words `typed`, was not found, and which words the prompt has instead."""
    known = {singular(word.text) for word in prompt}
    named = [word for word in typed if not word.is_determiner] or typed  # an article need not be the prompt's
    missing = [word.text for word in named if singular(word.text) not in known]
    times = Counter(other.lower() for other in entries)[entry.lower()]
    if missing:
        problem = _not_there(entry, missing)
    elif times > 1:
        problem = f'"{entry}" is listed {times} times, more often than it is in the prompt.'
    else:
        problem = f'The words of "{entry}" are in the prompt, but not together, or another entry has them already.'
    return f"{problem} {_offer(prompt)}"


def _not_there(entry: str, missing: list[str]) -> str:
    named = ", ".join(f'"{word}"' for word in missing)
    words = named if missing == [entry.lower()] else f'{named} (of "{entry}")'
    if len(missing) > 1:
        return f"The words {words} are not in the prompt."
    return f"The word {words} is not in the prompt."


def _offer(prompt: list[Word]) -> str:
    words = list(dict.fromkeys(word.text for word in prompt if word.tag not in _FUNCTION_TAGS))
    more = ", …" if len(words) > _MOST_OFFERED else ""
    part = f" (its first {MOST_WORDS} words were searched)" if len(prompt) >= MOST_WORDS - 1 else ""
    offered = f"{', '.join(words[:_MOST_OFFERED]) or 'no words'}{more}{part}"
    return f"The prompt has: {offered}."
