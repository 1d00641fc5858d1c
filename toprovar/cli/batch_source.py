"""What ``toprovar batch`` draws with: the model and plans of its options, as ``generate`` would."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch.jobs import Job
from ..batch.source import Planned, weights_digest
from ..bundled import bundled_model
from .comfyui import comfyui_prompt
from .model_options import engine_options, find_size, load_pipeline, names_size
from .plan_options import is_guided, plan_request, saved_plan
from .running import plan_of, priced
from .strategy_options import given, given_told

if TYPE_CHECKING:
    from ..pipeline import InfinityPipeline
    from ..sampling.params import EngineOptions
    from ..sampling.report import RunReport
    from ..schedules import ScaleSchedule


class CommandSource:
    """By the command's options; a row's own settings stand in place of them.

    Args:
        arguments: parsed and checked.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments

    def load(self) -> InfinityPipeline:
        pipeline = load_pipeline(self.arguments)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def options(self) -> EngineOptions:
        return engine_options(self.arguments)

    def schedule(self, job: Job, pipeline: InfinityPipeline) -> ScaleSchedule:
        from ..schedules import find_schedule, schedule_for_size

        if job.size is not None:
            return schedule_for_size(job.size[1], job.size[0])
        saved = saved_plan(job.plan)
        if saved is None or names_size(self.arguments):
            return find_size(self.arguments, pipeline.config["default_pn"])
        return find_schedule([step.grid for step in saved.scales])

    def plan(self, job: Job, pipeline: InfinityPipeline, schedule: ScaleSchedule) -> Planned:
        if job.plan is None:
            return Planned()
        own = argparse.Namespace(**{**vars(self.arguments), "plan": job.plan, "cfg": job.cfg})
        plan, costs = plan_of(own, pipeline, schedule, saved_plan(job.plan))
        guided = is_guided(own, pipeline)

        def finished(report: RunReport) -> RunReport:
            return priced(report, costs, pipeline.transformer.shape, guided)

        return Planned(plan, job.plan, plan_request(own), finished)

    def graph(self, parameters: dict[str, Any]) -> dict[str, Any] | None:
        return comfyui_prompt(parameters, self.arguments.model or self.arguments.transformer)

    def told(self) -> dict[str, Any]:
        own = self.arguments
        parts = [own.transformer, own.vae, own.text_encoder] if own.transformer else \
            [own.model or bundled_model()]
        keep = ("dtype", "attention", "fp8", "fp8_cache", "narrow_residual", "speedup", "budget",
                "aspect", "pixels")
        return {
            "model": Path(own.model or own.transformer or "embedded").name,
            "weights": weights_digest(*parts),
            **{name: getattr(own, name) for name in keep}, "strategies": _strategies(own),
        }


def _strategies(arguments: argparse.Namespace) -> dict[str, Any]:
    """Options of strategies that were given, and hashes of the files among them."""
    from ..sparsity.strategies.registry import all_strategies

    found: dict[str, Any] = {}
    for name in all_strategies():
        if not given(arguments, name):
            continue
        found[name] = given_told(arguments, name)
        for value in given(arguments, name).values():
            if isinstance(value, str) and Path(value).is_file():
                content = Path(value).read_bytes()
                found[name][Path(value).name] = hashlib.sha256(content).hexdigest()[:16]
    return found
