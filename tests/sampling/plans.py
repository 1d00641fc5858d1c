"""Plans with given tokens, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from toprovar.models.config import TransformerConfig
from toprovar.schedules import ScaleSchedule
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan
from toprovar.sparsity.selection import Selector

Kept = Mapping[tuple[int, int], Tensor]


def index_plan(shape: TransformerConfig, schedule: ScaleSchedule, kept: Kept, **step: Any
               ) -> SparsityPlan:
    """A plan with the counts of ``kept``: (scale, layer) -> [n] or [R, n]; all where absent."""
    scales = tuple(
        ScalePlan(grid=grid, rule="random", **(step if s else {}), keep=tuple(
            kept[s, layer].shape[-1] if (s, layer) in kept else grid[0] * grid[1]
            for layer in range(shape.depth)
        ))
        for s, grid in enumerate(schedule.grids)
    )
    return SparsityPlan(strategy="indices", model=ModelTag.of(shape), schedule="", scales=scales)


class IndexSelector(Selector):
    """Picks just the given tokens, in the given order."""

    def __init__(self, kept: Kept) -> None:
        self.given = kept

    def select(self, scale: int, layer: int, step: ScalePlan, x: Tensor, entropy: Tensor | None,
               part: int = 0) -> Tensor:
        return self.given[scale, layer]


class ShuffledSelector(Selector):
    """The plan's own tokens, stored in another order."""

    def select(self, scale: int, layer: int, step: ScalePlan, x: Tensor, entropy: Tensor | None,
               part: int = 0) -> Tensor:
        index = super().select(scale, layer, step, x, entropy, part)
        generator = torch.Generator().manual_seed(scale * 100 + layer)
        return index[..., torch.randperm(index.shape[-1], generator=generator)]
