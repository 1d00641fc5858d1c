"""Plans that work inside a region of the picture only, for runs that draw no more than that.

Outside of the region a run is given its bits, so late scales need not compute tokens there: their
keys are absent from later attention. What a plan does inside stays in proportion: a layer that
kept half of a scale's tokens keeps half of the region's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .plan import ScalePlan, SparsityPlan
from .plan_state import PlanState, RunContext
from .planner import Planner, decodes

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 16
"""Counts go up in so many steps to a whole scale, so that few of them are recorded."""


REGION = "region_tokens"
"""Among a plan's parameters: tokens of its region, by scale."""


def rounded_up(count: int, tokens: int) -> int:
    """The next count of the ladder, at most all ``tokens``."""
    step = max(1, tokens // STEPS)
    return min(tokens, math.ceil(count / step) * step)


def restricted_plan(plan: SparsityPlan, counts: Mapping[int, int]) -> SparsityPlan:
    """``plan`` with no more than so many tokens at these scales.

    Scales that work on all tokens let the others leave ("exit"). A scale that works on mixtures of
    all tokens stays as it is, unless the region alone is less work at all of them. Windows of
    attention end where a cache does not hold whole scales any more.

    Args:
        counts: tokens of the region, by scale.

    Returns:
        the plan itself where nothing changes.

    Raises:
        ValueError: the plan is restricted already.
    """
    if REGION in plan.parameters:
        raise ValueError("the plan was made for the region of another edit: give the plan that it "
                         "came from, or a strategy")
    few = {s: n for s, n in counts.items()
           if s < len(plan.scales) and plan.scales[s].run and n < plan.scales[s].tokens}
    mixed = [s for s in few if plan.scales[s].special]
    every = [s for s, step in enumerate(plan.scales) if step.run and step.special]
    own = sum(few[s] * len(plan.scales[s].keep) for s in mixed)
    if mixed != every or own >= sum(sum(plan.scales[s].keep) for s in mixed):
        few = {s: n for s, n in few.items() if s not in mixed}
    if not few:
        return plan
    scales: list[ScalePlan] = []
    scattered = False
    for s, step in enumerate(plan.scales):
        values = step.model_dump(exclude_defaults=True)
        if s in few:
            values |= _restricted(step, few[s])
        if scattered or s in few:
            values.pop("window", None)
        if step.run and (s in few or step.special or step.cache or step.sparse):
            scattered = True
        scales.append(ScalePlan(**values))
    return plan.model_copy(update={
        "scales": tuple(scales), "predicted": None,
        "parameters": {**plan.parameters, REGION: {str(s): n for s, n in few.items()}},
    })


def _restricted(step: ScalePlan, count: int) -> dict[str, Any]:
    """Fields of a scale that works inside a region of ``count`` tokens."""
    inside = {"region": 0, "min_per_region": 0}
    whole = all(n in (0, step.tokens) for n in step.keep)
    if whole or step.special or step.dropped == "shortcut":
        # All of the region, whatever was dropped: predicting others costs as much.
        first = step.shortcut
        if not step.special and 0 in step.keep[first:]:  # layers that are not run at all
            return inside | {"keep": tuple(min(n, count) for n in step.keep)}
        return inside | {
            "keep": (0,) * first + (count,) * (len(step.keep) - first), "special": None,
            "dropped": "exit", "source": None, "per": "block", "rows": "shared", "guide": (),
            "rule": "random"}
    share = count / step.tokens
    return inside | {"keep": tuple(math.ceil(n * share) for n in step.keep)}


@dataclass(frozen=True)
class RestrictedPlanner:
    """A planner whose plans work inside a region only.

    Attributes:
        counts: tokens of the region, by scale.
    """

    planner: Planner
    counts: Mapping[int, int]

    @property
    def name(self) -> str:
        return self.planner.name

    @property
    def adaptive(self) -> bool:
        return self.planner.adaptive

    @property
    def decodes(self) -> bool:
        return decodes(self.planner)

    def start(self, context: RunContext) -> PlanState:
        return _RestrictedState(self.planner.start(context), self.counts)


class _RestrictedState(PlanState):
    """Follows another state, and restricts the plan that it holds."""

    def __init__(self, inner: PlanState, counts: Mapping[int, int]) -> None:
        self._inner, self._counts = inner, counts
        self.recurs = inner.recurs
        self._known: tuple[SparsityPlan, SparsityPlan] | None = None

    @property
    def plan(self) -> SparsityPlan:  # type: ignore[override]  # worked out of the other's
        now = self._inner.plan
        if self._known is None or self._known[0] is not now:
            self._known = now, restricted_plan(now, self._counts)
        return self._known[1]

    def horizon(self, scale: int) -> int:
        return self._inner.horizon(scale)

    def wants(self, scale: int, layer: int) -> bool:
        return self._inner.wants(scale, layer)

    def stores(self, scale: int, layer: int) -> bool:
        return self._inner.stores(scale, layer)

    def entropy(self, scale: int, layer: int, grid: tuple[int, int], entropy: Tensor) -> None:
        self._inner.entropy(scale, layer, grid, entropy)

    def wants_guidance(self, scale: int) -> bool:
        return self._inner.wants_guidance(scale)

    def guidance(self, scale: int, distance: float) -> None:
        self._inner.guidance(scale, distance)

    def after(self, scale: int, codes: Tensor) -> None:
        self._inner.after(scale, codes)
