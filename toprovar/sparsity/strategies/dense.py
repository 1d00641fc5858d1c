"""The dense run: nothing is left out."""

from __future__ import annotations

from typing import ClassVar

from ..plan import SparsityPlan, dense_plan
from .base import PlanContext, Settings, Strategy


class Dense(Strategy[Settings]):
    """Every token in every layer at every scale."""

    name: ClassVar[str] = "dense"
    summary: ClassVar[str] = "leaves nothing out"
    rank: ClassVar[int] = 0
    targets: ClassVar[bool] = False

    def plan(self, settings: Settings, context: PlanContext) -> SparsityPlan:
        if context.target is not None:
            raise ValueError("a dense run has no budget: choose another strategy")
        return context.priced(dense_plan(context.shape, context.schedule))


STRATEGIES = (Dense(),)
