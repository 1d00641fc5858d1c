"""From maps to detections: peaks of the heatmaps, and no two boxes on one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from toprovar.evaluation.compositional.detector import Maps

Box = tuple[float, float, float, float]
_MOST = 32


@dataclass(frozen=True)
class Detection:
    """One object.

    Attributes:
        cls: its class.
        colour: its colour, None where no colour word fits.
        score: how sure the class and place are, 0-1.
        box: left, top, right, bottom as shares of the picture's sides.
    """

    cls: str
    colour: str | None
    score: float
    box: Box

    @property
    def centre(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height."""
        left, top, right, bottom = self.box
        return right - left, bottom - top


@dataclass(frozen=True)
class Thresholds:
    """Fixed when the judge is trained, never afterwards.

    Attributes:
        score: least score of a detection.
        colour: least probability of its colour.
        overlap: of two boxes that share more than this (intersection over union) only the surer
            one stays, whatever their classes.
        position_margin: share of the two objects' mean extent by which a relation's offset is
            shortened before it counts.
        position_share: least share of the remaining offset that must lie along the relation.
    """

    score: float = 0.35
    colour: float = 0.5
    overlap: float = 0.5
    position_margin: float = 0.2
    position_share: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"threshold {name} must lie in 0-1, got {value}")


def decode(
    maps: Maps, classes: Sequence[str], colours: Sequence[str], thresholds: Thresholds
) -> list[list[Detection]]:
    """Detections of every picture, surest first."""
    heat = maps.heat.float().sigmoid()
    best, cls = heat.max(dim=1)
    peak = best == F.max_pool2d(best[:, None], 3, stride=1, padding=1)[:, 0]
    width = best.shape[-1]
    scores, places = torch.where(peak, best, torch.zeros_like(best)).flatten(1).topk(
        min(_MOST, best[0].numel())
    )
    colour = _at(maps.colour.float().sigmoid(), places)
    size = _at(maps.size.float(), places).exp().clamp(0.01, 1.5)
    offset = _at(maps.offset.float(), places).clamp(-1.5, 1.5)
    cell = torch.stack([places % width, places // width], dim=-1).float()
    centre = (cell + 0.5 + offset) / width
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=-1).clamp(0.0, 1.0)
    named = cls.flatten(1).gather(1, places)
    sure, tint = colour.max(dim=-1)
    out = []
    columns: list[list[Any]] = [c.tolist() for c in (scores, named, sure, tint, boxes)]
    for picture in zip(*columns, strict=True):
        rows = zip(*picture, strict=True)
        found = [
            Detection(
                classes[int(c)], colours[int(t)] if p >= thresholds.colour else None, s, _box(b)
            )
            for s, c, p, t, b in rows
            if s >= thresholds.score
        ]
        out.append(suppress(found, thresholds.overlap))
    return out


def _box(values: Sequence[float]) -> Box:
    left, top, right, bottom = values
    return left, top, right, bottom


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Values [B, K, h, w] at flat places [B, N]: [B, N, K]."""
    flat = values.flatten(2)
    index = places[:, None].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).transpose(1, 2)


def suppress(found: Sequence[Detection], overlap: float) -> list[Detection]:
    """Surest first, without those that lie on a surer one."""
    kept: list[Detection] = []
    for candidate in sorted(found, key=lambda d: -d.score):
        if all(shared(candidate.box, other.box) <= overlap for other in kept):
            kept.append(candidate)
    return kept


def shared(a: Box, b: Box) -> float:
    """Intersection over union."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    inside = wide * high
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inside / (areas - inside)
