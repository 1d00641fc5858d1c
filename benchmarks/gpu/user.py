"""Pictures as somebody makes them: default settings, new prompts and seeds, one after the other.

What a preset can do is in ``strategies``. Here every picture is asked for as the nodes and the
command line ask for it: the plan by name, budget or speed-up, no option of the engine touched,
random numbers drawn on the host. Each way draws ``PICTURES`` pictures; the median of the third to
the last is held against dense pictures drawn right after them. The first one is what a user waits
for once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from benchmarks.gpu import trace
from benchmarks.gpu.engine import Plan
from benchmarks.gpu.models import WORDS, Subject
from benchmarks.gpu.results import Results
from benchmarks.gpu.timing import Clock, Contender
from benchmarks.machine import synchronise
from toprovar.planning import make_plan
from toprovar.sampling.params import EngineOptions
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

PICTURES = 8
STEADY = 2
"""Pictures before those that count."""
LENGTHS = (40, 24, 57, 160, 33, 21, 48, 29)
"""Text tokens of the prompts."""
LIMIT = 1.02
"""Of dense's time: what no default may exceed."""
FIRST = 3.0
"""Seconds that a first picture may take more than a warm eager dense one."""
TARGETS = {("2b", "no plan connected"): 0.150, ("2b", "budget 0.3"): 0.130,
           ("8b", "no plan connected"): 0.400}
"""Set beforehand, seconds a picture on one H100, 1024 px."""

Make = Callable[[], Plan]


class Person(Contender):
    """Somebody who draws one picture after the other.

    Args:
        make: the plan of a picture. Planner nodes and files hold one plan: ``held``; without one
            connected it is made for every picture.

    Attributes:
        seconds: wall time of each picture, prompt to PIL picture; loops: of its scale loop.
        report: of the latest.
    """

    def __init__(self, name: str, subject: Subject, make: Make, held: bool = True,
                 options: EngineOptions | None = None, first_seed: int = 0) -> None:
        self.name, self.subject, self.options = name, subject, options
        self.notes: tuple[str, ...] = ()
        self.seconds: list[float] = []
        self.loops: list[float] = []
        self.replayed: list[int] = []
        self.report: Any = None
        self._make, self._held, self._plan = make, held, None
        self._drawn = first_seed

    def picture(self, clock: Clock | None = None) -> None:
        own, device = self.subject, self.subject.device
        synchronise(device)
        began = time.perf_counter()
        if self._plan is None or not self._held:
            self._plan = self._make()
        done = own.pipeline(prompt(self._drawn), seed=1000 + self._drawn, plan=self._plan,
                            schedule=own.schedule, options=self.options)
        synchronise(device)
        self.seconds.append(time.perf_counter() - began)
        self._drawn += 1
        self.report = done.report
        self.notes = done.report.notes
        self.loops.append(done.report.seconds["scales"])
        self.replayed.append(done.report.replayed_scales)


def prompt(number: int) -> str:
    """The prompt of a picture; no two of a row are alike."""
    count = LENGTHS[number % len(LENGTHS)] - 1
    return " ".join(WORDS[(11 * number + 3 * j) % len(WORDS)] for j in range(count))


def ways(subject: Subject) -> dict[str, tuple[Make, bool]]:
    """Every way to ask for a picture, and whether its plan is held from picture to picture."""
    pipe, schedule = subject.pipeline, subject.schedule

    def plan(name: str, **more: Any) -> Make:
        return lambda: make_plan(pipe, name, schedule, **more)

    paper = ToProVarSettings(dropped="identity")
    return {
        "no plan connected": (plan("auto"), False),
        "budget 0.3": (plan("toprovar", budget=0.3), True),
        "speed-up 2": (plan("toprovar", speedup=2.0), True),
        "toprovar": (plan("toprovar"), True),
        "fastvar": (plan("fastvar"), True),
        "skipvar": (plan("skipvar"), True),
        "fastervar": (plan("fastervar"), True),
        "stop": (plan("stop"), True),
        "ldpruning": (plan("ldpruning"), True),
        "window": (plan("window"), True),
        "scalekv": (plan("scalekv"), True),
        "planned in the run as published": (plan("toprovar", settings=paper), True),
        "the same, budget 0.5": (plan("toprovar", settings=paper, budget=0.5), True),
        "the same, counts not from the ladder": (
            plan("toprovar", settings=paper.model_copy(update={"ladder": False})), True),
    }


