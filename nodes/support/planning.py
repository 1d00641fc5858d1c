"""The planner's inputs to a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .infinity import Infinity, PlanChoice, working_bytes
from .plan_edits import apply_edits

if TYPE_CHECKING:
    from ...toprovar.schedules import ScaleSchedule
    from .traces import Traced

STRATEGIES = ["toprovar", "fastvar", "skipvar", "dense"]
MANUAL, SPEEDUP, BUDGET = "manual", "speed-up", "compute budget"
CALIBRATED = "by calibration"
IN_RUN, BEFORE = "in the run", "before the run"
ADAPTIVE, SKIP, UNGUIDED = "adaptive", "skip last scales", "last scales without guidance"


def make_choice(model: Infinity, schedule: ScaleSchedule, strategy: str, target: str,
                speedup: float, budget: float, guided: bool, settings: dict[str, Any],
                planned: str, drop: str, policy: str, scales: int, traced: Traced | None
                ) -> PlanChoice:
    """A plan by the engine's strategies.

    Args:
        settings: of ToProVAR, by the engine's names.
    """
    from pydantic import ValidationError

    from ...toprovar.planning import make_plan
    from ...toprovar.sparsity.strategies.toprovar import ToProVarSettings

    more: dict[str, Any] = {}
    if strategy == "toprovar":
        try:
            more["settings"] = ToProVarSettings(**settings)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        more["planned"] = "run" if planned == IN_RUN else "before"
        if traced is not None and planned == BEFORE:
            more["calibration"] = traced.calibration(model, schedule)
    elif strategy == "fastvar" and target == MANUAL:
        more["drop"] = parse_drop(drop)
    elif strategy == "skipvar" and policy != ADAPTIVE and target == MANUAL:
        more["skip" if policy == SKIP else "uncond"] = scales
    if strategy != "dense" and target == SPEEDUP:
        more["speedup"] = speedup
        model.wake(working_bytes(model, schedule, 2, None))  # blocks are timed on their device
    elif strategy != "dense" and target == BUDGET:
        more["budget"] = budget
    plan = make_plan(model.pipeline, strategy, schedule, guided=guided, **more)
    return PlanChoice(plan, schedule)


def edited(choice: PlanChoice, edits: str, model: Infinity, guided: bool) -> PlanChoice:
    """With the edits of the planner's grid, and the cost predicted anew."""
    from ...toprovar.sparsity.cost import predict

    if not edits.strip():
        return choice
    if choice.fixed is None:
        raise ValueError("this strategy plans inside the run, so there is nothing to edit yet: "
                         f"set planned to {BEFORE!r}, choose a fixed policy, or clear the edits")
    plan = apply_edits(choice.fixed, edits)
    return PlanChoice(predict(plan, model.pipeline.transformer.shape, guided=guided),
                      choice.schedule)


def parse_drop(text: str) -> list[float]:
    """ "0.4, 0.5, 1, 1" -> numbers.

    Raises:
        ValueError: it looks otherwise.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(not 0 <= share <= 1 for share in found):
        raise ValueError("fastvar_drop must be shares between 0 and 1 with commas between them, "
                         f"such as 0.4, 0.5, 1, 1, got {text!r}")
    return found


def told(choice: PlanChoice) -> dict[str, Any]:
    """The plan for the node's widget."""
    from ...toprovar.sparsity.plan_file import plan_to_json

    if choice.fixed is None:
        return {"strategy": getattr(choice.plan, "name", ""), "in_the_run": True,
                "scales": [{"grid": list(g)} for g in choice.schedule.grids]}
    return plan_to_json(choice.fixed)


def prices(model: Infinity, guided: bool) -> dict[str, float]:
    """FLOPs by which the node's widget counts an edited plan: of a token in a block ("token"), of
    a key that it attends to ("key"), of a token in the head ("head"); "text" keys are always
    there. As in ``WorkTable.flops``."""
    from ...toprovar.sparsity.cost import TEXT_TOKENS

    shape = model.pipeline.transformer.shape
    return {
        "token": 2 * shape.width * (6 * shape.width + 2 * shape.mlp_hidden),
        "key": 4 * shape.width, "head": 4 * shape.width * shape.bits_per_token,
        "text": TEXT_TOKENS, "rows": 2 if guided else 1,
    }


def described(choice: PlanChoice) -> str:
    """The plan in words."""
    from ...toprovar.sparsity.plan_table import plan_table

    if choice.fixed is None:
        return (f"{getattr(choice.plan, 'name', 'this strategy')} plans each picture inside its "
                "run; the sampler's report says what it decided")
    return plan_table(choice.fixed)
