"""The few plans that ToProVAR planned inside the run chooses among.

A plan of a prompt's own has keep counts that no other prompt has, so nothing that was recorded or
prepared for one picture serves another. A ladder has few rungs for each start scale: profiles of
layer scores (how much a layer may lose) by counts on a coarse grid. The prompt's own figures pick
the rung that is nearest to what they ask for and not dearer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....entropy.schedule_entry import ScheduleEntry
from ...plan import SparsityPlan
from .settings import KeepShare, ToProVarSettings, effective_scores

STEPS = 8
"""Keep counts are multiples of the scale's tokens over this."""
HEIGHTS = (1.0, 0.875, 0.75, 0.625, 0.5)
"""Scores of the middle layers of a profile."""
RAMPS = (1 / 16, 1 / 8, 1 / 4)
"""Shares of the depth at either end that count as Global: early and last layers, as published."""
LEVEL = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125)
"""Scores of profiles whose layers are all alike."""

CLOSE = 0.02
"""Share of what a prompt asks for by which rungs may cost less than the dearest that fits."""

Profile = tuple[float, ...]
"""A score of each layer, 0 = Global, 1 = Detail."""


@dataclass(frozen=True)
class Rung:
    """One plan, and what it is known by.

    Attributes:
        kept: [S, L] tokens that each layer works on.
    """

    profile: Profile
    plan: SparsityPlan
    kept: NDArray[np.float64]

    @staticmethod
    def of(profile: Profile, plan: SparsityPlan) -> Rung:
        return Rung(profile, plan, np.array(plan.counts, dtype=np.float64))


def profiles(depth: int, settings: ToProVarSettings, entry: ScheduleEntry | None = None,
             solved: bool = False) -> tuple[Profile, ...]:
    """The profiles of a model: the calibration's mean scores at a few heights, or without one
    Global ends and a Detail middle; and layers all alike.

    Args:
        solved: a target decides how much is dropped, so that heights are no matter.
    """
    heights = HEIGHTS[:1] if solved else HEIGHTS
    level = [(height,) * depth for height in (LEVEL[:1] if solved else LEVEL)]
    if settings.dimensions == "scale+token":
        return tuple(level[:1])
    if entry is not None:
        mean = effective_scores(settings, entry.layer_scores, entry.layer_classes)
        shaped = [tuple(round(height * score, 4) for score in mean) for height in heights]
    else:
        shaped = [_trapezoid(depth, ramp, height) for ramp in RAMPS for height in heights]
    return tuple(dict.fromkeys([*shaped, *level]))


def _trapezoid(depth: int, ramp: float, height: float) -> Profile:
    ends = max(1, round(depth * ramp)) if depth > 2 else 0
    return tuple(height if ends <= layer < depth - ends else 0.0 for layer in range(depth))


def coarse(share: KeepShare) -> KeepShare:
    """``share`` on the ladder's grid, rounded up, but not to everything."""
    def rounded(scale: int, layer: int) -> float:
        exact = share(scale, layer)
        if exact >= 1:
            return 1.0
        return min(math.ceil(round(exact * STEPS, 6)), STEPS - 1) / STEPS
    return rounded


def nearest(rungs: Sequence[Rung], asked: NDArray[np.float64]) -> Rung:
    """The rung nearest to what a prompt asks for among those that are not dearer; if all are, the
    cheapest.

    What it costs comes first, as leaving more out than was asked for is what pictures lose most by:
    rungs that leave out ``CLOSE`` more than the dearest that fits are not looked at.

    Args:
        asked: [S, L] tokens that each layer would work on. Nearness is the sum of differences,
            dearness the sum of tokens.
    """
    fitting = [r for r in rungs if r.kept.sum() <= asked.sum()]
    if not fitting:
        return min(rungs, key=lambda r: float(r.kept.sum()))
    least = max(r.kept.sum() for r in fitting) - CLOSE * asked.sum()
    close = [r for r in fitting if r.kept.sum() >= least]
    return min(close, key=lambda r: float(np.abs(r.kept - asked).sum()))


def nearest_profile(rungs: Sequence[Rung], scores: Sequence[float]) -> Rung:
    """The rung whose profile differs least from a prompt's scores, where all cost alike."""
    return min(rungs, key=lambda r: sum(abs(a - b) for a, b in
                                        zip(r.profile, scores, strict=True)))
