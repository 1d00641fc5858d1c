"""Times of whole pictures and of their stages, by device events, runs of several in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any, Protocol

import torch

from benchmarks.machine import synchronise


class Clock:
    """Marks between the stages of one picture: events on a GPU, the wall clock elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: list[tuple[str, Any]] = []
        self.mark("start")

    def mark(self, stage: str) -> None:
        """``stage`` ends here. Waits for nothing."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append((stage, event))
        else:
            self._marks.append((stage, time.perf_counter()))

    def stages(self) -> dict[str, float]:
        """Seconds of each stage, by name."""
        synchronise(self.device)
        found: dict[str, float] = {}
        for (_, before), (stage, after) in zip(self._marks, self._marks[1:], strict=False):
            seconds = after - before if self.device.type != "cuda" else (
                before.elapsed_time(after) / 1e3)
            found[stage] = found.get(stage, 0.0) + seconds
        return found


class Contender(Protocol):
    """Something that makes pictures.

    Attributes:
        name: in the tables.
        notes: what the last picture had to say for itself.
    """

    name: str
    notes: tuple[str, ...]

    def picture(self, clock: Clock) -> None:
        """One batch, prompt to uint8 in the host's memory; marks "text", "scale 0" ... "decode"."""
        ...


def once(contender: Contender, device: torch.device) -> tuple[float, dict[str, float]]:
    """Wall seconds of one picture, and its stages."""
    synchronise(device)
    started = time.perf_counter()
    clock = Clock(device)
    contender.picture(clock)
    synchronise(device)
    return time.perf_counter() - started, clock.stages()


def warm_up(contender: Contender, device: torch.device) -> dict[str, Any]:
    """The first picture (whatever must be compiled or recorded is in it), and the peak of a
    second one: in all, and above what was there before the first (weights, above all)."""
    if device.type != "cuda":
        first, _ = once(contender, device)
        once(contender, device)  # a plan that is made inside the run is recorded in the second
        return {"first_seconds": first}
    before = torch.cuda.memory_allocated(device)
    first, _ = once(contender, device)
    torch.cuda.reset_peak_memory_stats(device)
    once(contender, device)
    peak = torch.cuda.max_memory_allocated(device)
    return {"first_seconds": first, "peak_bytes": peak, "run_bytes": peak - before}


def in_turn(contenders: Sequence[Contender], device: torch.device, rounds: int
            ) -> list[dict[str, Any]]:
    """Times of contenders that are warm, in turn (A B C, A B C, ...).

    Returns:
        for each: the median wall seconds and those of each round, the median seconds of its
        stages, and the median of the ratios to the first contender's time in the same round.
    """
    walls: list[list[float]] = [[] for _ in contenders]
    stages: list[list[dict[str, float]]] = [[] for _ in contenders]
    for _ in range(rounds):
        for i, contender in enumerate(contenders):
            seconds, parts = once(contender, device)
            walls[i].append(seconds)
            stages[i].append(parts)
    return [{
        "name": contender.name, "seconds": median(own), "rounds": own,
        "stages": {stage: median(part[stage] for part in parts) for stage in parts[0]},
        "faster_than_first": median(a / b for a, b in zip(walls[0], own, strict=True)),
    } for contender, own, parts in zip(contenders, walls, stages, strict=True)]


def loop_seconds(stages: dict[str, float]) -> float:
    """Of all scales together."""
    return sum(seconds for stage, seconds in stages.items() if stage.startswith("scale"))
