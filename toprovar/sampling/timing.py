"""How long each scale, or another part of a run, took: by the device's clock where it has one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable
from typing import Any

import torch

from .report import SOURCE, RunReport, ScaleReport


class Clock:
    """Takes a mark at the start and at the end of every part.

    On a GPU marks are events: nothing waits for the device until somebody asks.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: dict[Hashable, list[Any]] = {}

    def mark(self, part: Hashable) -> None:
        """The part begins, or ends. Scales go by their numbers, a source picture by ``SOURCE``."""
        if self.device.type == "cuda":
            mark = torch.cuda.Event(enable_timing=True)
            mark.record(torch.cuda.current_stream(self.device))
        else:
            mark = time.perf_counter()
        self._marks.setdefault(part, []).append(mark)

    def seconds(self, part: Hashable) -> float:
        """Between the part's two marks; 0 where it was not run. Waits for the device."""
        marks = self._marks.get(part, ())
        if len(marks) != 2:
            return 0.0
        start, stop = marks
        if self.device.type != "cuda":
            return stop - start
        stop.synchronize()
        return start.elapsed_time(stop) / 1000

    def timed(self, report: RunReport) -> RunReport:
        """The report with times in it. Waits for the device."""
        scales: tuple[ScaleReport, ...] = tuple(
            dataclasses.replace(s, seconds=self.seconds(s.index)) for s in report.scales
        )
        total, source = sum(s.seconds for s in scales), report.source
        if source is not None:
            source = dataclasses.replace(source, seconds=self.seconds(SOURCE))
            total += source.seconds
        return dataclasses.replace(report, scales=scales, source=source,
                                   seconds={**report.seconds, "scales": total})
