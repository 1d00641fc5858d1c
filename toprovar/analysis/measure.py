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
    """The result of :func:`analyze`.

    Attributes:
        trace: the entropies of all images.
        summary: statistics of the entropies: of each scale and each layer.
        images: the pictures as PIL images, in the order of the trace.
        calibrated: True = scores and classes of the layers come from the model's calibration. False
            = they were fitted to these prompts.
        seconds: the wall time of the runs.
    """

    trace: EntropyTrace
    summary: Summary
    images: tuple[Any, ...]
    calibrated: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The statistics as values that ``json`` can write, without maps and pictures."""
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
    """Draw each prompt with each seed, leaving nothing out, and measure the attention entropies.

    Args:
        pipeline: the model that is measured.
        prompts: what to draw.
        seeds: every prompt is drawn once with each of them.
        schedule: the size. None = a square at the pipeline's default pixel budget.
        scales, layers: numbers of the scales and layers to measure, from 0. None = all.
        heads: True = keep attention heads apart in the trace.
        batch: how many images are drawn at once.
        calibration: a calibration to score the layers by. None = the scores are fitted to these
            prompts.
        on_images: a function that is called with the number of images that have been finished since
            the last time.
        how: more arguments of the pipeline's call, such as ``guidance_scale``, ``tau`` and
            ``options``.

    Raises:
        ValueError: there is no prompt or no seed, or the run has no such scale or layer.
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
