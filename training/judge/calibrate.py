"""Choosing the judge's thresholds, on pictures that were composed for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from toprovar.evaluation.compositional.decode import Detection, Thresholds, decode
from toprovar.evaluation.compositional.detector import Maps
from toprovar.evaluation.compositional.judge import Judge
from training.judge.augment import Augment
from training.judge.pictures import CALIBRATION_SEED, mixed
from training.judge.spoilt import SpoiltAtlas
from training.judge.stream import Mixture
from training.judge.truth import Truth, tally

_SCORES = tuple(round(0.10 + 0.025 * step, 3) for step in range(27))
_COLOURS = tuple(round(0.10 + 0.05 * step, 2) for step in range(15))
_AS_GOOD = 0.001
"""Thresholds whose figure is this near the best one count as equal; the middle one is taken."""


def calibrate(
    judge: Judge, sprites: SpoiltAtlas, augment: Augment, mixture: Mixture, count: int
) -> Judge:
    """The same judge with thresholds that suit clean and spoilt pictures alike.

    The rules' own constants (overlap, position) are GenEval's and stay as they are.
    """
    maps: list[Maps] = []
    truths: list[list[Truth]] = []
    size = judge.detector.config.input_size
    sprites = sprites.twin()
    for place, spoil in enumerate((None, augment)):
        pictures = mixed(count, CALIBRATION_SEED + place * 100, sprites, spoil, mixture, size)
        maps.append(judge.maps(pictures.images))
        truths += pictures.truths
    both = Maps(*(torch.cat(c) for c in zip(
        *((m.heat, m.colour, m.size, m.offset) for m in maps), strict=True
    )))

    def seen(limits: Thresholds) -> list[list[Detection]]:
        return decode(both, judge.classes, judge.colours, limits)

    limits = judge.thresholds
    curve = {s: tally(seen(replace(limits, score=s)), truths).f1 for s in _SCORES}
    limits = replace(limits, score=_middle(list(curve), list(curve.values())))
    tints = {
        c: tally(seen(replace(limits, colour=c)), truths).colour_accuracy for c in _COLOURS
    }
    limits = replace(limits, colour=_middle(list(tints), list(tints.values())))
    about: dict[str, Any] = {
        **judge.about,
        "calibration": {
            "pictures": len(truths),
            "f1_by_score": {str(k): round(v, 4) for k, v in curve.items()},
            "colour_accuracy_by_threshold": {str(k): round(v, 4) for k, v in tints.items()},
            "chosen": tally(seen(limits), truths).summary(),
        },
    }
    return replace(judge, thresholds=limits, about=about)


def _middle(options: Sequence[float], figures: Sequence[float]) -> float:
    """The middle one of those options that do about as well as the best."""
    best = max(figures)
    good = [o for o, f in zip(options, figures, strict=True) if f >= best - _AS_GOOD]
    return good[len(good) // 2]
