"""What the detector should say, and how wrong it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from toprovar.evaluation.compositional.detector import Maps
from training.judge.labels import IGNORED, PRESENT, Labels

_SPREAD = 0.07
_NARROWEST = 0.6
_NEAR = 1.5


@dataclass(frozen=True)
class Targets:
    """Maps to be learnt, [B, ..., h, w].

    Attributes:
        heat: 1 at the centres, falling off around them; [B, classes, h, w].
        weight: 0 where the heat does not matter; [B, 1, h, w].
        near: whether a cell is next to a centre and so answers for its object; bool [B, h, w].
        colour, known: of that object; [B, colours, h, w].
        size, offset: of that object; [B, 2, h, w].
    """

    heat: Tensor
    weight: Tensor
    near: Tensor
    colour: Tensor
    known: Tensor
    size: Tensor
    offset: Tensor


def targets_of(labels: Labels, classes: int, cells: int) -> Targets:
    """Targets on a grid of ``cells`` a side."""
    device, rows = labels.cls.device, torch.arange(len(labels), device=labels.cls.device)
    place = torch.arange(cells, device=device) + 0.5
    dx = labels.centre[..., 0, None] * cells - place  # [B, slots, cells]
    dy = labels.centre[..., 1, None] * cells - place
    dx, dy = dx[:, :, None, :], dy[:, :, :, None]
    there = (labels.state == PRESENT)[..., None, None]
    spread = (labels.size.prod(-1).sqrt() * cells * _SPREAD).clamp_min(_NARROWEST)[..., None, None]
    bump = (-(dx.square() + dy.square()) / (2 * spread.square())).exp()
    middle = (dx.abs() <= 0.5) & (dy.abs() <= 0.5)
    bump = torch.where(middle, torch.ones_like(bump), bump.clamp_max(0.95)) * there
    heat = torch.zeros((len(labels), classes, cells, cells), device=device)
    for slot in range(labels.cls.shape[1]):
        own = labels.cls[:, slot]
        heat[rows, own] = torch.maximum(heat[rows, own], bump[:, slot])
    half = labels.size[..., None, None] / 2 * cells
    within = (dx.abs() < half[:, :, 0]) & (dy.abs() < half[:, :, 1])
    doubtful = (within & (labels.state == IGNORED)[..., None, None]).any(1, keepdim=True)

    away = torch.where(there, dx.square() + dy.square(), torch.full_like(bump, torch.inf))
    distance, owner = away.min(1)
    column = ((dx.abs() < _NEAR) & (dy.abs() < _NEAR) & there).gather(1, owner[:, None])
    near = column[:, 0] & distance.isfinite()

    def of(values: Tensor) -> Tensor:
        """Per-slot values [B, slots, K] of each cell's object: [B, K, h, w]."""
        index = owner.flatten(1)[..., None].expand(-1, -1, values.shape[-1])
        return values.gather(1, index).transpose(1, 2).unflatten(2, (cells, cells))

    whole = torch.stack([dx.expand_as(bump), dy.expand_as(bump)], 2)  # [B, slots, 2, h, w]
    index = owner[:, None, None].expand(-1, 1, 2, -1, -1)
    return Targets(
        heat, 1.0 - doubtful.float(), near, of(labels.colour), of(labels.known),
        of(labels.size.clamp_min(1e-3).log()), whole.gather(1, index)[:, 0],
    )


def losses(maps: Maps, targets: Targets) -> dict[str, Tensor]:
    """Mean losses of each part; their sum is what is minimised."""
    heat = maps.heat.float()
    wanted = targets.heat
    centre = wanted == 1.0
    positive = -F.logsigmoid(heat) * (1 - heat.sigmoid()).square() * centre
    negative = F.softplus(heat) * heat.sigmoid().square() * (1 - wanted).pow(4) * ~centre
    count = (centre * targets.weight).sum().clamp_min(1.0)
    near = targets.near[:, None].float()
    cells = near.sum().clamp_min(1.0)
    colour = F.binary_cross_entropy_with_logits(
        maps.colour.float(), targets.colour, reduction="none"
    )
    return {
        "heat": ((positive + negative) * targets.weight).sum() / count,
        "colour": (colour * targets.known * near).sum() / cells,
        "size": ((maps.size.float() - targets.size).abs() * near).sum() / cells,
        "offset": ((maps.offset.float() - targets.offset).abs() * near).sum() / cells * 0.5,
    }
