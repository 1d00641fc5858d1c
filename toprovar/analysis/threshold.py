"""Which threshold on rho, crossed which way, tells the scales that may be pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..entropy.statistics import Crossing, start_scale

PUBLISHED_TAU = 0.4
FEWEST_CASES = 5
"""Prunable and unprunable cases that there must be of each, for a rule to be fitted to them."""
STEPS = tuple(i / 100 for i in range(5, 96))


@dataclass(frozen=True)
class ThresholdFit:
    """The best rule.

    Attributes:
        accuracy: balanced accuracy of "from the crossing on, pruning does no harm", over images
            and scales; None when (nearly) all may be pruned, or none, so that there is nothing to
            tell apart. ``tau`` is the published one then, and the direction that of rho's trend.
        by_scale: the best that one start scale for all images of a schedule can do.
    """

    tau: float
    direction: Crossing
    accuracy: float | None
    by_scale: float | None


def fit_threshold(rhos: Sequence[Tensor], fine: Sequence[Tensor], tried: Sequence[Sequence[int]]
                 ) -> ThresholdFit:
    """Try every tau in steps of 0.01, both ways.

    Args:
        rhos: [P, S] of each schedule, NaN allowed.
        fine: [P, S] bool of each schedule: pruning from this scale on does no harm.
        tried: the scales of each schedule for which that is known; the rule is asked from the
            first of them on, and judged by them.
    """
    truth = torch.cat([f[:, list(t)].flatten() for f, t in zip(fine, tried, strict=True)])
    if min(int(truth.sum()), int((~truth).sum())) < FEWEST_CASES:
        return ThresholdFit(PUBLISHED_TAU, _trend(rhos), None, None)
    best: dict[tuple[Crossing, float], float] = {}
    for direction in ("rising", "falling"):
        for tau in STEPS:
            said = torch.cat([
                _said([start_scale(row.tolist(), tau, direction, min(t)) for row in r], t)
                for r, t in zip(rhos, tried, strict=True) if len(t)
            ])
            best[direction, tau] = balanced_accuracy(said, truth)
    top = max(best.values())
    winners = [key for key, value in best.items() if value >= top - 1e-12]
    # Of a run of equals the middle one, farthest from where it would start to fail.
    direction, tau = winners[len(winners) // 2]
    # Balanced accuracy is a sum over cases, so that each schedule's best start can be sought alone.
    weights = 1 / (2 * truth.sum()), 1 / (2 * (~truth).sum())
    by_scale = 0.0
    for f, t in zip(fine, tried, strict=True):
        known = f[:, list(t)].flatten()
        said = [_said([start] * len(f), t) for start in (*t, None)]
        by_scale += max((float((weights[0] * (s & known) + weights[1] * (~s & ~known)).sum())
                         for s in said), default=0.0)
    return ThresholdFit(tau, direction, top, by_scale)


def _said(starts: Sequence[int | None], tried: Sequence[int]) -> Tensor:
    """[P T] bool: scale is at or behind the image's start."""
    return torch.tensor([start is not None and scale >= start
                         for start in starts for scale in tried])


def balanced_accuracy(said: Tensor, truth: Tensor) -> float:
    """Mean of the shares of true and of false cases that were told right; 0.5 = chance."""
    return float((said[truth].double().mean() + (~said[~truth]).double().mean()) / 2)


def _trend(rhos: Sequence[Tensor]) -> Crossing:
    """Where rho goes from the first half of the scales to the second."""
    rho = max(rhos, key=lambda r: r.shape[1])
    half = rho.shape[1] // 2
    falls = float(rho[:, half:].nanmean() - rho[:, :half].nanmean()) < 0
    return "falling" if falls else "rising"
