"""Calibration: what a model's plans need to know, measured once on many prompts.

Every prompt is run dense, which gives the entropies, and by decoding the sums after each scale the
picture that stopping there would give. Then it is run again with pruning from each candidate scale
on. SSIM to the dense picture says which scales can be pruned; tau, the crossing direction and the
start scale are what predicts that best. Layer scores come from the singular values at the
representative scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import torch
from torch import Tensor

from ..entropy.calibration import Calibration, ScheduleEntry
from ..entropy.statistics import RatioScale, order_stability, rho_informative
from ..entropy.summary import (
    fit_layers,
    ratio_table,
    representative_scale,
    rho_table,
    scale_statistics,
    spread_of,
)
from ..entropy.trace import EntropyTrace, TraceRecorder
from ..evaluation.metrics import ssim
from ..models.fingerprint import model_fingerprint
from ..pipeline import InfinityPipeline
from ..sampling.run import ScaleState
from ..schedules import ScaleSchedule, get_schedule
from ..sparsity.plan import ModelTag, ScalePlan, SparsityPlan, schedule_name
from .crossing import fit_crossing
from .measure import OnImage, batches

FEWEST_TOKENS = 64
"""Scales with fewer are never pruned: they cost next to nothing, and fix the composition."""


@dataclass(frozen=True)
class Measured:
    """One schedule's measurements of P images over S scales.

    Attributes:
        exit_ssim: [P, S] SSIM when scale s and all later ones are not run; NaN at s = 0.
        pruned_ssim: [P, S] SSIM when scale s and all later ones are pruned; NaN where not tried.
    """

    schedule: ScaleSchedule
    trace: EntropyTrace
    exit_ssim: Tensor
    pruned_ssim: Tensor

    @property
    def candidates(self) -> list[int]:
        """Scales that were tried as the first pruned one."""
        return [s for s in range(len(self.schedule)) if not self.pruned_ssim[:, s].isnan().any()]


def calibrate(
    pipeline: InfinityPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int] = (0,),
    *,
    schedules: Sequence[ScaleSchedule] = (),
    target_ssim: float = 0.8,
    probe_keep: float = 0.5,
    ratio_scale: RatioScale = "log",
    alpha_min: float = 0.0,
    alpha_max: float = 0.9,
    batch: int = 1,
    name: str = "",
    provenance: dict[str, Any] | None = None,
    on_images: OnImage | None = None,
    **how: Any,
) -> Calibration:
    """Calibrate a pipeline's transformer.

    Args:
        prompts, seeds: each prompt is drawn with each seed. A handful of prompts runs, but spreads
            over prompts then mean little; the published calibration used about 50.
        schedules: one entry for each; default: square, at the pipeline's default budget.
        target_ssim: pictures at least this similar to the dense one count as unharmed.
        probe_keep: share of tokens, the least diffuse, that every layer of a pruned scale works
            on while start scales are tried; the others get their layer's last update.
        ratio_scale, alpha_min, alpha_max: recorded for the planner.
        batch: images at once.
        name: of the model, for the reader; provenance: added to what is recorded.
        on_images: told of every finished run; there are ``runs_needed`` in all.
        how: anything else the pipeline takes.
    """
    if not prompts or not seeds:
        raise ValueError("give at least one prompt and one seed")
    if not 0 < probe_keep < 1:
        raise ValueError(f"probe_keep must be between 0 and 1, got {probe_keep}")
    schedules = schedules or [get_schedule("1.0", pipeline.config["default_pn"])]
    jobs = [(p, s) for p in prompts for s in seeds]
    measured = [
        _measure(pipeline, jobs, schedule, probe_keep, batch, on_images, how)
        for schedule in schedules
    ]
    rhos = [rho_table(m.trace) for m in measured]
    fine = [m.pruned_ssim >= target_ssim for m in measured]
    tried = [m.candidates for m in measured]
    crossing = fit_crossing(rhos, fine, tried)
    longest = max(range(len(measured)), key=lambda i: len(measured[i].schedule))
    told = rho_informative(rhos[longest])
    reason = told.reason
    informative = told.informative
    if informative and not (crossing.accuracy is not None
                            and crossing.accuracy >= max(0.7, (crossing.by_scale or 0) - 0.05)):
        informative = False
        reason = "its crossing predicts what may be pruned no better than the scale's number does"
    return Calibration(
        model=model_fingerprint(pipeline.transformer),
        name=name,
        depth=pipeline.transformer.shape.depth,
        entries={m.schedule.pn: _entry(m, target_ssim, ratio_scale) for m in measured},
        tau=crossing.tau,
        crossing=crossing.direction,
        rho_informative=informative,
        rho_reason=reason,
        rho_accuracy=crossing.accuracy,
        scale_accuracy=crossing.by_scale,
        target_ssim=target_ssim,
        alpha_min=alpha_min,
        alpha_max=alpha_max,
        prompts=len(prompts),
        seeds=len(seeds),
        provenance={
            "made": datetime.now(timezone.utc).date().isoformat(),
            "versions": measured[0].trace.about.versions,
            "probe": {"keep": probe_keep, "rule": "entropy", "dropped": "cached"},
            "params": {m.schedule.pn: {k: v for k, v in m.trace.about.params.items()
                                       if k != "schedule"} for m in measured},
            "seeds": list(seeds),
            **(provenance or {}),
        },
    )


def runs_needed(prompts: int, seeds: int, schedules: Sequence[ScaleSchedule]) -> int:
    """Images that :func:`calibrate` draws."""
    return prompts * seeds * sum(1 + len(_candidates(s)) for s in schedules)


def _candidates(schedule: ScaleSchedule) -> list[int]:
    return [s for s, n in enumerate(schedule.tokens) if s > 0 and n >= FEWEST_TOKENS]


def _probe_plan(pipeline: InfinityPipeline, schedule: ScaleSchedule, start: int, keep: float
                ) -> SparsityPlan:
    shape = pipeline.transformer.shape
    scales = []
    for scale, (grid, n) in enumerate(zip(schedule.grids, schedule.tokens, strict=True)):
        if scale < start:
            scales.append(ScalePlan(grid=grid, keep=(n,) * shape.depth))
        else:
            scales.append(ScalePlan(grid=grid, keep=(max(1, round(n * keep)),) * shape.depth,
                                    rule="entropy", dropped="cached"))
    return SparsityPlan(strategy="probe", model=ModelTag.of(shape),
                        schedule=schedule_name(schedule), scales=tuple(scales))


def _measure(pipeline: InfinityPipeline, jobs: Sequence[tuple[str, int]], schedule: ScaleSchedule,
             keep: float, batch: int, on_images: OnImage | None, how: dict[str, Any]) -> Measured:
    traces: list[EntropyTrace] = []
    exits, pruned = [], []
    for part in batches(jobs, batch):
        texts, seeds = [p for p, _ in part], [s for _, s in part]
        recorder = TraceRecorder()
        sums: list[Tensor] = []

        def take(state: ScaleState, sums: list[Tensor] = sums) -> None:
            sums.append(state.summed_codes.clone())

        done = pipeline(texts, seed=seeds, schedule=schedule, watch=recorder, on_scale=take,
                        output_type="pt", **how)
        dense = done.images.clamp(0, 1)
        traces.append(recorder.trace(
            schedule, pipeline.transformer.shape.depth, prompts=texts, seeds=seeds,
            model=model_fingerprint(pipeline.transformer), params=done.report.params,
        ))
        if on_images:
            on_images(len(part))
        exits.append(torch.stack([torch.full((len(part),), math.nan, dtype=torch.float64)] + [
            ssim(_decoded(pipeline, codes), dense.cpu()) for codes in sums[:-1]
        ], 1))
        row = torch.full((len(part), len(schedule)), math.nan, dtype=torch.float64)
        for start in _candidates(schedule):
            plan = _probe_plan(pipeline, schedule, start, keep)
            images = pipeline(texts, seed=seeds, schedule=schedule, plan=plan, output_type="pt",
                              **how).images
            row[:, start] = ssim(images.clamp(0, 1).cpu(), dense.cpu())
            if on_images:
                on_images(len(part))
        pruned.append(row)
    return Measured(schedule, EntropyTrace.join(traces), torch.cat(exits), torch.cat(pruned))


def _decoded(pipeline: InfinityPipeline, codes: Tensor) -> Tensor:
    with torch.inference_mode():
        pictures = torch.cat([pipeline.vae.decode(one) for one in codes.split(1)])
    return ((pictures + 1) / 2).clamp(0, 1).float().cpu()


def _entry(measured: Measured, target: float, ratio_scale: RatioScale) -> ScheduleEntry:
    trace, schedule = measured.trace, measured.schedule
    means = measured.pruned_ssim.mean(0)
    start, reason = None, f"no scale can be pruned and keep a mean SSIM of {target:g}"
    for scale in reversed(measured.candidates):
        if means[scale] < target:
            break
        start = scale
        reason = (f"the first scale from which on pruning keeps a mean SSIM of at least "
                  f"{target:g} (here {float(means[scale]):.3f})")
    scale = representative_scale(trace)
    ratios = ratio_table(trace, scale)
    stability = order_stability(ratios)
    scales = tuple(
        found.model_copy(update={"exit_ssim": spread_of(measured.exit_ssim[:, s]),
                                 "pruned_ssim": spread_of(measured.pruned_ssim[:, s])})
        for s, found in enumerate(scale_statistics(trace))
    )
    fit = fit_layers(ratios, ratio_scale)
    return ScheduleEntry(
        pn=schedule.pn, template=schedule.template, scales=scales, start_scale=start,
        start_reason=reason, representative_scale=scale,
        order_stability=None if math.isnan(stability) else stability,
        **{name: getattr(fit, name) for name in fit.__dataclass_fields__},
    )

