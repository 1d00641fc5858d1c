"""Means of few pictures and how far they can be trusted: Student's 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
       2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
       2.052, 2.048, 2.045, 2.042)
"""Quantiles 0.975 of Student's t with 1, 2, 3 ... degrees of freedom."""


def half_width(values: Sequence[float]) -> float:
    """Of the 95 % interval of the mean of independent values; infinite for fewer than two."""
    count = len(values)
    if count < 2:
        return math.inf
    free = count - 1
    quantile = T95[free - 1] if free <= len(T95) else 1.96 + 2.4 / free
    return quantile * stdev(values) / math.sqrt(count)


def paired(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Mean of a - b over the pictures that both have, and the half-width of its interval.

    Args:
        a, b: one value a picture, in the same order from the first one on; at least one.
    """
    differences = [x - y for x, y in zip(a, b, strict=False)]
    return fmean(differences), half_width(differences)
