"""Fewer cases than all combinations, which still bring every two values together."""

from collections.abc import Iterable


def every_two(first: Iterable, second: Iterable, third: Iterable) -> list[tuple]:
    """(a, b, c) for every a with every b, with the c by turns: so every a and every b has every c as well, where there
    are at least as many of the others as of the third.

    For tests whose three parameters act in three different places: a fault needs one of them, or two that meet.
    """
    third = list(third)
    return [(a, b, third[(i + j) % len(third)]) for i, a in enumerate(first) for j, b in enumerate(second)]
