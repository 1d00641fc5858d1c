"""What ``benchmarks.quality`` compares: methods at several budgets, controls and ablations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from toprovar.entropy.calibration import Calibration, find_calibration
from toprovar.models.config import TransformerConfig
from toprovar.models.fingerprint import model_fingerprint
from toprovar.pipeline import InfinityPipeline
from toprovar.planning import make_plan
from toprovar.schedules import ScaleSchedule
from toprovar.sparsity.cost import Target, predict
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.planner import Planner
from toprovar.sparsity.strategies.registry import default_strategy, with_targets
from toprovar.sparsity.strategies.scalekv import scalekv_plan
from toprovar.sparsity.strategies.skipvar.policies import skipvar_plan
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings
from toprovar.sparsity.strategies.window import window_plan

BUDGETS = (0.5, 0.33, 0.28, 0.2, 0.14, 0.1)
"""Shares of a dense run's FLOPs; 0.28 is less than a third of the token-layers at both sizes,
FastVAR's official plan comes to 14 % at 256 px, 19 % at 512."""
MAIN = 0.33
"""Where the ablations stand."""


WINDOWS = (1, 2, 4)
"""Radii of the windows of the last three scales."""
SHARES = (0.05, 0.1, 0.25)
"""Of the keys that bounded caches hold."""


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        budget: what the plan was made for, None = its own.
        plan: None = dense.
        group: "method", "control" or "ablation".
    """

    name: str
    budget: float | None
    plan: Planner | None
    group: str = "method"

    @property
    def key(self) -> str:
        return self.name if self.budget is None else f"{self.name} @ {self.budget:g}"

    @property
    def adaptive(self) -> bool:
        """Whether every picture is planned by itself, and so drawn alone."""
        return self.plan is not None and self.plan.adaptive


def entries(pipeline: InfinityPipeline, schedule: ScaleSchedule,
            budgets: tuple[float, ...] = BUDGETS) -> list[Entry]:
    """All rows, the most telling first. What a method cannot reach is left out, and so is the same
    plan for a smaller budget, and controls of a plan that chooses no tokens: without shortcuts
    more plans do."""
    shape = pipeline.transformer.shape
    calibration = find_calibration(model_fingerprint(pipeline.transformer))

    def own(budget: float | None, given: Calibration | None = calibration, **knobs: object
            ) -> SparsityPlan:
        settings = ToProVarSettings.model_validate(knobs)
        target = None if budget is None else Target(budget)
        return predict(toprovar_plan(shape, schedule, settings, given, target), shape)

    found = [Entry(f"{name}, official", None, make_plan(pipeline, name, schedule))
             for name in ("fastvar", "fastervar")]
    found += [Entry(name, None, make_plan(pipeline, name, schedule))
              for name in ("stop", "ldpruning")]
    sinks = len(schedule) // 2
    found += [Entry(f"window, radius {radius}", None,
                    predict(window_plan(shape, schedule, radius, 3, sinks, 1.0), shape))
              for radius in WINDOWS]
    found += [Entry(f"scalekv, {share:.0%} of the keys", None,
                    predict(scalekv_plan(shape, schedule, share), shape)) for share in SHARES]
    found += [Entry("skipvar, 3 unguided", None,
                    predict(skipvar_plan(shape, schedule, 0, 3), shape))]
    for budget in budgets:
        plan, bare = own(budget), own(budget, shortcuts=False)
        found.append(Entry("toprovar", budget, plan))
        found += [Entry(name, budget, plan) for name, plan in _others(pipeline, schedule, budget)
                  if not any(isinstance(e.plan, SparsityPlan) and e.plan.scales == plan.scales
                             for e in found)]
        found.append(Entry("toprovar, no shortcuts", budget, bare, "ablation"))
        for name, base, shortcuts in (("toprovar", plan, True),
                                      ("toprovar, no shortcuts", bare, False)):
            if any(step.partial(step.shortcut) for step in base.scales):
                found += [Entry(f"{name}, {rule}", budget,
                                own(budget, rule=rule, shortcuts=shortcuts), "control")
                          for rule in ("random", "entropy_reversed", "change")]
    found += [Entry(name, MAIN, plan, "ablation") for name, plan in {
        "toprovar, no shortcuts, variance": own(MAIN, shortcuts=False, rule="variance"),
        "dropped identity": own(MAIN, dropped="identity"),
        "dropped cached": own(MAIN, dropped="cached"),
        "dropped exit, no choices": own(MAIN, unconditional_off=1),
        "exit, three scales unguided": own(MAIN, unconditional_off=3),
        "cached, unconditional dropped late": own(MAIN, dropped="cached", unconditional_off=3),
        "scale + token (layers alike), cached": own(
            MAIN, dropped="cached", dimensions="scale+token"),
        "scale + layer (random tokens), cached": own(
            MAIN, dropped="cached", dimensions="scale+layer"),
        "normalization sum, cached": own(MAIN, dropped="cached", normalization="sum"),
        "fixed exit": _fixed_exit(shape, schedule, MAIN),
    }.items()]
    found += [Entry(name, None, ToProVar(settings, None), "ablation") for name, settings in {
        f"as published, {crossing}": ToProVarSettings(dropped="identity", crossing=crossing)
        for crossing in ("rising", "falling")
    }.items()]
    found += [Entry(f"scale only, {crossing}", None, ToProVar(ToProVarSettings(
        dropped="identity", dimensions="scale", crossing=crossing), None), "ablation")
        for crossing in ("rising", "falling")]
    return [*found, Entry("skipvar, its decisions", None,
                          make_plan(pipeline, "skipvar", schedule))]


def _others(pipeline: InfinityPipeline, schedule: ScaleSchedule, budget: float
            ) -> Iterator[tuple[str, SparsityPlan]]:
    for name in with_targets():
        if name == default_strategy():
            continue
        plan = make_plan(pipeline, name, schedule, budget=budget)
        assert isinstance(plan, SparsityPlan) and plan.predicted is not None
        if plan.predicted.flop_share <= budget:
            yield name, plan


def _fixed_exit(shape: TransformerConfig, schedule: ScaleSchedule, budget: float) -> SparsityPlan:
    """The most scales in full that the budget pays, and none after."""
    for first in range(len(schedule) - 1, 0, -1):
        plan = predict(toprovar_plan(shape, schedule, ToProVarSettings(
            dimensions="fixed_exit", start_scale=first)), shape)
        assert plan.predicted is not None
        if plan.predicted.flop_share <= budget:
            return plan
    raise ValueError(f"no exit comes down to {budget:g} of the work")
