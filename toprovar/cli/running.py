"""What commands that draw have in common: the plan of a run, and a run told as JSON."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..picture_files import numbered
from ..picture_parameters import as_json, parameters_of
from .model_options import engine_options, find_size, names_size
from .plan_options import AUTO, build_plan, device_costs, is_guided

if TYPE_CHECKING:
    from ..models.config import TransformerConfig
    from ..pipeline import InfinityPipeline
    from ..sampling.report import RunReport
    from ..schedules import ScaleSchedule
    from ..sparsity.cost import CostModel
    from ..sparsity.plan import SparsityPlan
    from ..sparsity.planner import Planner

__all__ = ["as_json", "at_once", "parameters_of", "plan_of", "priced", "run_told"]

MOST_AT_ONCE = 8
"""Pictures that a GPU makes in one batch; more are made in several."""


def schedule_of(arguments: argparse.Namespace, saved: SparsityPlan | None, default_pn: str
              ) -> ScaleSchedule:
    """The size that was asked for, else the plan's, else the model's."""
    if saved is None or names_size(arguments):
        return find_size(arguments, default_pn)
    from ..schedules import find_schedule

    return find_schedule([step.grid for step in saved.scales])


def plan_of(arguments: argparse.Namespace, pipeline: InfinityPipeline, schedule: ScaleSchedule,
            saved: SparsityPlan | None) -> tuple[Planner | None, CostModel | None]:
    """The plan, and this device's cost model to hold the run against; None without --plan. The
    automatic choice is not held up by measuring one."""
    if arguments.plan is None:
        return None, None
    if arguments.plan == AUTO and arguments.speedup is None:
        return build_plan(arguments, pipeline, schedule, AUTO, None,
                          is_guided(arguments, pipeline)), None
    if saved is not None:
        saved.check_fits(pipeline.transformer.shape, schedule)  # before anything is measured
    costs = device_costs(pipeline, schedule, engine_options(arguments))
    if saved is not None:
        return saved, costs
    return build_plan(arguments, pipeline, schedule, arguments.plan, costs,
                      is_guided(arguments, pipeline)), costs


def priced(report: RunReport, costs: CostModel | None, shape: TransformerConfig, guided: bool
           ) -> RunReport:
    """With the cost of the plan as it was at the end, in seconds too if there is a model."""
    from ..sparsity.cost import predict

    assert report.used_plan is not None
    return replace(report, used_plan=predict(report.used_plan, shape, costs, guided))


def run_told(report: RunReport, plan: str | None) -> dict[str, Any]:
    """A finished run as JSON, with what its plan was and gained if one was asked for."""
    from .report_table import speedups

    gained = {} if plan is None else {"speedup": speedups(report)}
    return {**as_json(report, plan), **gained}


def at_once(pipeline: InfinityPipeline) -> int:
    """Pictures of one batch. On a CPU it gains nothing, and each is shown as soon as it is done."""
    return 1 if pipeline.transformer.null_text.device.type == "cpu" else MOST_AT_ONCE


def plan_paths(path: Path | None, count: int) -> list[Path]:
    """Where plans may go: one for all pictures, or one for each."""
    return [] if path is None else list(dict.fromkeys([path, *numbered(path, count)]))
