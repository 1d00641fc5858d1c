"""Comparisons at one target: which strategies come near it, and how much of a run each took."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..sparsity.strategies.registry import with_targets

if TYPE_CHECKING:
    from ..evaluation.compare import Compared
    from ..sparsity.planner import Planner

FAR = 0.1
"""Share of a dense run by which a plan may miss the target and still be compared."""


def comparable(plans: dict[str, Planner], asked: float, by_time: bool
               ) -> tuple[dict[str, Planner], tuple[str, ...]]:
    """The plans that come near a target, and a note that names the others.

    Args:
        plans: by strategy, dense among them.
        asked: share of a dense run's FLOPs, or of its predicted time (``by_time``).
    """
    shown, far = {}, []
    for name, plan in plans.items():
        cost = getattr(plan, "predicted", None)
        used = None if cost is None else \
            1 / cost.speedup if by_time and cost.speedup else cost.flop_share
        if name == "dense" or (name in with_targets() and (used is None or used <= asked + FAR)):
            shown[name] = plan
        else:
            far.append(name if used is None else f"{name} ({used:.1%})")
    if not far:
        return shown, ()
    return shown, (f"left out, as the target is out of their reach: {', '.join(far)}; "
                   "--strategies shows them all the same",)


def target_of(arguments: argparse.Namespace) -> tuple[float | None, bool]:
    """The share of a dense run that was asked for, and whether it is of its time."""
    if arguments.budget is not None:
        return arguments.budget, False
    return (None if arguments.speedup is None else 1 / arguments.speedup), True


def work_told(arguments: argparse.Namespace, compared: list[Compared]) -> tuple[str, ...]:
    """How much of a dense run each strategy took, where all were to come down to one target."""
    from ..sparsity.solve import CLOSE

    asked, by_time = target_of(arguments)
    if asked is None:
        return ()
    told = []
    for one in compared:
        if one.taken.name not in with_targets():
            continue
        used = 1 / one.predicted if by_time and one.predicted else one.taken.flop_share
        missed = abs(used - asked) > CLOSE
        more = f" ({abs(100 * (used - asked)):.0f} points {'less' if used < asked else 'more'})"
        told.append(f"{one.taken.name} {used:.1%}{more if missed else ''}")
    of = "a dense run's predicted time" if by_time else "a dense run's FLOPs"
    return (f"asked for {asked:.1%} of {of}, used: {', '.join(told)}",)
