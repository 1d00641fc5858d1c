"""Selection in plain torch: one stable sort gives every token a rank, the rest is about ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..minimum import tokens_required
from .layers import LayerCounts


def select(
    scores: Tensor, grid: tuple[int, int], count: int, region: int, min_per_region: int
) -> Tensor:
    """As ``select_tokens``, whose checks have been made."""
    scores = scores.masked_fill(scores.isnan(), -torch.inf)
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    required = tokens_required(grid, region, min_per_region)
    if not required:
        return order[..., :count].sort(dim=-1).values
    total = scores.shape[-1]
    ranks = torch.empty_like(order)
    ranks.scatter_(-1, order, torch.arange(total, device=order.device).expand_as(order))
    # Best ranks of every region; places beyond the map's edge have the rank N.
    h, w = grid
    tiled = F.pad(ranks.unflatten(-1, (h, w)), (0, -w % region, 0, -h % region), value=total)
    tiled = tiled.unflatten(-1, (-1, region)).unflatten(-3, (-1, region)).transpose(-3, -2)
    best = tiled.flatten(-2).topk(min(min_per_region, region * region), largest=False).values
    due = torch.zeros(*scores.shape[:-1], total + 1, dtype=torch.bool, device=scores.device)
    due = due.scatter_(-1, best.flatten(-3), True)[..., :total]  # by rank
    free = ~due
    kept = due | (free.cumsum(-1) <= count - required)
    return torch.where(kept, order, total).sort(dim=-1).values[..., :count]


def select_in_layers(
    scores: Tensor, grid: tuple[int, int], counts: LayerCounts, region: int, min_per_region: int
) -> list[Tensor]:
    """As ``layers.select_in_layers``, whose checks have been made: layers that keep equally many
    are sorted together."""
    found: dict[int, Tensor] = {}
    for count in set(counts.each):
        layers = [layer for layer, own in enumerate(counts.each) if own == count]
        together = torch.stack([scores[layer] for layer in layers])
        picked = select(together, grid, count, region, min_per_region)
        found.update(zip(layers, picked, strict=True))
    return [found[layer] for layer in range(len(counts.each))]
