"""Runs a block as the plan says: on the tokens it keeps, with what the others get instead."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from ..ops.resize_tokens import resize_map
from ..sparsity.leap import INPUT, Leap
from ..sparsity.mixing_draws import Draws
from ..sparsity.plan import ScalePlan
from ..sparsity.planner import PlanState
from ..sparsity.selection import Selector
from ..sparsity.shortcuts import Shortcuts, predict
from .block_runner import PARTS, BlockRunner, FallbackUpdate, gather, scatter_
from .fused_runner import FusedRunner
from .memory import EntropyListener, Found, Grid, Memory, Room
from .mixing import Mixer

FEW_SHAPES = 2
"""Different (queries, keys) among the layers of a scale up to which attention is prepared for each:
layers that are whole, and layers that are pruned alike."""
WHOLE = -1
"""In place of a sub-layer's number: the update of the whole block."""
AFTER = -2
"""And: the residual after the block, for the shortcut of a later scale."""


class SparseBlocks:
    """What a run remembers between scales, and the blocks that use it.

    Args:
        runner: runs tokens.
        plan_state: holds the plan, which it may replace between scales.
        watch: gets entropies, too.
        room: where what later scales read is written; None = wherever there is memory.
        constants: see ``Selector``.
        shortcuts: those that the plan names, if any.
        draws: random numbers of scales that work on mixtures; None = there is no such scale.

    Attributes:
        maps: per layer, the latest entropies [B, N] and their grid.
        kept: indices of the tokens that the blocks of this scale kept, per layer, where picked by
            block and not all: [n] or [R, n].
        stayed: those that have not left this scale, where its dropped tokens do; None = all stay.
    """

    def __init__(self, runner: BlockRunner | FusedRunner, plan_state: PlanState,
                 watch: EntropyListener | None = None, selector: Selector | None = None,
                 room: Room | None = None, constants: dict[Hashable, Any] | None = None,
                 shortcuts: Shortcuts | None = None, draws: Draws | None = None) -> None:
        self.shortcuts = shortcuts
        self.runner, self.plan_state, self.watch = runner, plan_state, watch
        self.selector = selector or Selector(plan_state.plan, runner.batch, constants)
        self.maps: dict[int, tuple[Tensor, Grid]] = {}
        self.kept: dict[int, Tensor] = {}
        self.stayed: Tensor | None = None
        self._room = room or (lambda name, like, dtype: torch.empty_like(like, dtype=dtype))
        self.mixer = None if draws is None else Mixer(draws, self._room, runner.probe)
        self._updates: dict[int, dict[tuple[int, int], tuple[Tensor, Grid]]] = {}
        self._found: list[Found] = []
        self._chosen: dict[int, Tensor] = {}
        self._together: Tensor | None = None
        self._ahead: Tensor | None = None

    def begin(self, scale: int, rows: range, device: torch.device) -> None:
        """A new scale begins, with the batch rows of these numbers."""
        self.kept = {}
        self.stayed = None
        if self.mixer is not None:
            self.mixer.load(scale, self.plan_state.plan.scales[scale], rows, device)

    def codes_changed(self, before: Tensor, after: Tensor) -> None:
        """A scale has changed the summed codes [B, d, H, W]: for the rule "change"."""
        change = torch.linalg.vector_norm(after - before, dim=1)
        self.selector.change = self._room(("change",), change, change.dtype).copy_(change)

    def choose_ahead(self, scale: int, rows: int) -> None:
        """Choose the tokens of all layers that go by their own entropy map, in one launch: the maps
        are those of earlier scales, so they are known before the first block."""
        step = self.plan_state.plan.scales[scale]
        self._chosen, self._together = {}, None
        self.runner.many_shapes = len({
            pair for pair in zip(step.keep, self.runner.cache.lengths, strict=True) if pair[0]
        }) > FEW_SHAPES
        layers = [n for n in range(len(step.keep)) if step.guided_by(n) and n in self.maps]
        grids = {self.maps[n][1] for n in layers}
        if step.together or len(grids) != 1 or type(self.selector) is not Selector:
            return
        known = torch.stack([self.maps[n][0] for n in layers]).unflatten(-1, grids.pop())
        maps = resize_map(known, step.grid).flatten(-2)
        chosen = self.selector.select_in_layers(step, layers, maps)
        self._chosen = {n: self.selector.rows(index, rows)
                        for n, index in zip(layers, chosen, strict=True)}

    def deliver(self) -> None:
        """Hand on what was measured since the last call."""
        found, self._found = self._found, []
        for one in found:
            if self.plan_state.wants(one.scale, one.layer):
                self.plan_state.entropy(one.scale, one.layer, one.grid, one.entropy)
            if self.watch is not None and self.watch.wants(one.scale, one.layer):
                self.watch.record(one.scale, one.layer, one.grid,
                                  one.entropy if one.by_head is None else one.by_head)

    def memory(self) -> Memory:
        return Memory(
            tuple(self.runner.cache.lengths), dict(self.maps),
            {layer: dict(known) for layer, known in self._updates.items()}, dict(self.kept),
            self.stayed, tuple(self._found),
        )

    def remember(self, memory: Memory) -> None:
        """Be as one was when ``memory`` was taken."""
        self.runner.cache.lengths[:] = memory.lengths
        self.maps, self.kept = dict(memory.maps), dict(memory.kept)
        self._updates = {layer: dict(known) for layer, known in memory.updates.items()}
        self.stayed, self._found = memory.stayed, list(memory.found)

    def signature(self, scale: int) -> Hashable:
        """Everything but tensors' contents that decides what the blocks of ``scale`` do."""
        plan = self.plan_state.plan
        step, layers = plan.scales[scale], range(len(plan.scales[scale].keep))
        return (
            scale, step, plan.sources[scale], plan.shortcut_sources[scale],
            plan.special_sources[scale],
            None if plan.shortcut_sources[scale] is None else plan.shortcuts,
            self.runner.cache.layout.starts, tuple(self.runner.cache.lengths),
            tuple((self._measures(scale, n), self._stored(scale, n), self._by_part(scale, n),
                   (scale, n) in plan.passed_on, (scale, n) in plan.restored) for n in layers),
            (scale, INPUT) in plan.passed_on,
            tuple((layer, grid) for layer, (_, grid) in sorted(self.maps.items())),
            tuple((layer, key, grid) for layer, known in sorted(self._updates.items())
                  for key, (_, grid) in sorted(known.items())),
            plan.seed if step.sparse and step.rule == "random" else None,
        )

    def run(self, scale: int, layer: int, x: Tensor, rotation: Tensor, apart: bool = True
            ) -> Tensor:
        """One block on residual ``x`` [R, N, C] of all the scale's tokens, or of their mixtures.

        Args:
            apart: whether ``x`` is changed or looked at before the next block.

        Returns:
            the residual after it: ``x``, changed in place, unless mixtures begin or end here.
        """
        step = self.plan_state.plan.scales[scale]
        special, mixer = step.special, self.mixer
        if layer == 0:
            self._pass_on(scale, INPUT, x, step.grid)
            self._forget(scale, INPUT)
        if special and mixer:
            x = mixer.enter(scale, layer, special, x) if layer in special.starts else x
            rotation = rotation[: x.shape[1]]
        if self._by_part(scale, layer):
            self._run_parts(scale, layer, step, x, rotation)
        else:
            self._run_block(scale, layer, step, x, rotation, apart)
        if special and mixer and layer in special.ends:
            source = self.plan_state.plan.special_sources[scale]
            assert source is not None  # the first scale is not special
            known, grid = self._updates[layer][source, AFTER]
            x = mixer.leave(scale, layer, x, rows_of(step, known, x.shape[0]), grid, step.grid)
        self._pass_on(scale, layer, x, step.grid)
        self._forget(scale, layer)
        return x

    def jump(self, scale: int, x: Tensor) -> None:
        """From the scale's input ``x`` [R, N, C] to the residual after the layers that its shortcut
        leaves out, in place; what dropped tokens rejoin with is predicted as well."""
        step = self.plan_state.plan.scales[scale]
        self._ahead = self._predicted(scale, step.rejoin, x) if step.rejoin else None
        if step.shortcut:
            predicted = self._predicted(scale, step.shortcut, x)
            self._pass_on(scale, INPUT, x, step.grid)
            x.copy_(predicted)
            self._pass_on(scale, step.shortcut - 1, x, step.grid)
        for layer in {INPUT, step.shortcut - 1, step.rejoin - 1}:
            self._forget(scale, layer)

    def _predicted(self, scale: int, length: int, x: Tensor) -> Tensor:
        """The residual after ``length`` layers."""
        plan = self.plan_state.plan
        source, rows = plan.shortcut_sources[scale], x.shape[0]
        if source is None or self.shortcuts is None:
            raise RuntimeError(f"scale {scale}: there is nothing to take a shortcut with")
        given, grid = self._updates[INPUT][source, AFTER]
        known, _ = self._updates[length - 1][source, AFTER]
        placed = self.shortcuts.at(Leap(source, scale, length), x.device,
                                   self.runner.transformer.compute_dtype)
        step = plan.scales[scale]
        return predict(x, rows_of(step, given, rows), rows_of(step, known, rows), grid, step.grid,
                       placed)

    def rejoin(self, x: Tensor) -> None:
        """Dropped tokens come back into the residual ``x`` [R, N, C], as predicted."""
        if self._ahead is None or self._together is None:
            raise RuntimeError("no tokens were dropped that could rejoin")
        worked_on = gather(x, self._together)
        x.copy_(self._ahead)
        scatter_(x, self._together, worked_on)
        self._ahead = None

    def _pass_on(self, scale: int, layer: int, x: Tensor, grid: Grid) -> None:
        plan = self.plan_state.plan
        if (scale, layer) in plan.passed_on:
            dtype = x.dtype if (scale, layer) in plan.restored else None
            self._place(scale, layer, AFTER, x, grid, dtype).copy_(x)

    def _stored(self, scale: int, layer: int) -> bool:
        return (scale, layer) in self.plan_state.plan.stored or self.plan_state.stores(scale, layer)

    def _by_part(self, scale: int, layer: int) -> bool:
        plan = self.plan_state.plan
        step = plan.scales[scale]
        if step.keep[layer] < step.tokens:
            return step.per == "sublayer"
        return any(s.per == "sublayer" and plan.sources[i][layer] == scale
                   for i, s in enumerate(plan.scales))

    def _run_block(self, scale: int, layer: int, step: ScalePlan, x: Tensor, rotation: Tensor,
                   apart: bool) -> None:
        stored = self._stored(scale, layer)
        before = x.clone() if stored else None
        whole = step.special is not None or step.keep[layer] == step.tokens
        index = None if whole else self._choose(scale, layer, step, x)
        entropy = self.runner.block(
            scale, layer, x, rotation, self._measures(scale, layer), index,
            None if whole else self._standin(scale, layer, WHOLE, step, x.shape[0]),
            follow=not apart and not stored and (scale, layer) not in self.plan_state.plan.passed_on
            and self._same_tokens(scale, layer, layer + 1),
        )
        if entropy is not None:
            self._note(scale, layer, step.grid, entropy, index)
        if before is not None:
            torch.sub(x, before, out=self._place(scale, layer, WHOLE, x, step.grid))

    def _same_tokens(self, scale: int, layer: int, other: int) -> bool:
        """Whether two layers of a scale work on the same tokens, whatever these will be."""
        step = self.plan_state.plan.scales[scale]
        if other == len(step.keep) or self._by_part(scale, other):
            return False
        if step.special:
            return layer not in step.special.ends
        same = step.keep[layer] == step.keep[other]
        return same and (step.together or step.keep[layer] == step.tokens)

    def _run_parts(self, scale: int, layer: int, step: ScalePlan, x: Tensor, rotation: Tensor
                   ) -> None:
        for part in range(PARTS):
            if step.keep[layer] == step.tokens:
                full = self.runner.part(part, scale, layer, x, rotation)
            else:
                index = self._choose(scale, layer, step, x, part)
                standin = self._standin(scale, layer, part, step, x.shape[0])
                full = torch.zeros_like(x) if standin is None else standin.resized().clone()
                if index.numel():
                    out = self.runner.part(part, scale, layer, x, rotation, index)
                    scatter_(full, index, out)
            x.add_(full)
            if self._stored(scale, layer):
                self._place(scale, layer, part, full, step.grid).copy_(full)

    def _choose(self, scale: int, layer: int, step: ScalePlan, x: Tensor, part: int = 0) -> Tensor:
        if step.keep[layer] == 0:
            return torch.empty(0, dtype=torch.int64, device=x.device)
        if step.together:
            if self._together is None:
                self._together = self.selector.select(scale, layer, step, x, self._agreed(step))
                if step.dropped == "exit":
                    self.stayed = self._together
            self.kept[layer] = self._together
            return self._together
        index = self._chosen.pop(layer, None)
        if index is None:
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
        grids = {self.maps[layer][1] for layer in guides}
        if len(grids) == 1:  # few launches
            known = torch.stack([self.maps[layer][0] for layer in guides])
            maps = resize_map(known.unflatten(-1, grids.pop()), step.grid).flatten(-2)
        else:
            maps = torch.stack([self._map(layer, step.grid) for layer in guides])
        centred = maps - maps.mean(-1, keepdim=True)
        return (centred / centred.std(-1, keepdim=True).clamp_min(1e-12)).mean(0)

    def _standin(self, scale: int, layer: int, part: int, step: ScalePlan, rows: int
                 ) -> FallbackUpdate | None:
        """What dropped tokens get; None = nothing."""
        source = self.plan_state.plan.sources[scale][layer]
        if source is None:
            return None
        update, grid = self._updates[layer][source, part]
        return FallbackUpdate(rows_of(step, update, rows), grid, step.grid, step.resize)

    def _measures(self, scale: int, layer: int) -> bool:
        if self.plan_state.plan.scales[scale].special:
            return False  # mixtures have no place on the grid
        return (
            (scale, layer) in self.plan_state.plan.measured
            or self.plan_state.wants(scale, layer)
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
        entropy = self._room(("map", scale, layer), entropy, entropy.dtype).copy_(entropy)
        self.maps[layer] = (entropy, grid)
        self._found.append(Found(scale, layer, grid, entropy, by_head))

    def _place(self, scale: int, layer: int, part: int, like: Tensor, grid: Grid,
               dtype: torch.dtype | None = None) -> Tensor:
        """Where an update that a later scale needs is to be written."""
        dtype = dtype or self.runner.update_dtype or like.dtype
        room = self._room(("update", scale, layer, part), like, dtype)
        self._updates.setdefault(layer, {})[scale, part] = (room, grid)
        return room

    def _forget(self, scale: int, layer: int) -> None:
        """Free updates and residuals that no later scale needs."""
        known = self._updates.get(layer)
        if not known:
            return
        plan = self.plan_state.plan
        needed: set[int | None] = set()
        if layer != INPUT:
            needed.update(row[layer] for row in plan.sources[scale + 1 :])
            if self.plan_state.stores(scale, layer):
                needed.add(scale)
        start_from = {leap.source for leap in plan.leaps
                      if leap.scale > scale and layer in (INPUT, leap.length - 1)}
        start_from.update(source for source, step in zip(
            plan.special_sources[scale + 1 :], plan.scales[scale + 1 :], strict=True)
            if source is not None and step.special and layer in step.special.ends)
        for key in [k for k in known
                    if k[0] not in (start_from if k[1] == AFTER else needed)]:
            del known[key]


def rows_of(step: ScalePlan, known: Tensor, rows: int) -> Tensor:
    """The ``rows`` that a scale runs, of what an earlier one left of its own rows [R, N, C]."""
    return known[:rows] if step.conditional else known[-rows:]
