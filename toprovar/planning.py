"""Strategies by name, for a pipeline at hand: what the command line and the nodes call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from .entropy.calibration import Calibration, find_calibration
from .models.config import TransformerConfig
from .models.fingerprint import model_fingerprint
from .schedules import ScaleSchedule
from .sparsity.cost import CostModel, Target, predict
from .sparsity.director import Director
from .sparsity.plan import SparsityPlan, dense_plan
from .sparsity.solve import CLOSE
from .sparsity.strategies.auto import Auto
from .sparsity.strategies.fastvar import OFFICIAL_DROP, fastvar_for, fastvar_plan
from .sparsity.strategies.skipvar import SkipVar, skipvar_plan
from .sparsity.strategies.skipvar_decision import DecisionModel, DecisionModels, find_decisions
from .sparsity.strategies.skipvar_features import vae_decoder
from .sparsity.strategies.toprovar import ToProVarSettings
from .sparsity.strategies.toprovar_run import ToProVar
from .sparsity.strategies.toprovar_static import toprovar_plan

if TYPE_CHECKING:
    from .pipeline import InfinityPipeline

Strategy = Literal["dense", "toprovar", "fastvar", "skipvar"]
STRATEGIES: tuple[Strategy, ...] = ("dense", "toprovar", "fastvar", "skipvar")
AUTO = "auto"
"""Not a strategy but the choice whether to use one: see ``sparsity.strategies.auto``."""
UNDECIDED = (
    "SkipVAR decides by a model fitted to the transformer, and none is at hand for these weights: "
    "its fixed policy without the last scale is used; fit one with 'toprovar fit-skipvar', or "
    "choose skip or uncond"
)
WHY_BELOW = {"skipvar": "SkipVAR has seven fixed policies, and none lies nearer"}
Planned = Literal["run", "before"]


def make_plan(
    pipeline: InfinityPipeline, strategy: str, schedule: ScaleSchedule, *,
    speedup: float | None = None, budget: float | None = None, planned: Planned = "run",
    settings: ToProVarSettings | None = None, calibration: Calibration | None = None,
    decisions: DecisionModel | DecisionModels | None = None,
    drop: Sequence[float] | None = None, skip: int | None = None, uncond: int | None = None,
    cost_model: CostModel | None = None, guided: bool = True,
) -> SparsityPlan | Director:
    """A plan, or a strategy that plans inside the run.

    Args:
        strategy: "dense", "toprovar", "fastvar" or "skipvar"; or "auto": ToProVAR where it pays,
            else dense, decided for each run.
        speedup: of the scale loop, by a cost model of this device (measured if none is given).
        budget: share of a dense run's FLOPs instead.
        planned: toprovar only: "run" = for each prompt, inside its run, where what dropped tokens
            get (``settings.dropped``) leaves something to decide there; "before" = one plan for all
            prompts. Without a calibration both take the family's prior (``sparsity.prior``), unless
            ``settings`` say otherwise.
        settings: toprovar's.
        calibration, decisions: None = those in the box for these weights.
        drop: fastvar's share of tokens dropped on the last scales; None = the official one.
        skip, uncond: skipvar's fixed policies (scales not run, scales without guidance's second
            row); None for both = its adaptive decision, or where there is none for these weights,
            one scale not run, with a note.

    Raises:
        ValueError: settings that exclude each other, or something that is missing.
    """
    if speedup is not None and budget is not None:
        raise ValueError("give either a speed-up or a budget, not both")
    if (speedup or budget) and not (drop is None and skip is None and uncond is None):
        raise ValueError("a speed-up or budget decides drop, skip and uncond: give the one or the "
                         "others")
    shape = pipeline.transformer.shape
    if calibration is not None and calibration.depth != shape.depth:
        raise ValueError(f"the calibration is of a model of {calibration.depth} layers, this one "
                         f"has {shape.depth}")
    target = None
    if speedup is not None:
        if cost_model is None:
            from .device_cost import cost_model_for

            cost_model = cost_model_for(pipeline.transformer, schedule)
        target = Target.speedup(speedup, cost_model)
    elif budget is not None:
        target = Target(budget)

    def done(plan: SparsityPlan) -> SparsityPlan:
        return predict(plan, shape, cost_model, guided)

    match strategy:
        case "auto":
            found = calibration or find_calibration(model_fingerprint(pipeline.transformer))
            # Kept: without a planner a sampler asks anew for every picture.
            return pipeline.automatic.setdefault(
                (id(found), target), Auto(found, target, cost_model))
        case "dense":
            if target is not None:
                raise ValueError("a dense run has no budget: choose another strategy")
            return done(dense_plan(shape, schedule))
        case "toprovar":
            settings = settings or ToProVarSettings()
            calibration = calibration or find_calibration(model_fingerprint(pipeline.transformer))
            in_run = ToProVar(settings, calibration, target, cost_model)
            if planned == "run" and in_run.adaptive:
                return in_run
            plan = toprovar_plan(shape, schedule, settings, calibration, target, guided)
            return done(plan if target is None else _told(plan, shape, target, guided))
        case "fastvar":
            if target is None:
                return done(fastvar_plan(shape, schedule, OFFICIAL_DROP if drop is None else drop))
            plan, _ = fastvar_for(shape, schedule, lambda p: target.cost(p, shape, guided),
                                  target.share)
            return done(_told(plan, shape, target, guided))
        case "skipvar":
            if skip is None and uncond is None and target is None:
                found = decisions or find_decisions(model_fingerprint(pipeline.transformer))
                if found is None:
                    return done(_undecided(shape, schedule))
                return SkipVar(found, vae_decoder(pipeline.vae), cost_model=cost_model)
            if target is None:
                return done(skipvar_plan(shape, schedule, skip or 0, uncond or 0))
            plan = _mildest_skip(pipeline, schedule, target, guided)
            return done(_told(plan, shape, target, guided))
    raise ValueError(f"unknown strategy {strategy!r}; expected one of "
                     f"{', '.join(STRATEGIES)}, {AUTO}")


def _mildest_skip(pipeline: InfinityPipeline, schedule: ScaleSchedule, target: Target,
                  guided: bool) -> SparsityPlan:
    """SkipVAR's dearest fixed policy that meets the target, else its cheapest."""
    shape = pipeline.transformer.shape
    policies = [(skip, uncond) for skip in range(4) for uncond in range(4)
                if not (skip and uncond)]
    plans = [skipvar_plan(shape, schedule, skip, uncond) for skip, uncond in policies]
    costs = [target.cost(plan, shape, guided) for plan in plans]
    fitting = [i for i, cost in enumerate(costs) if cost <= target.share]
    if not fitting:
        return plans[costs.index(min(costs))]
    return plans[max(fitting, key=lambda i: costs[i])]


def _told(plan: SparsityPlan, shape: TransformerConfig, target: Target, guided: bool
          ) -> SparsityPlan:
    """With a note where it does not come near the target."""
    cost = target.cost(plan, shape, guided)
    if target.share - CLOSE <= cost <= target.share:
        return plan
    if cost > target.share and plan.strategy == "toprovar":  # says so itself
        return plan
    of = "a dense run's FLOPs" if target.model is None else "a dense run's predicted time"
    note = f"comes to {cost:.1%} of {of}, "
    if cost > target.share:
        note += f"the target of {target.share:.1%} is out of this strategy's reach"
    else:
        note += f"{100 * (target.share - cost):.0f} points below the target: "
        note += WHY_BELOW.get(plan.strategy, "its plans come in steps")
    return plan.model_copy(update={"notes": (*plan.notes, note)})


def _undecided(shape: TransformerConfig, schedule: ScaleSchedule) -> SparsityPlan:
    """What SkipVAR does for a model that no decision model was fitted to."""
    plan = skipvar_plan(shape, schedule, skip=1)
    return plan.model_copy(update={"notes": (*plan.notes, UNDECIDED)})
