"""Times of ``benchmarks.quality``: each plan in turn with dense, the scale loop alone."""

from __future__ import annotations

import time
from statistics import median

import torch

from benchmarks.machine import synchronise
from benchmarks.quality_plans import Entry
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.planner import Planner

PROMPT = "a dog to the left of a car"


def measure_times(pipeline: InfinityPipeline, pn: str, rows: list[Entry], rounds: int = 5
                  ) -> dict[str, float]:
    """Dense time over the plan's, for one picture: the median of neighbouring pairs."""
    text = pipeline.encode_prompt(PROMPT).to(pipeline.device)
    params = SamplingParams(get_schedule("1.0", pn), pipeline.config["default_cfg"],
                            pipeline.config["default_tau"])

    def seconds(plan: Planner | None) -> float:
        synchronise(pipeline.device)
        started = time.perf_counter()
        for _ in SamplingRun(pipeline.transformer, text, params, plan=plan,
                             generators=torch.Generator().manual_seed(1)):
            pass
        synchronise(pipeline.device)
        return time.perf_counter() - started

    seconds(None)
    found = {}
    for entry in rows:
        seconds(entry.plan)
        found[entry.key] = round(
            median(seconds(None) / seconds(entry.plan) for _ in range(rounds)), 3)
    return found
