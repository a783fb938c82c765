"""A tagged word."""

from __future__ import annotations

from dataclasses import dataclass

from .scene import Span


@dataclass(frozen=True)
class Word:
    """A word or a punctuation mark: lower-cased `text`, tag of the CLAWS C5 set, place in the clean text.

    Five tags are ours: "STOP" ends a sentence, "GAP" is something that is no English (an embedding, other scripts),
    "LINK" joins tags of a tag list ("long_hair"), "QUOTE" is a quotation mark, "UNIT" a camera's or picture's setting
    ("50mm").
    """

    text: str
    tag: str
    start: int
    end: int
    capital: bool = False

    @property
    def span(self) -> Span:
        return (self.start, self.end)

    @property
    def is_noun(self) -> bool:
        return self.tag in ("NN0", "NN1", "NN2", "NP0")

    @property
    def is_adjective(self) -> bool:
        return self.tag in ("AJ0", "AJC", "AJS", "ORD", "UNIT")

    @property
    def is_determiner(self) -> bool:
        return self.tag in ("AT0", "DT0", "DPS", "CRD")

    @property
    def is_participle(self) -> bool:
        return self.tag in ("VVG", "VVN", "VVD")

    @property
    def is_verb(self) -> bool:
        return self.tag[0] == "V"
