"""Scores of a prompt set: share of fulfilled prompts for each task, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from toprovar.evaluation.compositional.decode import Detection
from toprovar.evaluation.compositional.prompts import TASKS, PromptSpec
from toprovar.evaluation.compositional.tasks import Verdict

_Z = 1.959964
_DRAWS = 2000


@dataclass(frozen=True)
class Result:
    """One picture: its prompt, what was seen on it and the verdict."""

    prompt: PromptSpec
    found: tuple[Detection, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Share:
    """A share of passed pictures with its 95 % interval."""

    passed: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.passed / self.total if self.total else math.nan

    def to_json(self) -> dict[str, Any]:
        return {
            "score": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4),
            "passed": self.passed, "total": self.total,
        }


@dataclass(frozen=True)
class Report:
    """Scores of each task and their mean (each task weighs the same, as in GenEval)."""

    tasks: dict[str, Share]
    overall: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        overall = {"score": self.overall, "low": self.low, "high": self.high}
        return {
            "overall": {name: round(value, 4) for name, value in overall.items()},
            "tasks": {name: share.to_json() for name, share in self.tasks.items()},
        }


def wilson(passed: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    if not 0 <= passed <= total or total < 1:
        raise ValueError(f"{passed} of {total} is no share")
    share, square = passed / total, _Z * _Z
    middle = share + square / (2 * total)
    half = _Z * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    scale = 1 + square / total
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def summarise(results: Sequence[Result], seed: int = 0) -> Report:
    """Scores of ``results``; the mean's interval is a bootstrap within the tasks."""
    if not results:
        raise ValueError("nothing to report: no results")
    generator = torch.Generator().manual_seed(seed)
    tasks: dict[str, Share] = {}
    means = torch.zeros(_DRAWS)
    for task in TASKS:
        marks = [r.verdict.passed for r in results if r.prompt.task == task]
        if not marks:
            continue
        tasks[task] = Share(sum(marks), len(marks), *wilson(sum(marks), len(marks)))
        values = torch.tensor(marks, dtype=torch.float32)
        drawn = torch.randint(len(marks), (_DRAWS, len(marks)), generator=generator)
        means += values[drawn].mean(dim=1)
    low, high = (means / len(tasks)).quantile(torch.tensor([0.025, 0.975])).tolist()
    overall = sum(share.value for share in tasks.values()) / len(tasks)
    return Report(tasks, overall, low, high)
