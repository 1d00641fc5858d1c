"""A stand-in for the art."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 48


def disc(hue: tuple[float, float, float] = (0.9, 0.1, 0.1)) -> Tensor:
    """A disc of one colour, darker downwards, with a gray spot: float [4, 48, 48], 0-1."""
    place = torch.arange(SIDE) + 0.5 - SIDE / 2
    away = (place[:, None].square() + place.square()).sqrt()
    shade = torch.linspace(1.0, 0.7, SIDE)[:, None].expand(SIDE, SIDE)
    rgb = torch.tensor(hue)[:, None, None] * shade
    rgb = torch.where(away < SIDE / 6, torch.full_like(rgb, 0.3), rgb)
    alpha = (SIDE / 2 - 1 - away).clamp(0, 1)
    return torch.cat([rgb * (alpha > 0), alpha[None]])
