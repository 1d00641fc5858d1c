"""The planner's inputs to a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .dynamic import plain_values
from .infinity import Infinity, PlanChoice
from .strategy_inputs import STRATEGIES, settings_from

if TYPE_CHECKING:
    from ...toprovar.schedules import ScaleSchedule
    from ...toprovar.sparsity.strategies.base import Settings
    from .traces import Traced

MANUAL, SPEEDUP, BUDGET = TARGETS = ["manual", "speed-up", "compute budget"]


DEFAULT_SPEEDUP, DEFAULT_BUDGET = 1.5, 0.6


@dataclass(frozen=True)
class Asked:
    """What the planner's inputs ask for.

    Attributes:
        target: MANUAL where the strategy has no targets.
        settings: the strategy's.
    """

    strategy: str
    target: str
    speedup: float
    budget: float
    settings: Settings

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Asked:
        """From the node's inputs, those of all strategies, in groups or not.

        Raises:
            ValueError: the first fault, by the input's name.
        """
        from ...toprovar.sparsity.strategies.registry import get_strategy

        plain = plain_values(values)
        strategy, target = plain.get("strategy", STRATEGIES[0]), plain.get("target", MANUAL)
        for name, value, known in (("strategy", strategy, STRATEGIES), ("target", target, TARGETS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        target = target if get_strategy(strategy).targets else MANUAL
        speedup, budget = plain.get("speedup", DEFAULT_SPEEDUP), plain.get("budget", DEFAULT_BUDGET)
        if target == SPEEDUP and not speedup >= 1:
            raise ValueError("speedup must be 1 or more (1.5 = one and a half times as fast), got "
                             f"{speedup}")
        if target == BUDGET and not 0 < budget <= 1:
            raise ValueError("budget is a share of a dense run's work, above 0 and up to 1, got "
                             f"{budget}")
        return cls(strategy, target, speedup, budget,
                   settings_from(strategy, plain, target != MANUAL))

    @property
    def wants_trace(self) -> bool:
        """Whether a trace would decide something in the plan."""
        from ...toprovar.sparsity.strategies.registry import get_strategy

        return get_strategy(self.strategy).wants_trace(self.settings)


def make_choice(model: Infinity, schedule: ScaleSchedule, asked: Asked, guided: bool,
                traced: Traced | None) -> PlanChoice:
    """A plan by the engine's strategies.

    Args:
        traced: what calibrates the plan, where a strategy wants it.
    """
    from ...toprovar.planning import make_plan

    more: dict[str, Any] = {"settings": asked.settings}
    if traced is not None and asked.wants_trace:
        more["calibration"] = traced.calibration(model, schedule)
    if asked.target == SPEEDUP:
        more["speedup"] = asked.speedup
        model.place(schedule, 1, guided)  # blocks are timed on their device
    elif asked.target == BUDGET:
        more["budget"] = asked.budget
    return PlanChoice(make_plan(model.pipeline, asked.strategy, schedule, guided=guided, **more),
                      schedule)


def edited(choice: PlanChoice, edits: str, model: Infinity, guided: bool) -> PlanChoice:
    """With the edits of the planner's grid, and the cost predicted anew."""
    from ...toprovar.plan_edits import apply_edits
    from ...toprovar.sparsity.cost import predict

    if not edits.strip():
        return choice
    if choice.fixed is None:
        raise ValueError("this strategy plans inside the run, so there is nothing to edit yet: "
                         "set toprovar_planned to 'before the run', choose a fixed policy, or "
                         "clear the edits")
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
    "The plan in words."
    from ...toprovar.sparsity.plan_table import plan_table

    if choice.fixed is None:
        return (f"{getattr(choice.plan, 'name', 'this strategy')} plans each picture inside its "
                "run; the sampler's report says what it decided")
    return plan_table(choice.fixed)
