"""Strategies by name, for a pipeline at hand: what the command line and the nodes call."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .models.fingerprint import model_fingerprint
from .schedules import ScaleSchedule
from .sparsity.cost import CostModel, Target
from .sparsity.planner import Planner
from .sparsity.strategies.base import PlanContext, Resource, Settings, Strategy
from .sparsity.strategies.options import options_of, settings_of
from .sparsity.strategies.registry import AUTO, check_strategy, get_strategy

if TYPE_CHECKING:
    from .pipeline import InfinityPipeline

__all__ = ["AUTO", "make_plan"]

logger = logging.getLogger(__name__)


def make_plan(
    pipeline: InfinityPipeline, strategy: str | Strategy[Any], schedule: ScaleSchedule, *,
    speedup: float | None = None, budget: float | None = None, settings: Settings | None = None,
    cost_model: CostModel | None = None, guided: bool = True, **options: Any,
) -> Planner:
    """Make a plan for a pipeline and a size, by the name of a strategy.

    Args:
        pipeline: the model that is planned for.
        strategy: the name of a strategy, such as "dense", "toprovar" or "fastvar" (``toprovar plan
            make --help`` lists all); or a ``Strategy`` of your own. "auto" = accelerated where that
            is faster on this device, else dense; this is decided for each run.
        schedule: the size that is planned for.
        speedup: how many times as fast as a dense run the scale loop is to be, 1 or more, by a cost
            model of this device.
        budget: in place of ``speedup``: the share of a dense run's FLOPs to be spent, above 0 and
            up to 1.
        settings: the settings of the strategy, such as ``ToProVarSettings``. None = its defaults.
        cost_model: the cost model of the device. None = measured where ``speedup`` needs it, and
            kept for later.
        guided: whether the run has guidance.
        options: single settings by name, which go before ``settings``; and what the strategy
            reads, such as ``calibration``: an object or its file. None = what is known for these
            weights.

    Returns:
        A ``SparsityPlan``, or a planner that makes plans inside the run, one image after the other.
        Both are accepted as ``plan`` of a call.

    Raises:
        ValueError: the strategy or an option is unknown, settings exclude each other, or something
            that the strategy needs is missing.
    """
    if speedup is not None and budget is not None:
        raise ValueError("give either a speed-up or a budget, not both")
    method: Strategy[Any] = _checked(strategy)
    options = {name: value for name, value in options.items() if value is not None}
    given = {r.name: _held(r, options.pop(r.name), pipeline)
             for r in method.resources if r.name in options}
    target = None
    if speedup is not None or budget is not None:
        _check_undecided(method, options)
        target = _target(pipeline, schedule, method, speedup, budget, cost_model)
        if target.model is not None:
            cost_model = target.model
    context = PlanContext(
        pipeline.transformer.shape, schedule, guided, target, cost_model, given,
        lambda: model_fingerprint(pipeline.transformer), pipeline.vae, pipeline.automatic)
    return method.plan(_settings(method, settings, options), context)


def _checked(strategy: str | Strategy[Any]) -> Strategy[Any]:
    if isinstance(strategy, str):
        return get_strategy(strategy)
    check_strategy(strategy)
    return strategy


def _held(resource: Resource, given: Any, pipeline: InfinityPipeline) -> Any:
    """What a resource holds, read from its file where that was given."""
    if not isinstance(given, (str, Path)):
        return given
    found = resource.load(str(given))
    if resource.adopt is not None:
        for note in resource.adopt(str(given), found, pipeline.transformer.shape.depth,
                                   model_fingerprint(pipeline.transformer)):
            logger.warning("%s", note)
    return found


def _target(pipeline: InfinityPipeline, schedule: ScaleSchedule, method: Strategy[Any],
            speedup: float | None, budget: float | None, cost_model: CostModel | None) -> Target:
    if not method.targets:
        raise ValueError(f"a {method.name} run has no budget: choose another strategy")
    if speedup is None:
        assert budget is not None
        return Target(budget)
    if cost_model is None:
        from .device_cost import cost_model_for

        cost_model = cost_model_for(pipeline.transformer, schedule)
    return Target.speedup(speedup, cost_model)


def _settings(method: Strategy[Any], settings: Settings | None, options: dict[str, Any]
              ) -> Settings:
    if settings is not None and not isinstance(settings, method.settings):
        raise ValueError(f"settings of {method.name} must be {method.settings.__name__}, got "
                         f"{type(settings).__name__}")
    known = {o.name for o in options_of(method)} | {s.name for s in method.shorthands}
    if unknown := sorted(set(options) - known):
        raise ValueError(f"{method.name} has no option {unknown[0]!r}; it has "
                         f"{', '.join(sorted(known)) or 'none'}")
    if not options:
        return settings or method.settings()
    own = {} if settings is None else {
        name: getattr(settings, name) for name in settings.model_fields_set}
    return settings_of(method, own | options)


def _check_undecided(method: Strategy[Any], options: dict[str, Any]) -> None:
    decided = [o.name for o in options_of(method) if o.option.decided]
    decided += [s.name for s in method.shorthands if s.decided]
    if both := [name for name in decided if name in options]:
        raise ValueError(f"a speed-up or budget decides {' and '.join(both)}: give the one or the "
                         "other")
