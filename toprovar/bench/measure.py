"""Dense and accelerated pictures in turn, until there are enough or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ..planning import AUTO, make_plan
from .machine import OtherWork
from .result import Picture

if TYPE_CHECKING:
    from ..pipeline import InfinityPipeline
    from ..sampling.report import RunReport
    from ..schedules import ScaleSchedule

ENOUGH = 30
"""Rounds after which nothing more is learnt."""
WARM_UP = 1
"""Pictures of each kind after its first that are not counted on a GPU: a plan that is made inside a
run is recorded in its second run. Elsewhere nothing is recorded, and only first pictures differ."""
ROOM = 1.15
"""Of the longest picture so far, that must be left for another one to be begun."""
DENSE, ACCELERATED = "dense", "accelerated"


class OutOfTimeError(Exception):
    """The limit came in the middle of a picture."""


class Limit:
    """The time that the whole run may take.

    Args:
        seconds: from ``began`` on; now: a clock.
        kept: of these seconds, kept for the end: a picture's decoder is not interrupted, and
            figures are made.
    """

    def __init__(self, seconds: float, began: float,
                 now: Callable[[], float] = time.perf_counter, kept: float = 0.0) -> None:
        self.seconds, self.began, self.now, self._kept = seconds, began, now, kept

    @property
    def used(self) -> float:
        return self.now() - self.began

    @property
    def left(self) -> float:
        return self.seconds - self._kept - self.used

    def check(self) -> None:
        """To be called often. An ``OutOfTimeError`` ends the picture that is being drawn."""
        if self.left <= 0:
            raise OutOfTimeError


@dataclass
class Drawn:
    """Pictures of one kind.

    Attributes:
        pictures: all of them, the first one and those that are not counted included.
        plans: the name of the plan that each ran, and its share of a dense run's FLOPs.
        memory: how memory was planned for the latest.
        peak_bytes: the most memory of a GPU that counted pictures took.
    """

    pictures: list[Picture] = field(default_factory=list)
    plans: list[tuple[str, float | None]] = field(default_factory=list)
    memory: str = ""
    peak_bytes: int | None = None


@dataclass
class Measured:
    """Everything that was drawn.

    Attributes:
        warm_up: pictures of each kind after the first that are not counted.
        rounds: the counted pictures, pair by pair.
        ended: "enough" rounds, or the "time".
        other_cores: that other programs used during the rounds; None = unknown.
    """

    dense: Drawn
    accelerated: Drawn
    warm_up: int
    rounds: list[tuple[Picture, Picture]]
    ended: str
    other_cores: float | None

    @property
    def settled(self) -> list[tuple[Picture, Picture]]:
        """The rounds since the automatic choice last changed its plan. It may do so once it has
        seen that dense is as fast."""
        first = len(self.accelerated.plans) - len(self.rounds)
        plans = self.accelerated.plans[first:] if self.rounds else []
        same = 0
        while same < len(plans) and plans[-1 - same] == plans[-1]:
            same += 1
        return self.rounds[len(self.rounds) - same :]


class Bench:
    """Draws pictures as a user gets them: default settings, every picture with a new prompt and a
    new seed, one at a time.

    Args:
        prompts: without end; limit: of the whole run; told: is called with a line before each step.
    """

    def __init__(self, pipeline: InfinityPipeline, schedule: ScaleSchedule, prompts: Iterator[str],
                 limit: Limit, told: Callable[[str], object] = lambda line: None) -> None:
        self.pipeline, self.schedule, self.limit = pipeline, schedule, limit
        self.drawn = {DENSE: Drawn(), ACCELERATED: Drawn()}
        self._prompts, self._told = prompts, told
        self._seed = 0

    def run(self, enough: int = ENOUGH) -> Measured:
        """First pictures, warm-up, and rounds in changing order.

        Raises:
            ValueError: the time was over before there was a first picture of each kind.
        """
        rounds: list[tuple[Picture, Picture]] = []
        wanted = WARM_UP if self.pipeline._execution_device.type == "cuda" else 0
        warm_up, ended = 0, "enough"
        others = OtherWork(self.limit.now)
        try:
            for kind in (ACCELERATED, DENSE):  # the default run first, as a user meets it
                self._told(f"first picture, {kind}")
                self._picture(kind)
            while warm_up < wanted and self._time_for(2):
                self._told("warm-up")
                for kind in (ACCELERATED, DENSE):
                    self._picture(kind)
                warm_up += 1
            self._reset_peak()
            others = OtherWork(self.limit.now)
            while len(rounds) < enough:
                if warm_up < wanted or not self._time_for(2):
                    ended = "time"
                    break
                self._told(f"round {len(rounds) + 1}")
                order = (DENSE, ACCELERATED) if len(rounds) % 2 == 0 else (ACCELERATED, DENSE)
                found = {kind: self._picture(kind) for kind in order}
                rounds.append((found[DENSE], found[ACCELERATED]))
        except OutOfTimeError:
            ended = "time"
        if not all(drawn.pictures for drawn in self.drawn.values()):
            missing = next(kind for kind in (ACCELERATED, DENSE) if not self.drawn[kind].pictures)
            raise ValueError(
                f"not one {missing} picture was finished within the {self.limit.seconds:g} s that "
                "the whole run may take: choose smaller pictures (--pn 0.06M), a smaller model, or "
                "a moment when other programs rest")
        other_cores, counted = others.cores(), len(rounds)
        for drawn in self.drawn.values():  # a round that was cut off may have left a picture
            del drawn.pictures[1 + warm_up + counted :], drawn.plans[1 + warm_up + counted :]
        return Measured(self.drawn[DENSE], self.drawn[ACCELERATED], warm_up, rounds, ended,
                        other_cores)

    def _time_for(self, pictures: int) -> bool:
        """Whether so many more can be drawn. First pictures, in which kernels are compiled, say
        little of what comes next: they count until there are others."""
        every = [[one.seconds for one in drawn.pictures] for drawn in self.drawn.values()]
        later = [seconds for own in every for seconds in own[1:]]
        return self.limit.left > ROOM * pictures * max(later or [own[0] for own in every])

    def _picture(self, kind: str) -> Picture:
        pipe, drawn = self.pipeline, self.drawn[kind]
        self.limit.check()
        prompt = next(self._prompts)
        _wait(pipe)
        began = self.limit.now()
        plan = None if kind == DENSE else make_plan(pipe, AUTO, self.schedule)
        self._seed += 1
        report = pipe(prompt, seed=self._seed, plan=plan, schedule=self.schedule,
                      check=self.limit.check).report
        _wait(pipe)
        seconds = self.limit.now() - began
        parts = report.seconds
        found = Picture(seconds=seconds, text=parts.get("text", 0.0),
                        scales=parts.get("scales", 0.0), decode=parts.get("decode", 0.0))
        drawn.pictures.append(found)
        drawn.plans.append(_plan_of(report))
        drawn.memory = report.memory
        device = pipe._execution_device
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
            drawn.peak_bytes = max(drawn.peak_bytes or 0, peak)
            torch.cuda.reset_peak_memory_stats(device)
        return found

    def _reset_peak(self) -> None:
        """Forget what first pictures took."""
        for drawn in self.drawn.values():
            drawn.peak_bytes = None


def _plan_of(report: RunReport) -> tuple[str, float | None]:
    """(strategy, share of a dense run's FLOPs)"""
    plan = report.used_plan
    if plan is None or plan.dense:
        return DENSE, 1.0
    return plan.strategy, plan.predicted.flop_share if plan.predicted else None


def _wait(pipeline: Any) -> None:
    device = pipeline._execution_device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def prompts_for(words: Sequence[str] | None) -> Iterator[str]:
    """Prompts without end: the sentences of the embedded model's set, or, for a tokenizer that
    knows nothing but ``words``, rows of them of 20 to 60 words."""
    number = 0
    if words is None:
        from ..evaluation.compositional.prompts import bundled_prompts

        every = [spec.text for spec in bundled_prompts()]
        while True:
            yield every[7 * number % len(every)]  # neighbours in the set are alike
            number += 1
    while True:
        length = 20 + 13 * number % 41
        yield " ".join(words[(11 * number + 3 * i) % len(words)] for i in range(length))
        number += 1
