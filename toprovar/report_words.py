"""A run's time in words, held against a dense run's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sampling.report import RunReport


def loop_seconds(run: RunReport) -> float:
    """Of this run's scale loop, with a source picture's pass; ``seconds`` of a pipeline's first
    report has those of all runs."""
    source = 0.0 if run.source is None else run.source.seconds
    return sum(s.seconds for s in run.scales) + source


def told_time(run: RunReport) -> str:
    """Such as "0.153 s in the scale loop, 1.70 x as fast as dense (0.260 s, measured)"."""
    own = loop_seconds(run)
    said = f"{own:.3f} s in the scale loop"
    if run.dense_seconds is None or not own:
        return said
    times = round(run.dense_seconds / own, 2)
    slower = "slower than dense: " if times < 1 else ""
    how = "measured" if run.dense_measured else "estimated from this run's full scales"
    said += f", {slower}{times:.2f} x as fast as dense ({run.dense_seconds:.3f} s, {how})"
    if run.recorded_scales:
        said += (f"; {run.recorded_scales} scales were recorded for later runs, which takes time "
                 "once")
    return said
