"""The automatic choice: the model's accelerated plan where it pays, dense where it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ....entropy.calibration import Calibration
from ...cost import CostModel, Target, predict
from ...plan import SparsityPlan, dense_plan
from ...planner import PlanState, RunContext
from .before import toprovar_plan
from .settings import ToProVarSettings


@dataclass(frozen=True)
class Auto:
    """ToProVAR by the model's calibration, or by the prior; one plan for all prompts.

    It runs dense, and says so in a note, where so little is to be saved that nothing can be gained
    (small sizes of small models, above all on a GPU), or where earlier runs on this device were
    slower than dense ones (``times``).

    Attributes:
        calibration: of the model, None = the prior; target: what runs are to come down to.
        cost_model: for the report.
    """

    calibration: Calibration | None = None
    target: Target | None = None
    cost_model: CostModel | None = None
    name: str = "auto"
    adaptive: bool = False
    _made: dict[Any, SparsityPlan] = field(default_factory=dict, compare=False, repr=False)

    def start(self, context: RunContext) -> PlanState:
        plan = self.plan(context)
        reason = self._why_dense(plan, context)
        if reason is None:
            return PlanState(plan)
        return PlanState(dense_plan(context.shape, context.schedule, "auto", (reason,)))

    def plan(self, context: RunContext) -> SparsityPlan:
        """The accelerated plan, whether it pays or not."""
        key = context.shape, context.schedule, context.guided
        if key not in self._made:
            settings = ToProVarSettings()
            if self.calibration is not None and self.calibration.dropped != "exit":
                settings = ToProVarSettings(dropped=self.calibration.dropped)
            plan = toprovar_plan(context.shape, context.schedule, settings, self.calibration,
                                 self.target, context.guided)
            self._made[key] = predict(plan, context.shape, self.cost_model, context.guided)
        return self._made[key]

    def _why_dense(self, plan: SparsityPlan, context: RunContext) -> str | None:
        cost = plan.predicted
        assert cost is not None
        dense = context.batch * cost.flops / cost.flop_share
        saved = dense * (1 - cost.flop_share)
        if saved < context.least_saving:
            return (f"dense: only {saved / 1e9:.2g} of {dense / 1e9:.2g} GFLOPs could be saved at "
                    "this size, too little to be faster on this device")
        found = context.slower(plan) if context.slower is not None else None
        if found is None:
            return None
        return (f"dense: the accelerated plan took {found[0]:.3g} s here, dense {found[1]:.3g} s")
