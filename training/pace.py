"""How far a run is, and the learning rate that belongs there."""

from __future__ import annotations

import math
import time


class Pace:
    """Progress of a run, by the clock or by steps.

    A run may be cut into legs: a leg goes from ``start`` to ``until`` (shares of the whole run),
    so that the learning rate continues where the last leg left it and ends annealed.

    Args:
        minutes: length of this leg by the clock.
        steps: length of the whole run in steps; 0 = by the clock.
        start: progress at which this leg begins.
        until: progress at which it ends.
    """

    def __init__(self, minutes: float, steps: int, start: float = 0.0, until: float = 1.0) -> None:
        if not 0.0 <= start < until <= 1.0:
            raise ValueError(f"a leg must go forward within 0..1, got {start} to {until}")
        self._steps, self._start, self._until = steps, start, until
        self._begin = time.monotonic()
        self._deadline = self._begin + minutes * 60

    def restart_clock(self) -> None:
        """Count from now, up to the same deadline: compiling costs time but no progress."""
        self._begin = time.monotonic()

    def progress(self, step: int) -> float:
        """Share of the whole run that is done after ``step`` steps."""
        if self._steps:
            return min(1.0, step / self._steps)
        span = max(self._deadline - self._begin, 1e-6)
        share = min(1.0, (time.monotonic() - self._begin) / span)
        return self._start + (self._until - self._start) * share

    def finished(self, step: int) -> bool:
        if self._steps:
            return step >= round(self._steps * self._until)
        return time.monotonic() >= self._deadline


def lr_factor(progress: float, steps_warm: int, warmup: int, final: float) -> float:
    """Linear warm-up times a cosine from 1 to ``final`` over the run."""
    warm = min(1.0, (steps_warm + 1) / max(warmup, 1))
    return warm * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
