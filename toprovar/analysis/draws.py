"""The pictures that calibration draws, and how like the dense ones they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..evaluation.metrics import likeness, ssim
from ..pipeline import InfinityPipeline
from ..schedules import ScaleSchedule
from ..sparsity.plan import ModelTag, ScalePlan, SparsityPlan, Way, schedule_name
from .measure import OnImage, batches


@dataclass(frozen=True)
class CalibrationRunner:
    """Draws all pictures under a plan."""

    pipeline: InfinityPipeline
    jobs: Sequence[tuple[str, int]]
    batch: int
    on_images: OnImage | None
    how: dict[str, Any]

    def similarity(self, plan: SparsityPlan, schedule: ScaleSchedule, dense: Tensor) -> Tensor:
        """[P] SSIM of the plan's pictures to the dense ones."""
        return self.compared(plan, schedule, dense)[1]

    def compared(self, plan: SparsityPlan, schedule: ScaleSchedule, dense: Tensor
                 ) -> tuple[Tensor, Tensor]:
        """[P] likeness and [P] SSIM of the plan's pictures to the dense ones."""
        alike, found = [], []
        for part in batches(range(len(self.jobs)), self.batch):
            texts, seeds = [self.jobs[i][0] for i in part], [self.jobs[i][1] for i in part]
            images = self.pipeline(texts, seed=seeds, schedule=schedule, plan=plan,
                                   output_type="pt", **self.how).images
            images, own = images.clamp(0, 1), dense[part[0] : part[-1] + 1]
            alike.append(likeness(images, own).cpu())
            found.append(ssim(images, own).cpu())
            if self.on_images:
                self.on_images(len(part))
        return torch.cat(alike), torch.cat(found)


def probe_plan(pipeline: InfinityPipeline, schedule: ScaleSchedule, start: int, keep: float,
                way: Way, off: int = 0, guide: tuple[int, ...] = ()) -> SparsityPlan:
    shape = pipeline.transformer.shape
    scales = []
    for scale, (grid, n) in enumerate(zip(schedule.grids, schedule.tokens, strict=True)):
        guided = scale < len(schedule) - off
        if scale < start:
            scales.append(ScalePlan(grid=grid, keep=(n,) * shape.depth, unconditional=guided))
            continue
        scales.append(ScalePlan(
            grid=grid, keep=(max(1, round(n * keep)),) * shape.depth, rule="entropy", dropped=way,
            unconditional=guided, run=way != "exit" or scale == start,
            guide=guide if way == "exit" else (),
        ))
    return SparsityPlan(strategy="probe", model=ModelTag.of(shape),
                        schedule=schedule_name(schedule), scales=tuple(scales))


def decoded(pipeline: InfinityPipeline, codes: Tensor) -> Tensor:
    with torch.inference_mode():
        pictures = torch.cat([pipeline.vae.decode(one) for one in codes.split(1)])
    return ((pictures + 1) / 2).clamp(0, 1).float().cpu()
