"""What runs took on a pipeline's device: the ground on which the automatic choice keeps its promise
never to be slower than dense.

A pipeline owns one ``Times``. It learns from every run that was steady: not the first of its kind,
in which kernels are compiled and scales recorded.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from .models.config import TransformerConfig
from .sampling.report import RunReport
from .schedules import ScaleSchedule
from .sparsity.cost import WorkTable
from .sparsity.plan import SparsityPlan

SLOWER = 1.02
"""Of dense's time: beyond it a plan does not pay."""
ENOUGH = 2
"""Steady runs before a time is believed."""
KEPT = 8
"""Latest runs that a time is the median of."""
LIMIT = 256
"""Kinds of runs that are remembered, the latest used."""


@dataclass(frozen=True)
class Kind:
    """Runs that can be compared.

    Attributes:
        place: device, dtype and engine options; grids: of the schedule; images: in one run.
    """

    place: Hashable
    grids: tuple[tuple[int, int], ...]
    images: int
    guided: bool

    @staticmethod
    def of(place: Hashable, schedule: ScaleSchedule, images: int, guided: bool) -> Kind:
        return Kind(place, schedule.grids, images, guided)


@dataclass
class _Runs:
    first: bool = True
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))


class Times:
    """Seconds of the scale loop by kind of run and plan."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, _Runs] = OrderedDict()

    def learn(self, kind: Kind, report: RunReport) -> None:
        """Take a finished run's time, unless it was the first of its kind or recorded scales."""
        if report.used_plan is None or len(report.scales) < len(kind.grids):
            return
        key = kind, _identity(report.used_plan)
        runs = self._known.setdefault(key, _Runs())
        self._known.move_to_end(key)
        while len(self._known) > LIMIT:
            self._known.popitem(last=False)
        if runs.first or report.recorded_scales:
            runs.first = False
            return
        runs.seconds.append(report.seconds["scales"])

    def seconds(self, kind: Kind, plan: SparsityPlan) -> float | None:
        """Median of the latest steady runs; None where none is known."""
        runs = self._known.get((kind, _identity(plan)))
        return median(runs.seconds) if runs and runs.seconds else None

    def dense(self, kind: Kind) -> float | None:
        """The same of dense runs."""
        runs = self._known.get((kind, None))
        return median(runs.seconds) if runs and runs.seconds else None

    def slower(self, kind: Kind, plan: SparsityPlan) -> tuple[float, float] | None:
        """(seconds of the plan, of dense) where both were measured often enough and the plan does
        not pay; else None."""
        own, dense = (self._known.get((kind, known)) for known in (_identity(plan), None))
        if not own or not dense or min(len(own.seconds), len(dense.seconds)) < ENOUGH:
            return None
        found = median(own.seconds), median(dense.seconds)
        return found if found[0] > SLOWER * found[1] else None

    def compared(self, kind: Kind, report: RunReport, shape: TransformerConfig) -> RunReport:
        """``report`` with the time of a dense run beside its own: measured, or foreseen from what
        its own full scales took."""
        if report.used_plan is None or report.used_plan.dense:
            return report
        measured = self.dense(kind)
        seconds = measured if measured is not None else foreseen_dense(report, shape)
        if seconds is None:
            return report
        own, notes = report.seconds.get("scales", 0.0), report.notes
        if measured is not None and own > SLOWER * measured and not report.recorded_scales \
                and self.slower(kind, report.used_plan):
            notes += (f"slower than dense here: {own:.3g} s in the scale loop, dense "
                      f"{measured:.3g} s",)
        return replace(report, dense_seconds=seconds, dense_measured=measured is not None,
                       notes=notes)


def _identity(plan: SparsityPlan) -> Hashable:
    """What a plan's time depends on; None for dense, whoever made it."""
    return None if plan.dense else (plan.scales, plan.shortcuts)


def foreseen_dense(report: RunReport, shape: TransformerConfig) -> float | None:
    """Seconds of the scale loop of a dense run, from a sparse run's own scales.

    Scales that ran in full are taken as they are; through them goes the line seconds = a + b FLOPs
    that tells what the others would take. None where fewer than three ran in full.
    """
    plan = report.used_plan
    if plan is None:
        return None
    guided = report.rows > report.images
    own, dense = (table(plan, guided, shape.edits).scale_flops(shape)
                  for table in (WorkTable.of, WorkTable.dense))
    took = np.array([s.seconds for s in report.scales])
    if len(took) != len(dense):
        return None
    full = np.array([step.run and not step.sparse for step in plan.scales])
    same = full & (own == dense)
    if full.sum() < 3 or not (took[full] > 0).all():
        return None
    matrix = np.stack([np.ones(int(full.sum())), own[full]], 1)
    weight = 1 / np.maximum(took[full], took[full].max() / 10)
    (base, slope), *_ = np.linalg.lstsq(matrix * weight[:, None], took[full] * weight, rcond=None)
    if slope <= 0:
        return None
    rest = max(base, 0.0) + slope * dense
    source = 0.0 if report.source is None else report.source.seconds
    return source + float(np.where(same, took, np.maximum(rest, np.where(full, took, 0.0))).sum())
