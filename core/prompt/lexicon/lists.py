"""How a list of words is written down."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """Single words, separated by spaces."""
    return frozenset(text.split())


def phrases(text: str) -> frozenset[str]:
    """Phrases, separated by commas."""
    return frozenset(phrase.strip() for phrase in text.split(","))
