"""Runs a block as the plan says: on the tokens it keeps, with what the others get instead."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..ops.resize_tokens import resize_map, resize_tokens
from ..sparsity.director import Session
from ..sparsity.plan import ScalePlan
from ..sparsity.selection import Selector
from .block_runner import PARTS, BlockRunner

Grid = tuple[int, int]
WHOLE = -1
"""In place of a sub-layer's number: the update of the whole block."""


class Watch(Protocol):
    """Somebody who wants entropies out of a run, such as ``entropy.trace.TraceRecorder``."""

    @property
    def heads(self) -> bool:
        """Whether entropies are wanted head by head."""
        ...

    def wants(self, scale: int, layer: int) -> bool: ...

    def record(self, scale: int, layer: int, grid: Grid, entropy: Tensor) -> None:
        """``entropy`` [B, N] float32, or [B, H, N]. Tokens that a layer dropped have the value of
        the scale before, or NaN if there is none (head by head: always NaN)."""
        ...


class SparseBlocks:
    """What a run remembers between scales, and the blocks that use it.

    Args:
        runner: runs tokens.
        session: holds the plan, which it may replace between scales.
        watch: gets entropies, too.

    Attributes:
        maps: per layer, the latest entropies [B, N] and their grid.
        kept: indices of the tokens that the blocks of this scale kept, per layer, where picked by
            block and not all: [n] or [R, n].
        stayed: those that have not left this scale, where its dropped tokens do; None = all stay.
    """

    def __init__(self, runner: BlockRunner, session: Session, watch: Watch | None = None,
                 selector: Selector | None = None) -> None:
        self.runner, self.session, self.watch = runner, session, watch
        self.selector = selector or Selector(session.plan, runner.batch)
        self.maps: dict[int, tuple[Tensor, Grid]] = {}
        self.kept: dict[int, Tensor] = {}
        self.stayed: Tensor | None = None
        self._updates: dict[int, dict[tuple[int, int], tuple[Tensor, Grid]]] = {}

    def begin(self) -> None:
        """A new scale begins."""
        self.kept = {}
        self.stayed = None

    def run(self, scale: int, layer: int, x: Tensor, rotation: Tensor) -> None:
        """One block on residual ``x`` [R, N, C] of all the scale's tokens, in place."""
        plan = self.session.plan
        step = plan.scales[scale]
        stored = (scale, layer) in plan.stored or self.session.stores(scale, layer)
        by_part = step.per == "sublayer" if step.keep[layer] < step.tokens else any(
            s.per == "sublayer" and plan.sources[i][layer] == scale
            for i, s in enumerate(plan.scales)
        )
        if by_part:
            self._run_parts(scale, layer, step, x, rotation, stored)
        else:
            self._run_block(scale, layer, step, x, rotation, stored)
        self._forget(scale, layer)

    def _run_block(self, scale: int, layer: int, step: ScalePlan, x: Tensor, rotation: Tensor,
                   stored: bool) -> None:
        before = x.clone() if stored else None
        measure = self._measures(scale, layer)
        if step.keep[layer] == step.tokens:
            entropy = self.runner.block(scale, layer, x, rotation, measure)
            index = None
        else:
            index = self._choose(scale, layer, step, x)
            part, turn = gather(x, index), gather_rotation(rotation, index)
            entropy = None
            if index.numel():
                entropy = self.runner.block(scale, layer, part, turn, measure)
            update = self._update_for(scale, layer, WHOLE, step, x.shape[0])
            if update is not None:
                x.add_(update)
            scatter_(x, index, part)
        if entropy is not None:
            self._note(scale, layer, step.grid, entropy, index)
        if before is not None:
            self._store(scale, layer, WHOLE, x - before, step.grid)

    def _run_parts(self, scale: int, layer: int, step: ScalePlan, x: Tensor, rotation: Tensor,
                   stored: bool) -> None:
        for part in range(PARTS):
            if step.keep[layer] == step.tokens:
                full = self.runner.part(part, scale, layer, x, rotation)
            else:
                index = self._choose(scale, layer, step, x, part)
                full = self._update_for(scale, layer, part, step, x.shape[0])
                full = torch.zeros_like(x) if full is None else full.clone()
                if index.numel():
                    out = self.runner.part(
                        part, scale, layer, gather(x, index), gather_rotation(rotation, index)
                    )
                    scatter_(full, index, out)
            x.add_(full)
            if stored:
                self._store(scale, layer, part, full, step.grid)

    def _choose(self, scale: int, layer: int, step: ScalePlan, x: Tensor, part: int = 0) -> Tensor:
        if step.keep[layer] == 0:
            return torch.empty(0, dtype=torch.int64, device=x.device)
        if step.dropped == "exit":
            if self.stayed is None:
                self.stayed = self.selector.select(scale, layer, step, x, self._agreed(step))
            self.kept[layer] = self.stayed
            return self.stayed
        entropy = self._map(layer, step.grid) if layer in self.maps else None
        index = self.selector.select(scale, layer, step, x, entropy, part)
        if step.per == "block":
            self.kept[layer] = index
        return index

    def _map(self, layer: int, grid: Grid) -> Tensor:
        """The latest entropies of a layer on another grid, [B, N]."""
        known, own = self.maps[layer]
        return resize_map(known.unflatten(1, own), grid).flatten(1)

    def _agreed(self, step: ScalePlan) -> Tensor | None:
        """Mean of the guiding layers' entropies, each in deviations from its own mean: [B, N]."""
        if not step.rule.startswith("entropy"):
            return None
        guides = [layer for layer in range(len(step.keep)) if step.guided_by(layer)]
        maps = torch.stack([self._map(layer, step.grid) for layer in guides])
        centred = maps - maps.mean(-1, keepdim=True)
        return (centred / centred.std(-1, keepdim=True).clamp_min(1e-12)).mean(0)

    def _update_for(self, scale: int, layer: int, part: int, step: ScalePlan, rows: int
                    ) -> Tensor | None:
        """What dropped tokens get, [R, N, C] of the whole scale; None = nothing."""
        source = self.session.plan.sources[scale][layer]
        if source is None:
            return None
        update, grid = self._updates[layer][source, part]
        return resize_tokens(update[:rows], grid, step.grid, step.resize)

    def _measures(self, scale: int, layer: int) -> bool:
        return (
            (scale, layer) in self.session.plan.measured
            or self.session.wants(scale, layer)
            or (self.watch is not None and self.watch.wants(scale, layer))
        )

    def _note(self, scale: int, layer: int, grid: Grid, entropy: Tensor,
              index: Tensor | None = None) -> None:
        """Remember and hand on what was measured at the tokens ``index``, or at all: [B, n], or
        [B, H, n]."""
        by_head = entropy if entropy.ndim == 3 else None
        entropy = entropy if by_head is None else entropy.mean(1)
        if index is not None:
            total, batch = grid[0] * grid[1], entropy.shape[0]
            own = index.expand(batch, -1) if index.ndim == 1 else index[:batch]
            if layer in self.maps:
                known, old = self.maps[layer]
                full = resize_map(known.unflatten(1, old), grid).flatten(1)
            else:
                full = entropy.new_full((batch, total), torch.nan)
            entropy = full.scatter(1, own, entropy)
            if by_head is not None:
                full = entropy.new_full((*by_head.shape[:2], total), torch.nan)
                by_head = full.scatter(2, own[:, None].expand_as(by_head), by_head)
        self.maps[layer] = (entropy, grid)
        if self.session.wants(scale, layer):
            self.session.entropy(scale, layer, grid, entropy)
        if self.watch is not None and self.watch.wants(scale, layer):
            self.watch.record(scale, layer, grid, entropy if by_head is None else by_head)

    def _store(self, scale: int, layer: int, part: int, update: Tensor, grid: Grid) -> None:
        self._updates.setdefault(layer, {})[scale, part] = (update, grid)

    def _forget(self, scale: int, layer: int) -> None:
        """Free updates that no later scale needs."""
        known = self._updates.get(layer)
        if not known:
            return
        needed = {row[layer] for row in self.session.plan.sources[scale + 1 :]}
        if self.session.stores(scale, layer):
            needed.add(scale)
        for key in [k for k in known if k[0] not in needed]:
            del known[key]


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Tokens of ``x`` [R, N, C] at ``index`` [n] or [R, n]: a copy [R, n, C]."""
    if index.ndim == 1:
        return x.index_select(1, index)
    return x.take_along_dim(index[..., None], dim=1)


def gather_rotation(rotation: Tensor, index: Tensor) -> Tensor:
    """Rows of the table [N, D / 2, 2]: [n, D / 2, 2], or [R, n, D / 2, 2]."""
    return rotation.index_select(0, index) if index.ndim == 1 else rotation[index]


def scatter_(x: Tensor, index: Tensor, part: Tensor) -> None:
    """Puts ``part`` [R, n, C] back into ``x`` [R, N, C] at ``index``."""
    if index.ndim == 1:
        x.index_copy_(1, index, part.to(x.dtype))
    else:
        x.scatter_(1, index[..., None].expand_as(part), part.to(x.dtype))
