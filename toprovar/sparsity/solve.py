"""Finds the mildest setting of a strategy that meets a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .plan import SparsityPlan

STEPS = 14
CLOSE = 0.02
"""Share of a dense run by which a plan may lie below what was asked for without a word."""


def solve(at: Callable[[float], SparsityPlan], cost: Callable[[SparsityPlan], float],
          target: float) -> tuple[SparsityPlan, bool]:
    """The plan of the smallest strength whose cost is at most ``target``.

    Args:
        at: strength in [0, 1] -> plan; the cost must not rise with strength.
        cost: what is to be brought down.

    Returns:
        the plan, and whether it meets the target; if none does, the plan of strength 1.
    """
    strongest = at(1.0)
    if cost(strongest) > target:
        return strongest, False
    mildest = at(0.0)
    if cost(mildest) <= target:
        return mildest, True
    low, high, best = 0.0, 1.0, strongest
    for _ in range(STEPS):
        middle = (low + high) / 2
        plan = at(middle)
        if cost(plan) <= target:
            high, best = middle, plan
        else:
            low = middle
    return best, True


def solve_from(
    starts: Sequence[int], at: Callable[[int, float], SparsityPlan],
    cost: Callable[[SparsityPlan], float], target: float,
) -> tuple[SparsityPlan, int, bool]:
    """As ``solve``, with the first scale to prune as a second knob: each start is tried in turn
    until one meets the target.

    Args:
        starts: the preferred start first; at least one.
        at: (start, strength) -> plan.

    Returns:
        the plan, its start, and whether it meets the target.
    """
    for start in starts:
        plan, reached = solve(lambda u, s=start: at(s, u), cost, target)
        if reached or start == starts[-1]:
            return plan, start, reached
    raise ValueError("no start to try")
