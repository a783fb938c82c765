"""A sentence as the reader sees it: chunks, and questions about what stands around one of them."""

from __future__ import annotations

from .chunks import Chunk, cut
from .credits import without_credits
from .joining import joined, side_of_owner
from .negation import without_negated
from .word import Word


class Sentence:
    """What a sentence says is there, chunk by chunk."""

    def __init__(self, words: list[Word]) -> None:
        self.items = without_credits(without_negated(joined(side_of_owner(cut(words)))))
        self.next_and = _next_ands(self.items)

    def at(self, i: int) -> Chunk | None:
        return self.items[i] if 0 <= i < len(self.items) else None

    def before(self, i: int) -> Chunk | None:
        """The chunk before `i`, adverbs left out."""
        i -= 1
        while i >= 0 and self.items[i].kind == "other":
            i -= 1
        return self.at(i)

    def comes(self, i: int, *kinds: str) -> bool:
        """Whether the first chunk from `i` on, adverbs left out, is of one of these kinds."""
        item = self.at(self.skip_adverbs(i)) if i >= 0 else None
        return item is not None and item.kind in kinds

    def skip_adverbs(self, i: int) -> int:
        while i < len(self.items) and self.items[i].kind == "other":
            i += 1
        return i

    def skip_both(self, i: int) -> int:
        """Past the "both of" in "above both of them"."""
        while i < len(self.items) and (self.items[i].kind == "of" or self.items[i].is_both):
            i += 1
        return i

    def is_made_of(self, i: int) -> bool:
        """Whether the phrase at `i` is what something is "made of"."""
        return i >= 2 and self.items[i - 2].text == "made" and not self.items[i].phrase.determiner

    def is_inner_member(self, i: int) -> bool:
        """Whether the phrase at `i` is an inner member of "a, b and c"."""
        return self.next_and[i + 1]


def _next_ands(items: list[Chunk]) -> list[bool]:
    """For each place in the sentence, whether only phrases and commas come before an "and" with a phrase after it."""
    found = [False] * (len(items) + 2)
    for i in range(len(items) - 2, -1, -1):
        kind = items[i].kind
        found[i] = items[i + 1].kind == "np" if kind == "and" else kind in ("np", "comma") and found[i + 1]
    return found