OWN_DEFAULT = ("no plan connected", "budget 0.3", "speed-up 2", "toprovar", "fastvar", "skipvar",
               "fastervar", "stop", "ldpruning", "window")
"""Rows that must not exceed ``LIMIT``."""


def run_user(results: Results, found: dict[str, Any], subject: Subject,
             only: Sequence[str] = ()) -> None:
    """Every way on one model."""
    found |= {"model": subject.name, "pn": subject.schedule.pn, "rows": []}
    device = subject.device
    eager = Person("dense, eager", subject, lambda: None, options=EngineOptions(graphs=False))
    for _ in range(4):
        eager.picture()
    found["eager_dense_seconds"] = median(eager.seconds[1:])
    dense = Person("dense", subject, lambda: None)
    todo = [("no plan connected", Person("no plan connected", subject, *ways(subject)[
        "no plan connected"])), ("dense", dense)]
    todo += [(name, Person(name, subject, make, held))
             for name, (make, held) in ways(subject).items() if name != "no plan connected"]
    warm_dense = Person("dense beside", subject, lambda: None, first_seed=500)
    for name, person in todo:
        if (only and name not in only) or not results.may_begin(f"{subject.name}: {name}"):
            continue
        with results.attempt(f"{subject.name}: {name}"):
            for _ in range(PICTURES):
                person.picture()
            warm_dense.seconds.clear()
            for _ in range(4 if len(warm_dense.loops) else 6):  # the first two record it
                warm_dense.picture()
            found["rows"].append(row := told(person, warm_dense.seconds[-4:], found, device))
            print(f"  {subject.name} {name:40} first {row['first_seconds']:6.2f} s, then "
                  f"{row['seconds'] * 1e3:8.1f} ms, dense {row['dense_seconds'] * 1e3:8.1f}, busy "
                  f"{row['busy_seconds'] * 1e3:8.1f}, {row['replayed_scales']} replayed of "
                  f"{row['scales']}, {row['host_launches']} launches", flush=True)
        results.save()


def told(person: Person, dense: Sequence[float], found: dict[str, Any], device: torch.device
         ) -> dict[str, Any]:
    """One row."""
    seconds = list(person.seconds)
    steady = median(seconds[STEADY:])
    report = person.report
    traced = trace.record(person, device)
    scales = sum(s.run for s in report.scales)
    return {
        "name": person.name, "pictures": seconds, "first_seconds": seconds[0],
        "first_over_eager": seconds[0] - found["eager_dense_seconds"],
        "seconds": steady, "loop_seconds": median(person.loops[STEADY:PICTURES]),
        "dense_seconds": median(dense), "of_dense": steady / median(dense),
        "replayed": list(person.replayed[:PICTURES]),
        "replayed_scales": report.replayed_scales, "scales": scales,
        "flop_share": _flop_share(report), "notes": list(report.notes),
        "plan": report.used_plan.strategy if report.used_plan else None,
        "dense_foreseen": None if report.dense_measured else report.dense_seconds,
        **{key: traced[key] for key in ("busy_seconds", "launches", "host_launches")},
    }


def _flop_share(report: Any) -> float | None:
    plan = report.used_plan
    return plan.predicted.flop_share if plan is not None and plan.predicted else None


def verdicts(section: str, found: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """(section, what, aim, measured, met) of the promises; times in ms are promised for models of
    the released shapes, with Triton."""
    rows = {row["name"]: row for row in found["rows"]}
    told_: list[tuple[str, str, str, str, str]] = []
    for (model, name), aim in TARGETS.items():
        if model == section and found["pn"] == "1M" and name in rows:
            took = rows[name]["seconds"]
            told_.append((section, name, f"{aim * 1e3:.0f} ms", f"{took * 1e3:.0f} ms",
                          "yes" if took <= aim else "no"))
    kept = [rows[name] for name in OWN_DEFAULT if name in rows]
    if kept:
        worst = max(kept, key=lambda row: row["of_dense"])
        told_.append((section, f"slowest default ({worst['name']}) to dense",
                      f"{LIMIT:.2f} x", f"{worst['of_dense']:.2f} x",
                      "yes" if worst["of_dense"] <= LIMIT else "no"))
    if "no plan connected" in rows:
        more = rows["no plan connected"]["first_over_eager"]
        told_.append((section, "first picture over a warm eager dense one",
                      f"{FIRST:.1f} s", f"{more:.2f} s", "yes" if more <= FIRST else "no"))
    return told_

