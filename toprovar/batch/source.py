"""Where the model, its plans and its options come from: what a batch needs beside its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..bundled import bundled_model
from .jobs import Job

if TYPE_CHECKING:
    from ..pipeline import InfinityPipeline
    from ..sampling.params import EngineOptions
    from ..sampling.report import RunReport
    from ..schedules import ScaleSchedule
    from ..sparsity.planner import Planner

EDGE = 1 << 16
"""Bytes of each end of a weight file that tell it from others."""


@dataclass(frozen=True)
class Planned:
    """A plan, as asked for and as made.

    Attributes:
        plan: None = all is drawn in full.
        name: what was asked for, None = nothing; request: the same with its settings, for the
            picture's parameters.
        finished: a run's report with what is known of the plan's cost.
    """

    plan: Planner | None = None
    name: str | None = None
    request: dict[str, Any] | None = None
    finished: Callable[[RunReport], RunReport] = field(default=lambda report: report)


class Source(Protocol):
    """What draws. It can be sent to other processes, and loads nothing before ``load``."""

    def load(self) -> InfinityPipeline:
        """The model on its device."""
        ...

    def options(self) -> EngineOptions: ...

    def schedule(self, job: Job, pipeline: InfinityPipeline) -> ScaleSchedule:
        """The size of a job's picture."""
        ...

    def plan(self, job: Job, pipeline: InfinityPipeline, schedule: ScaleSchedule) -> Planned:
        """A job's plan; a ValueError says why there is none."""
        ...

    def graph(self, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """Nodes of ComfyUI that draw a picture, for its file."""
        ...

    def told(self) -> dict[str, Any]:
        """What decides about all pictures, for the folder's description, as JSON."""
        ...


@dataclass(frozen=True)
class ModelSource:
    """The model that a batch draws with. It loads nothing before :meth:`load`, and can be sent to
    other processes. Plans are made with the defaults of their strategies, or read from files.

    Attributes:
        model: the path of a pipeline folder. None = the embedded model.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        dtype: "auto", "float32", "bfloat16" or "float16".
        attention: the kernel of the attention; see ``EngineOptions``.
        memory: as in ``InfinityPipeline.manage_memory``.
    """

    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"
    memory: str = "auto"

    def load(self) -> InfinityPipeline:
        """Load the pipeline onto its device."""
        from ..pipeline_loading import load_pipeline

        pipeline = load_pipeline(self.model, self.device, self.dtype, self.memory)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def options(self) -> EngineOptions:
        """The engine options of its calls."""
        from ..sampling.params import EngineOptions

        return EngineOptions(attention_backend=self.attention)

    def schedule(self, job: Job, pipeline: InfinityPipeline) -> ScaleSchedule:
        """The size of a picture."""
        from ..schedules import get_schedule, schedule_for_size

        if job.size is not None:
            return schedule_for_size(job.size[1], job.size[0])
        if (saved := _saved(job.plan)) is not None:
            return _schedule_of(saved)
        return get_schedule("1.0", pipeline.config["default_pn"])

    def plan(self, job: Job, pipeline: InfinityPipeline, schedule: ScaleSchedule) -> Planned:
        """The plan of a picture, with what is known of its cost.

        Raises:
            ValueError: there is no such strategy or file, or it does not fit the model.
        """
        from ..planning import make_plan

        if job.plan is None:
            return Planned()
        request = {"plan": Path(job.plan).name}
        if (saved := _saved(job.plan)) is not None:
            saved.check_fits(pipeline.transformer.shape, schedule)
            return Planned(saved, job.plan, request)
        cfg = pipeline.config["default_cfg"] if job.cfg is None else job.cfg
        made = make_plan(pipeline, job.plan, schedule, guided=cfg != 1)
        return Planned(made, job.plan, request)

    def graph(self, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """The ComfyUI workflow that is written into a picture. None = there is none."""
        return None

    def told(self) -> dict[str, Any]:
        """What decides how all pictures look, as JSON values; it is written into the folder."""
        return {"model": Path(self.model).name if self.model else "embedded",
                "weights": weights_digest(self.model or bundled_model()), "dtype": self.dtype,
                "attention": self.attention}


def weights_digest(*paths: str | Path) -> str:
    """Tells models apart without reading all of them: by names, sizes and both ends of files."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if not file.is_file() or any(p.startswith(".") for p in file.relative_to(path).parts):
                continue
            size = file.stat().st_size
            digest.update(f"{file.relative_to(path).as_posix()}|{size}|".encode())
            with file.open("rb") as opened:
                digest.update(opened.read(EDGE))
                opened.seek(max(0, size - EDGE))
                digest.update(opened.read(EDGE))
    return digest.hexdigest()[:16]


def _saved(plan: str | None) -> Any:
    """The plan of a file, None where it is a strategy's name or nothing."""
    from ..sparsity.plan_file import load_plan
    from ..sparsity.strategies.registry import AUTO, names

    if plan is None or plan in (*names(), AUTO):
        return None
    if not Path(plan).is_file():
        raise ValueError(f"no strategy and no file is called {plan!r}: expected one of "
                         f"{', '.join(names())}, {AUTO}, or a file of 'toprovar plan make'")
    return load_plan(plan)


def _schedule_of(saved: Any) -> ScaleSchedule:
    from ..schedules import find_schedule

    return find_schedule([step.grid for step in saved.scales])
