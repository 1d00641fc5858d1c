"""Updates and residuals that later scales of a run read, and when they may be freed."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sparsity.compiled import CompiledPlan
from ..sparsity.scale_plan import ScalePlan
from .memory import Grid, Kept, Room

WHOLE = -1
"""In place of a sub-layer's number: the update of the whole block."""
AFTER = -2
"""And: the residual after the block, for a later scale's shortcuts and mixtures."""


class KeptUpdates:
    """What one run keeps of its scales.

    Args:
        room: where it is written.
        dtype: of updates; None = that of what is kept.

    Attributes:
        known: by layer, (scale, part) -> [R, N, C] and its grid.
    """

    def __init__(self, room: Room, dtype: torch.dtype | None) -> None:
        self._room, self._dtype = room, dtype
        self.known: dict[int, Kept] = {}

    def place(self, scale: int, layer: int, part: int, like: Tensor, grid: Grid,
              whole: bool = False) -> Tensor:
        """Where to write what a later scale needs, of the shape of ``like``.

        Args:
            whole: keep the precision of ``like``.
        """
        dtype = like.dtype if whole else self._dtype or like.dtype
        room = self._room(("update", scale, layer, part), like, dtype)
        self.known.setdefault(layer, {})[scale, part] = (room, grid)
        return room

    def of(self, scale: int, layer: int, part: int, step: ScalePlan, rows: int
           ) -> tuple[Tensor, Grid]:
        """What an earlier ``scale`` left, of the ``rows`` that the scale of ``step`` runs."""
        known, grid = self.known[layer][scale, part]
        return (known[:rows] if step.conditional else known[-rows:]), grid

    def still_needed(self, plan: CompiledPlan, scale: int, layer: int, stores: bool = False
                     ) -> set[tuple[int, int]]:
        """What is known of a layer and needed after ``scale``: (scale, part).

        Args:
            stores: whether this scale's update may be needed by a plan still to be made.
        """
        needed = plan.needed_after(scale, layer)
        updates = needed.updates | {scale} if stores else needed.updates
        return {key for key in self.known.get(layer, ())
                if key[0] in (needed.residuals if key[1] == AFTER else updates)}
