"""Calibration: what a model's plans need to know, measured once on many prompts.

Every prompt is run dense, which gives the entropies, and by decoding the sums after each scale the
picture that stopping there would give. Layer scores come from the singular values at the
representative scale. Then it is run again with half the last scale's tokens dropped in each way
there is, and with the last scales unguided: SSIM to the dense picture says which way suits the
model, and how long guidance is needed. At last it is run with pruning from each candidate scale on,
in that way; tau, the crossing direction and the start scale are what predicts best where that is
safe. Where tokens exit, runs with fewer scales, less guidance and shortcuts through the first
layers (``shortcut_fit``) follow (``choices``): a plan for a budget is the best of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import torch
from torch import Tensor

from ..entropy.calibration import Calibration
from ..entropy.schedule_entry import Choice, ScheduleEntry
from ..entropy.statistics import LayerClass, RatioScale, order_stability, rho_informative
from ..entropy.summary import (
    LayerFit,
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
from ..sparsity.plan import ScalePlan, SparsityPlan, Way
from ..sparsity.shortcuts import Shortcuts
from .choices import explore, mixing_gain, most_choices
from .crossing import fit_crossing
from .draws import CalibrationRunner, decoded, probe_plan
from .measure import FEWEST_TOKENS, OnImage, batches

WAYS: tuple[Way, ...] = ("identity", "cached", "exit")
MOST_UNGUIDED = 3
"""Scales at the end that are tried without guidance."""


@dataclass(frozen=True)
class Measured:
    """One schedule's measurements of P images over S scales.

    Attributes:
        dense: [P, 3, H, W] the dense pictures.
        exit_ssim: [P, S] SSIM when scale s and all later ones are not run; NaN at s = 0.
        ways: for each way to drop half the tokens of the last scale, [P] SSIM.
        unguided: [P, k] SSIM when the last 1, 2 ... k scales have no guidance.
    """

    schedule: ScaleSchedule
    trace: EntropyTrace
    dense: Tensor
    exit_ssim: Tensor
    ways: dict[Way, Tensor]
    unguided: Tensor

    def unconditional_off(self, target: float) -> int:
        """The most scales without guidance that leave half of what the target allows."""
        fine = self.unguided.mean(0) >= (1 + target) / 2
        return int(fine.long().cumprod(0).sum())


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
    shortcuts: Shortcuts | None = None,
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
            on while ways and start scales are tried.
        ratio_scale, alpha_min, alpha_max: recorded for the planner.
        batch: images at once.
        shortcuts: of the model (``fit_shortcuts``), to be found by ``find_shortcuts``; None = none
            are tried.
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
    runner = CalibrationRunner(pipeline, jobs, batch, on_images, how)
    measured = [_measure(runner, schedule, probe_keep) for schedule in schedules]
    way = max(WAYS, key=lambda w: sum(float(m.ways[w].mean()) for m in measured))
    fits = [fit_layers(ratio_table(m.trace, representative_scale(m.trace)), ratio_scale)
            for m in measured]
    pruned = [_pruned(runner, m, way, probe_keep, target_ssim, fit.layer_classes)
              for m, fit in zip(measured, fits, strict=True)]
    choices = [_choices(runner, m, shortcuts) if way == "exit" else () for m in measured]
    gains = [mixing_gain(
        pipeline.transformer.shape, m.schedule, found,
        lambda plan, m=m: runner.compared(plan, m.schedule, m.dense), shortcuts.identity,
        _detail(fit.layer_classes)) if shortcuts and found else 0.0
        for m, found, fit in zip(measured, choices, fits, strict=True)]
    rhos = [rho_table(m.trace) for m in measured]
    fine = [p >= target_ssim for p in pruned]
    tried = [_tried(p) for p in pruned]
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
        entries={m.schedule.pn: _entry(m, found, fit, way, target_ssim, tried_, gain)
                 for m, found, fit, tried_, gain in zip(measured, pruned, fits, choices, gains,
                                                        strict=True)},
        tau=crossing.tau,
        crossing=crossing.direction,
        rho_informative=informative,
        rho_reason=reason,
        rho_accuracy=crossing.accuracy,
        scale_accuracy=crossing.by_scale,
        target_ssim=target_ssim,
        shortcuts=shortcuts.identity if shortcuts and any(
            c.shortcuts for tried_ in choices for c in tried_) else None,
        dropped=way,
        alpha_min=alpha_min,
        alpha_max=alpha_max,
        prompts=len(prompts),
        seeds=len(seeds),
        provenance={
            "made": datetime.now(timezone.utc).date().isoformat(),
            "versions": measured[0].trace.about.versions,
            "probe": {"keep": probe_keep, "rule": "entropy", "ssim": {
                m.schedule.pn: {w: round(float(m.ways[w].mean()), 4) for w in WAYS}
                for m in measured
            }, "unguided_ssim": {
                m.schedule.pn: [round(float(x), 4) for x in m.unguided.mean(0)] for m in measured
            }},
            "params": {m.schedule.pn: {k: v for k, v in m.trace.about.params.items()
                                       if k != "schedule"} for m in measured},
            "seeds": list(seeds),
            **(provenance or {}),
        },
    )


def runs_needed(prompts: int, seeds: int, schedules: Sequence[ScaleSchedule], lengths: int = 0
                ) -> int:
    """Images that :func:`calibrate` draws at most.

    Args:
        lengths: how many lengths of shortcuts are tried.
    """
    return prompts * seeds * sum(
        1 + len(WAYS) + _unguided(s) + len(_candidates(s)) + most_choices(s, FEWEST_TOKENS)
        + (1 + most_choices(s, FEWEST_TOKENS, lengths) if lengths else 0) for s in schedules)


def _candidates(schedule: ScaleSchedule) -> list[int]:
    return [s for s, n in enumerate(schedule.tokens) if s > 0 and n >= FEWEST_TOKENS]


def _unguided(schedule: ScaleSchedule) -> int:
    return min(MOST_UNGUIDED, len(schedule) - 1)


def _tried(pruned: Tensor) -> list[int]:
    """Scales that were tried as the first pruned one, of [P, S] with NaN elsewhere."""
    return [s for s in range(pruned.shape[1]) if not pruned[:, s].isnan().any()]


def _measure(runner: CalibrationRunner, schedule: ScaleSchedule, keep: float) -> Measured:
    pipeline, last = runner.pipeline, len(schedule) - 1
    traces: list[EntropyTrace] = []
    exits, pictures = [], []
    for part in batches(runner.jobs, runner.batch):
        texts, seeds = [p for p, _ in part], [s for _, s in part]
        recorder = TraceRecorder()
        sums: list[Tensor] = []

        def take(state: ScaleState, sums: list[Tensor] = sums) -> None:
            sums.append(state.summed_codes.clone())

        done = pipeline(texts, seed=seeds, schedule=schedule, watch=recorder, on_scale=take,
                        output_type="pt", **runner.how)
        dense = done.images.clamp(0, 1).cpu()
        pictures.append(dense)
        traces.append(recorder.trace(
            schedule, pipeline.transformer.shape.depth, prompts=texts, seeds=seeds,
            model=model_fingerprint(pipeline.transformer), params=done.report.params,
        ))
        if runner.on_images:
            runner.on_images(len(part))
        exits.append(torch.stack([torch.full((len(part),), math.nan, dtype=torch.float64)] + [
            ssim(decoded(pipeline, codes), dense) for codes in sums[:-1]
        ], 1))
    dense = torch.cat(pictures)
    ways: dict[Way, Tensor] = {
        way: runner.similarity(probe_plan(pipeline, schedule, last, keep, way), schedule, dense)
        for way in WAYS
    }
    unguided = torch.stack([
        runner.similarity(probe_plan(pipeline, schedule, last + 1, keep, "identity", off), schedule,
                      dense)
        for off in range(1, _unguided(schedule) + 1)
    ], 1)
    return Measured(schedule, EntropyTrace.join(traces), dense, torch.cat(exits), ways, unguided)


def _pruned(runner: CalibrationRunner, measured: Measured, way: Way, keep: float, target: float,
            classes: Sequence[LayerClass]) -> Tensor:
    """[P, S] SSIM when scale s is pruned, and those after it are (where tokens exit: not run), as
    plans of this model will do it; NaN where not tried."""
    schedule = measured.schedule
    found = torch.full((len(runner.jobs), len(schedule)), math.nan, dtype=torch.float64)
    off = measured.unconditional_off(target) if way == "exit" else 0
    guide = _detail(classes)
    for start in _candidates(schedule):
        plan = probe_plan(runner.pipeline, schedule, start, keep, way, off, guide)
        found[:, start] = runner.similarity(plan, schedule, measured.dense)
    return found


def _choices(runner: CalibrationRunner, measured: Measured, shortcuts: Shortcuts | None
             ) -> tuple[Choice, ...]:
    """What fewer scales, fewer with guidance, and shortcuts do to these pictures. First without
    shortcuts, for plans that are to have none."""
    known: dict[tuple[ScalePlan, ...], tuple[Tensor, Tensor]] = {}

    def measure(plan: SparsityPlan) -> tuple[Tensor, Tensor]:
        if plan.scales not in known:
            known[plan.scales] = runner.compared(plan, measured.schedule, measured.dense)
        return known[plan.scales]

    shape = runner.pipeline.transformer.shape
    found = explore(shape, measured.schedule, measure, FEWEST_TOKENS)
    if shortcuts:
        found += explore(shape, measured.schedule, measure, FEWEST_TOKENS, shortcuts)
    return tuple(sorted(set(found), key=lambda c: -c.likeness))


def _detail(classes: Sequence[LayerClass]) -> tuple[int, ...]:
    return tuple(i for i, kind in enumerate(classes) if kind == "detail")


def _entry(measured: Measured, pruned: Tensor, fit: LayerFit, way: Way, target: float,
           choices: tuple[Choice, ...], gain: float) -> ScheduleEntry:
    trace, schedule = measured.trace, measured.schedule
    means = pruned.mean(0)
    start, reason = None, f"no scale can be pruned and keep a mean SSIM of {target:g}"
    for scale in reversed(_tried(pruned)):
        if means[scale] < target:
            break
        start = scale
        reason = (f"the first scale from which on pruning keeps a mean SSIM of at least "
                  f"{target:g} (here {float(means[scale]):.3f})")
    scale = representative_scale(trace)
    stability = order_stability(ratio_table(trace, scale))
    scales = tuple(
        found.model_copy(update={"exit_ssim": spread_of(measured.exit_ssim[:, s]),
                                 "pruned_ssim": spread_of(pruned[:, s])})
        for s, found in enumerate(scale_statistics(trace))
    )
    return ScheduleEntry(
        pn=schedule.pn, template=schedule.template, scales=scales, start_scale=start,
        start_reason=reason, representative_scale=scale, choices=choices,
        mixing_gain=gain,
        unconditional_off=measured.unconditional_off(target) if way == "exit" else 0,
        order_stability=None if math.isnan(stability) else stability,
        **{name: getattr(fit, name) for name in fit.__dataclass_fields__},
    )
