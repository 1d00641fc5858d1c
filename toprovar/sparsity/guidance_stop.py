"""Guidance ends in the run, where the two guidance rows have come to agree.

The idea is LD-Pruning's (arXiv 2606.00310): prompts differ in how soon the conditional and the
unconditional row converge. How it measures that is not public, so the measure here is our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .plan_state import PlanState, RunContext

if TYPE_CHECKING:
    from .cost import CostModel
    from .plan import SparsityPlan


@dataclass(frozen=True)
class GuidanceStop:
    """Runs a plan with guidance until it hardly matters any more; one image at a time.

    Attributes:
        plan: with guidance at every scale that may have it.
        below: mean difference of the rows' probabilities of a bit, 0 to 1, below which all later
            scales run without guidance.
        cost_model: for the report's prediction.
    """

    plan: SparsityPlan
    below: float
    cost_model: CostModel | None = None
    adaptive: bool = True

    @property
    def name(self) -> str:
        return self.plan.strategy

    def start(self, context: RunContext) -> PlanState:
        return GuidanceState(self, context)


class GuidanceState(PlanState):
    """One image's run.

    Attributes:
        distances: by scale, what was measured.
    """

    def __init__(self, planner: GuidanceStop, context: RunContext) -> None:
        super().__init__(planner.plan)
        self._planner, self._context = planner, context
        self.distances: dict[int, float] = {}
        self._stopped = False

    def horizon(self, scale: int) -> int:
        return len(self.plan.scales) - 1 if self._stopped else scale

    def wants_guidance(self, scale: int) -> bool:
        return not self._stopped and scale < self.plan.compiled.last_run

    def guidance(self, scale: int, distance: float) -> None:
        self.distances[scale] = distance
        if distance >= self._planner.below:
            return
        from .cost import predict

        self._stopped = True
        scales = tuple(step.model_copy(update={"unconditional": False}) if s > scale else step
                       for s, step in enumerate(self.plan.scales))
        note = (f"after scale {scale} the rows' probabilities of a bit differed by {distance:.4f}: "
                "later scales run without guidance")
        plan = self.plan.model_copy(update={
            "scales": scales, "notes": (*self.plan.notes, note),
            "parameters": self.plan.parameters | {"guidance_stopped_after": scale}})
        self.plan = predict(plan, self._context.shape, self._planner.cost_model,
                            self._context.guided)
