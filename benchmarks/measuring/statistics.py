"""How sure one can be of a share, and of a difference between two ways of drawing the same pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt

from scipy.stats import binomtest

_Z = 1.959963984540054  # the normal distribution's 97.5 % point: intervals of 95 %


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): holds its level for shares near 0 and 1 too. (0,
    1) for no pictures.
    """
    if total == 0:
        return 0.0, 1.0
    share, spread = hits / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int, float]:
    """(gained, lost, p): McNemar's exact test, two-sided, on the same pictures drawn in two ways.

    Only pictures that changed count; without any difference each of them is a fair coin.
    """
    gained = sum(b < a for b, a in zip(before, after, strict=True))
    lost = sum(b > a for b, a in zip(before, after, strict=True))
    return gained, lost, sign_test(gained, lost)


def by_prompt(prompts: Sequence[str], before: Sequence[float], after: Sequence[float]) -> tuple[int, int, float]:
    """(better, worse, p): on how many prompts the sum over the seeds rose or fell, with the sign test of that.

    Pictures of one prompt resemble each other, so that McNemar's test may be too sure; prompts are independent.
    """
    change: dict[str, float] = defaultdict(float)
    for prompt, b, a in zip(prompts, before, after, strict=True):
        change[prompt] += a - b
    better, worse = sum(c > 0 for c in change.values()), sum(c < 0 for c in change.values())
    return better, worse, sign_test(better, worse)


def sign_test(more: int, less: int) -> float:
    """Two-sided probability of so uneven a split of fair coins; 1 for none."""
    return float(binomtest(more, more + less).pvalue) if more + less else 1.0
