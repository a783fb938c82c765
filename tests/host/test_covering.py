"""Thinned parameters leave no pair of values out."""

from itertools import combinations, product

import pytest
from covering import every_two


@pytest.mark.parametrize("sizes", [(10, 3, 3), (7, 3, 2), (17, 3, 2), (3, 3, 3)])
def test_every_two_values_meet(sizes):
    axes = [[f"{name}{i}" for i in range(size)] for name, size in zip("abc", sizes)]
    cases = every_two(*axes)
    assert len(cases) == len(set(cases)) == sizes[0] * sizes[1]
    for first, second in combinations(range(3), 2):
        assert {(case[first], case[second]) for case in cases} == set(product(axes[first], axes[second]))
