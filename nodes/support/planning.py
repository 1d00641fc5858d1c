"""The planner's inputs to a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .infinity import Infinity, PlanChoice
from .strategy_inputs import settings_from

if TYPE_CHECKING:
    from ...toprovar.schedules import ScaleSchedule
    from .traces import Traced

MANUAL, SPEEDUP, BUDGET = TARGETS = ["manual", "speed-up", "compute budget"]


def make_choice(model: Infinity, schedule: ScaleSchedule, strategy: str, target: str,
                speedup: float, budget: float, guided: bool, values: dict[str, Any],
                traced: Traced | None) -> PlanChoice:
    """A plan by the engine's strategies.

    Args:
        values: the node's inputs for settings, of all strategies.
        traced: what calibrates the plan, where a strategy wants it.
    """
    from ...toprovar.planning import make_plan
    from ...toprovar.sparsity.strategies.registry import get_strategy

    method = get_strategy(strategy)
    target = target if method.targets else MANUAL
    more: dict[str, Any] = {"settings": settings_from(strategy, values, target != MANUAL)}
    if traced is not None and method.wants_trace(more["settings"]):
        more["calibration"] = traced.calibration(model, schedule)
    if target == SPEEDUP:
        more["speedup"] = speedup
        model.place(schedule, 1, guided)  # blocks are timed on their device
    elif target == BUDGET:
        more["budget"] = budget
    return PlanChoice(make_plan(model.pipeline, strategy, schedule, guided=guided, **more),
                      schedule)


def wants_trace(strategy: str, target: str, values: dict[str, Any]) -> bool:
    """Whether a trace would decide something in the plan that inputs ask for."""
    from ...toprovar.sparsity.strategies.registry import get_strategy

    return get_strategy(strategy).wants_trace(
        settings_from(strategy, values, target != MANUAL))


def edited(choice: PlanChoice, edits: str, model: Infinity, guided: bool) -> PlanChoice:
    """With the edits of the planner's grid, and the cost predicted anew."""
    from ...toprovar.plan_edits import apply_edits
    from ...toprovar.sparsity.cost import predict

    if not edits.strip():
        return choice
    if choice.fixed is None:
        raise ValueError("this strategy plans inside the run, so there is nothing to edit yet: "
                         "have it planned before the run, choose a fixed policy, or clear the "
                         "edits")
    plan = apply_edits(choice.fixed, edits)
    return PlanChoice(predict(plan, model.pipeline.transformer.shape, guided=guided),
                      choice.schedule)


def told(choice: PlanChoice) -> dict[str, Any]:
    """The plan for the node's widget."""
    from ...toprovar.sparsity.plan_file import plan_to_json

    if choice.fixed is None:
        return {"strategy": getattr(choice.plan, "name", ""), "in_the_run": True,
                "scales": [{"grid": list(g)} for g in choice.schedule.grids]}
    return plan_to_json(choice.fixed)


def counted(model: Infinity, guided: bool) -> dict[str, Any]:
    """What the node's widget has an edited plan counted by."""
    from ...toprovar.edited_cost import counted_for

    return counted_for(model.pipeline.transformer.shape, guided)


def described(choice: PlanChoice) -> str:
    """The plan in words."""
    from ...toprovar.sparsity.plan_table import plan_table

    if choice.fixed is None:
        return (f"{getattr(choice.plan, 'name', 'this strategy')} plans each picture inside its "
                "run; the sampler's report says what it decided")
    return plan_table(choice.fixed)
