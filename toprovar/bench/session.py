"""From a model on its device to the finished result."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from ..schedules import ScaleSchedule
from .machine import describe_machine, describe_versions, word
from .measure import ENOUGH, Bench, Drawn, Limit, Measured, prompts_for
from .result import BenchResult, Conditions, Picture, Pictures, Runs, Subject
from .spread import Interval, interval_of, relative_spread
from .subjects import Loaded, parameters

FEWEST = 4
"""Rounds from which on their spread is told."""
UNSTEADY = 0.1
"""The middle half of the times over their median, from which on a machine counts as busy."""
OTHERS = 0.15
"""Of all cores, that other programs may use on a quiet machine."""


def bench(loaded: Loaded, schedule: ScaleSchedule, limit: Limit,
          told: Callable[[str], object] = lambda line: None, enough: int = ENOUGH) -> BenchResult:
    """Measure a model that was loaded since the limit began.

    Raises:
        ValueError: the time was over before there was a first picture of each kind.
    """
    load_seconds = limit.used
    measured = Bench(loaded.pipeline, schedule, prompts_for(loaded.words), limit, told).run(enough)
    return result_of(loaded, schedule, measured, limit, load_seconds)


def result_of(loaded: Loaded, schedule: ScaleSchedule, measured: Measured, limit: Limit,
              load_seconds: float) -> BenchResult:
    """Everything that was measured, in the form of the file."""
    rounds, machine = measured.settled, describe_machine(loaded.device)
    every = [dense.seconds for dense, _ in measured.rounds]
    spread = relative_spread(every) if len(every) >= FEWEST else None
    others = measured.other_cores
    return BenchResult(
        date=datetime.date.today().isoformat(), versions=describe_versions(loaded.device),
        machine=machine, subject=_subject(loaded, schedule),
        dense=_runs(measured.dense, measured.warm_up, [dense for dense, _ in rounds]),
        accelerated=_runs(measured.accelerated, measured.warm_up, [own for _, own in rounds]),
        ratio=_ratio([(dense.seconds, own.seconds) for dense, own in rounds]),
        loop_ratio=_ratio([(dense.scales, own.scales) for dense, own in rounds]),
        conditions=Conditions(
            limit_seconds=limit.seconds, seconds=limit.used, load_seconds=load_seconds,
            rounds=len(measured.rounds), ended="enough" if measured.ended == "enough" else "time",
            busy=unsteady(spread) or crowded(others, machine.cores), spread=spread,
            other_cores=others))


def unsteady(spread: float | None) -> bool:
    """Whether times lie further apart than on a quiet machine."""
    return spread is not None and spread > UNSTEADY


def crowded(other_cores: float | None, cores: int) -> bool:
    """Whether other programs used much of the machine."""
    return other_cores is not None and other_cores > OTHERS * cores


def _subject(loaded: Loaded, schedule: ScaleSchedule) -> Subject:
    pipe, (height, width) = loaded.pipeline, schedule.image_size
    shape = pipe.transformer.shape
    return Subject(
        name=loaded.name, weights=loaded.weights, depth=shape.depth, width=shape.width,
        heads=shape.num_heads, parameters=parameters(pipe), pixels=word(schedule.pn),
        image_height=height, image_width=width,
        dtype=str(pipe.transformer.compute_dtype).removeprefix("torch."),
        guidance=pipe.config["default_cfg"], temperature=pipe.config["default_tau"])


def _runs(drawn: Drawn, warm_up: int, pictures: list[Picture]) -> Runs:
    plan, share = drawn.plans[-1]
    return Runs(plan=word(plan), flop_share=share, first=drawn.pictures[0], warm_up=warm_up,
                pictures=Pictures.of(pictures), peak_bytes=drawn.peak_bytes,
                memory=word(drawn.memory, 400) if drawn.memory else "")


def _ratio(pairs: list[tuple[float, float]]) -> Interval | None:
    """Of the first over the second of each pair."""
    found = [a / b for a, b in pairs if a > 0 and b > 0]
    return interval_of(found) if found else None
