"""Entropies of a set of prompts, from dense runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..entropy.calibration import Calibration
from ..entropy.summary import Summary, summarise
from ..entropy.trace import EntropyTrace, TraceRecorder
from ..models.fingerprint import model_fingerprint
from ..pipeline import InfinityPipeline
from ..schedules import ScaleSchedule, get_schedule

OnImage = Callable[[int], object]
"""Told how many more images are done."""
FEWEST_TOKENS = 64
"""Scales with fewer are never pruned: they cost next to nothing, and fix the composition."""


@dataclass(frozen=True)
class Analysis:
    """What was measured.

    Attributes:
        images: PIL pictures, in the order of the trace.
        calibrated: whether scores and classes come from the model's calibration; otherwise they
            were fitted to these prompts.
        seconds: wall time of the runs.
    """

    trace: EntropyTrace
    summary: Summary
    images: tuple[Any, ...]
    calibrated: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        about = self.trace.about
        return {
            "model": about.model, "schedule": about.schedule, "params": about.params,
            "versions": about.versions, "prompts": list(about.prompts), "seeds": list(about.seeds),
            "images": self.trace.images, "calibrated": self.calibrated, "seconds": self.seconds,
            **self.summary.to_json(),
        }


def analyze(
    pipeline: InfinityPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int] = (0,),
    *,
    schedule: ScaleSchedule | None = None,
    scales: Iterable[int] | None = None,
    layers: Iterable[int] | None = None,
    heads: bool = False,
    batch: int = 1,
    calibration: Calibration | None = None,
    on_images: OnImage | None = None,
    **how: Any,
) -> Analysis:
    """Run each prompt with each seed, dense, and measure.

    Args:
        seeds: each prompt is drawn once for each.
        schedule: default: square, at the pipeline's default budget.
        scales, layers: what to measure; default: all.
        heads: keep the heads apart in the trace.
        batch: images at once.
        calibration: score layers by it.
        how: anything else the pipeline takes (``guidance_scale``, ``tau``, ``options`` ...).
    """
    schedule = schedule or get_schedule("1.0", pipeline.config["default_pn"])
    _check_places(pipeline, schedule, scales, layers)
    jobs = [(prompt, seed) for prompt in prompts for seed in seeds]
    if not jobs:
        raise ValueError("give at least one prompt and one seed")
    scales, layers = (None if v is None else tuple(v) for v in (scales, layers))
    traces, images = [], []
    started = time.perf_counter()
    for part in batches(jobs, batch):
        recorder = TraceRecorder(scales, layers, heads)
        done = pipeline(
            [p for p, _ in part], seed=[s for _, s in part], schedule=schedule, watch=recorder,
            **how,
        )
        images += list(done.images)
        traces.append(recorder.trace(
            schedule, pipeline.transformer.shape.depth, prompts=[p for p, _ in part],
            seeds=[s for _, s in part], model=model_fingerprint(pipeline.transformer),
            params=done.report.params, edits=pipeline.transformer.shape.edits,
        ))
        if on_images:
            on_images(len(part))
    trace = EntropyTrace.join(traces)
    entry = calibration.entry(schedule)[0] if calibration else None
    fits = entry is not None and len(entry.layer_scores) == pipeline.transformer.shape.depth
    return Analysis(trace, summarise(trace, entry if fits else None), tuple(images), fits,
                    time.perf_counter() - started)


def batches(jobs: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """In parts of at most ``size``."""
    if size < 1:
        raise ValueError(f"batch must be at least 1, got {size}")
    return [jobs[i : i + size] for i in range(0, len(jobs), size)]


def _check_places(pipeline: InfinityPipeline, schedule: ScaleSchedule,
                  scales: Iterable[int] | None, layers: Iterable[int] | None) -> None:
    for name, asked, count in (("scale", scales, len(schedule)),
                               ("layer", layers, pipeline.transformer.shape.depth)):
        wrong = [n for n in asked or () if not 0 <= n < count]
        if wrong:
            raise ValueError(f"there is no {name} {wrong[0]}: this run has {count}, counted from 0")
