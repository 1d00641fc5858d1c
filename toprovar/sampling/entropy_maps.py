"""Entropies of a run: the latest map of each layer, for choosing tokens and for those who watch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops.resize_tokens import resize_map
from ..sparsity.compiled import BlockStep, ScaleStep
from ..sparsity.plan_state import PlanState
from .memory import EntropyListener, Found, Grid, Room


class EntropyMaps:
    """The maps of one run.

    Args:
        plan_state: gets what it wants for a plan still to be made; watch: likewise, for others.
        room: where they are written.

    Attributes:
        latest: per layer, entropies [B, N] and their grid.
        found: what was measured since it was last handed on.
    """

    def __init__(self, plan_state: PlanState, watch: EntropyListener | None, room: Room) -> None:
        self.plan_state, self.watch, self._room = plan_state, watch, room
        self.latest: dict[int, tuple[Tensor, Grid]] = {}
        self.found: list[Found] = []

    def taken(self, scale: int, layer: int, step: BlockStep) -> bool:
        """Whether the entropy of a block is taken: for the plan, or for somebody who wants it."""
        if step.chosen in ("mixtures", "none"):
            return False  # mixtures have no place on the grid
        return step.measured or self.plan_state.wants(scale, layer) or (
            self.watch is not None and self.watch.wants(scale, layer))

    def on_grid(self, layer: int, grid: Grid) -> Tensor | None:
        """The latest entropies of a layer, [B, N] of another grid; None = none are known."""
        if layer not in self.latest:
            return None
        known, own = self.latest[layer]
        return resize_map(known.unflatten(1, own), grid).flatten(1)

    def of_layers(self, layers: Sequence[int], grid: Grid) -> Tensor:
        """Those of several layers, [L, B, N]; in few launches where all are of one grid."""
        grids = {self.latest[layer][1] for layer in layers}
        if len(grids) > 1:
            return torch.stack([resize_map(known.unflatten(1, own), grid).flatten(1)
                                for known, own in (self.latest[layer] for layer in layers)])
        known = torch.stack([self.latest[layer][0] for layer in layers])
        return resize_map(known.unflatten(-1, grids.pop()), grid).flatten(-2)

    def agreed(self, step: ScaleStep) -> Tensor | None:
        """Mean of the guiding layers' entropies, each in deviations from its own mean: [B, N]; None
        where tokens are not chosen by entropy."""
        if not step.guiding:
            return None
        maps = self.of_layers(step.guiding, step.plan.grid)
        centred = maps - maps.mean(-1, keepdim=True)
        return (centred / centred.std(-1, keepdim=True).clamp_min(1e-12)).mean(0)

    def note(self, scale: int, layer: int, grid: Grid, entropy: Tensor,
             index: Tensor | None = None) -> None:
        """Keep what was measured at the tokens ``index``, or at all: [B, n], or [B, H, n]."""
        by_head = entropy if entropy.ndim == 3 else None
        entropy = entropy if by_head is None else entropy.mean(1)
        if index is not None:
            total, batch = grid[0] * grid[1], entropy.shape[0]
            own = index.expand(batch, -1) if index.ndim == 1 else index[:batch]
            full = self.on_grid(layer, grid)
            if full is None:
                full = entropy.new_full((batch, total), torch.nan)
            entropy = full.scatter(1, own, entropy)
            if by_head is not None:
                full = entropy.new_full((*by_head.shape[:2], total), torch.nan)
                by_head = full.scatter(2, own[:, None].expand_as(by_head), by_head)
        entropy = self._room(("map", scale, layer), entropy, entropy.dtype).copy_(entropy)
        self.latest[layer] = (entropy, grid)
        self.found.append(Found(scale, layer, grid, entropy, by_head))

    def deliver(self) -> None:
        """Hand on what was measured since the last call."""
        found, self.found = self.found, []
        for one in found:
            if self.plan_state.wants(one.scale, one.layer):
                self.plan_state.entropy(one.scale, one.layer, one.grid, one.entropy)
            if self.watch is not None and self.watch.wants(one.scale, one.layer):
                self.watch.record(one.scale, one.layer, one.grid,
                                  one.entropy if one.by_head is None else one.by_head)
