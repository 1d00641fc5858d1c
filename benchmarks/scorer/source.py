"""What a benchmark's pictures are drawn with: one size and one plan for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from toprovar.batch.source import ModelSource, Planned

if TYPE_CHECKING:
    from toprovar.batch.jobs import Job
    from toprovar.pipeline import InfinityPipeline
    from toprovar.sampling.params import EngineOptions
    from toprovar.schedules import ScaleSchedule
    from toprovar.sparsity.planner import Planner


@dataclass(frozen=True)
class FixedSource(ModelSource):
    """One size and one plan for all pictures."""

    size: ScaleSchedule | None = None
    chosen: Planner | None = None
    engine: EngineOptions | None = None

    def options(self) -> EngineOptions:
        assert self.engine is not None
        return self.engine

    def schedule(self, job: Job, pipeline: InfinityPipeline) -> ScaleSchedule:
        assert self.size is not None
        return self.size

    def plan(self, job: Job, pipeline: InfinityPipeline, schedule: ScaleSchedule) -> Planned:
        return Planned(self.chosen)
