"""How far repeated times lie apart, and how sure a median of few of them is."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import median, quantiles

from pydantic import BaseModel, ConfigDict, Field

LEVEL = 0.95


class Interval(BaseModel):
    """A median and an interval around it.

    Attributes:
        low, high: two of the measured values; level: the probability with which the true median
            lies between them, whatever the distribution. Where there are too few values for 95 %,
            they are the smallest and the largest, and the level is lower.
        count: of values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    median: float
    low: float
    high: float
    level: float = Field(ge=0, le=1)
    count: int = Field(ge=1)


def interval_of(values: Sequence[float]) -> Interval:
    """The median with its interval from order statistics: how many of n values lie below the true
    median is binomial, with probability one half.

    Args:
        values: one or more, measured independently.
    """
    ordered, n = sorted(values), len(values)
    found = Interval(median=median(ordered), low=ordered[0], high=ordered[-1], level=_level(n, 0),
                     count=n)
    for cut in range(1, (n + 1) // 2):
        level = _level(n, cut)
        if level < LEVEL:
            break
        found = Interval(median=median(ordered), low=ordered[cut], high=ordered[-1 - cut],
                         level=level, count=n)
    return found


def _level(n: int, cut: int) -> float:
    """Probability that the true median lies between the values that are left when ``cut`` are taken
    away at each end."""
    outside = sum(comb(n, k) for k in range(cut + 1)) / 2**n
    return max(0.0, 1 - 2 * outside)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The middle half lies between them; of one value, this value twice."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def relative_spread(values: Sequence[float]) -> float:
    """The width of the middle half over the median."""
    low, high = quartiles(values)
    return (high - low) / median(values)
