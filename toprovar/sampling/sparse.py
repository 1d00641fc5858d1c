"""Runs a block as the compiled plan says: on the tokens it keeps, and with what the others get."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from ..ops.sparse_attention import Window, window_blocks
from ..sparsity.compiled import BlockStep, CompiledPlan, ScaleStep
from ..sparsity.key_selection import hold
from ..sparsity.linear_shortcut import INPUT, LinearShortcut
from ..sparsity.mixing_draws import Draws
from ..sparsity.plan_state import PlanState
from ..sparsity.selection import Selector
from ..sparsity.shortcuts import Shortcuts, predict
from .attending import Attending
from .block_runner import PARTS, BlockRunner, FallbackUpdate, gather, scatter_
from .entropy_maps import EntropyMaps
from .fused_runner import FusedRunner
from .kept_updates import AFTER, WHOLE, KeptUpdates
from .memory import EntropyListener, Grid, Memory, Room
from .mixing import Mixer

FEW_SHAPES = 2
"""Different (queries, keys) among the layers of a scale up to which attention is prepared for each:
layers that are whole, and layers that are pruned alike."""


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
        kept: indices of the tokens that the blocks of this scale kept, per layer, where picked by
            block and not all: [n] or [R, n].
        stayed: those that have not left this scale, where its dropped tokens do; None = all stay.
    """

    def __init__(self, runner: BlockRunner | FusedRunner, plan_state: PlanState,
                 watch: EntropyListener | None = None, selector: Selector | None = None,
                 room: Room | None = None, constants: dict[Hashable, Any] | None = None,
                 shortcuts: Shortcuts | None = None, draws: Draws | None = None) -> None:
        room = room or (lambda name, like, dtype: torch.empty_like(like, dtype=dtype))
        self.runner, self.plan_state, self.shortcuts = runner, plan_state, shortcuts
        self.selector = selector or Selector(plan_state.plan, runner.batch, constants)
        self.maps = EntropyMaps(plan_state, watch, room)
        self.updates = KeptUpdates(room, runner.update_dtype)
        self.mixer = None if draws is None else Mixer(draws, room, runner.probe)
        self.kept: dict[int, Tensor] = {}
        self.stayed: Tensor | None = None
        self._room = room
        self._chosen: dict[int, Tensor] = {}
        self._together: Tensor | None = None
        self._ahead: Tensor | None = None

    @property
    def _plan(self) -> CompiledPlan:
        return self.plan_state.plan.compiled

    def begin(self, scale: int, rows: range, device: torch.device) -> None:
        """A new scale begins, with the batch rows of these numbers."""
        self.kept = {}
        self.stayed = None
        if self.mixer is not None:
            self.mixer.load(scale, self._plan.scales[scale].plan, rows, device)

    def codes_changed(self, before: Tensor, after: Tensor) -> None:
        """A scale has changed the summed codes [B, d, H, W]: for the rule "change"."""
        change = torch.linalg.vector_norm(after - before, dim=1)
        self.selector.change = self._room(("change",), change, change.dtype).copy_(change)

    def choose_ahead(self, scale: int, rows: int) -> None:
        """Choose the tokens of all layers that go by their own entropy map, in one launch: the maps
        are those of earlier scales, so they are known before the first block."""
        step, latest = self._plan.scales[scale], self.maps.latest
        self._chosen, self._together = {}, None
        self.runner.many_shapes = len({
            (block.tokens, block.keys) for block in step.blocks if block.tokens}) > FEW_SHAPES
        layers = [n for n in step.guiding if n in latest]
        if step.plan.together or len({latest[n][1] for n in layers}) != 1 \
                or type(self.selector) is not Selector:
            return
        chosen = self.selector.select_in_layers(scale, step.plan, layers,
                                                self.maps.of_layers(layers, step.plan.grid))
        self._chosen = {n: self.selector.rows(index, rows)
                        for n, index in zip(layers, chosen, strict=True)}

    def kept_copies(self) -> dict[int, Tensor]:
        """``kept``, in memory of its own: recorded scales write theirs again."""
        copies = {id(index): index.clone() for index in self.kept.values()}
        return {layer: copies[id(index)] for layer, index in self.kept.items()}

    def memory(self) -> Memory:
        return Memory(
            tuple(self.runner.cache.lengths), dict(self.maps.latest),
            {layer: dict(known) for layer, known in self.updates.known.items()}, dict(self.kept),
            self.stayed, tuple(self.maps.found),
        )

    def restore(self, memory: Memory) -> None:
        """Be as one was when ``memory`` was taken."""
        self.runner.cache.lengths[:] = memory.lengths
        self.maps.latest, self.kept = dict(memory.maps), dict(memory.kept)
        self.updates.known = {layer: dict(known) for layer, known in memory.updates.items()}
        self.stayed, self.maps.found = memory.stayed, list(memory.found)

    def signature(self, scale: int) -> Hashable:
        """Everything but tensors' contents that decides what the blocks of ``scale`` do."""
        plan, step = self.plan_state.plan, self._plan.scales[scale]
        return (
            scale, step, plan.shortcuts if step.jumps else None,
            self.runner.cache.layout, tuple(self.runner.cache.lengths),
            tuple((self.maps.taken(scale, n, block), self._stored(scale, n, block))
                  for n, block in enumerate(step.blocks)),
            tuple((layer, grid) for layer, (_, grid) in sorted(self.maps.latest.items())),
            tuple((layer, key, grid, key in needed)
                  for layer, known in sorted(self.updates.known.items())
                  for needed in [self._needed(scale, layer)]
                  for key, (_, grid) in sorted(known.items())),
            plan.seed if step.plan.sparse and step.plan.rule == "random" else None,
            self.selector.restricted(scale),
        )

    def run(self, scale: int, layer: int, x: Tensor, rotation: Tensor, apart: bool = True
            ) -> Tensor:
        """One block on residual ``x`` [R, N, C] of all the scale's tokens, or of their mixtures.

        Args:
            apart: whether ``x`` is changed or looked at before the next block.

        Returns:
            the residual after it: ``x``, changed in place, unless mixtures begin or end here.
        """
        step = self._plan.scales[scale]
        block, special, mixer = step.blocks[layer], step.plan.special, self.mixer
        if layer == 0:
            self._pass_on(scale, step, INPUT, x)
            self._forget(scale, INPUT)
        if special and mixer:
            x = mixer.enter(scale, layer, special, x) if layer in special.starts else x
            rotation = rotation[: x.shape[1]]
        if block.by_part:
            self._run_parts(scale, layer, step, x, rotation)
        else:
            self._run_block(scale, layer, step, x, rotation, apart)
        if special and mixer and layer in special.ends:
            known, grid = self._from_before(step, layer, x.shape[0])
            x = mixer.leave(scale, layer, x, known, grid, step.plan.grid)
        self._pass_on(scale, step, layer, x)
        self._forget(scale, layer)
        return x

    def jump(self, scale: int, x: Tensor) -> None:
        """From the scale's input ``x`` [R, N, C] to the residual after the layers that its shortcut
        leaves out, in place; what dropped tokens rejoin with is predicted as well."""
        step = self._plan.scales[scale]
        self._ahead = self._predicted(scale, step, step.rejoin, x) if step.rejoin else None
        if step.first:
            predicted = self._predicted(scale, step, step.first, x)
            self._pass_on(scale, step, INPUT, x)
            x.copy_(predicted)
            self._pass_on(scale, step, step.first - 1, x)
        for layer in {INPUT, step.first - 1, step.rejoin - 1}:
            self._forget(scale, layer)

    def _predicted(self, scale: int, step: ScaleStep, length: int, x: Tensor) -> Tensor:
        """The residual after ``length`` layers."""
        if step.source is None or self.shortcuts is None:
            raise RuntimeError(f"scale {scale}: there is nothing to take a shortcut with")
        given, grid = self._from_before(step, INPUT, x.shape[0])
        known, _ = self._from_before(step, length - 1, x.shape[0])
        placed = self.shortcuts.at(LinearShortcut(step.source, scale, length), x.device,
                                   self.runner.transformer.compute_dtype)
        return predict(x, given, known, grid, step.plan.grid, placed)

    def rejoin(self, x: Tensor) -> None:
        """Dropped tokens come back into the residual ``x`` [R, N, C], as predicted."""
        if self._ahead is None or self._together is None:
            raise RuntimeError("no tokens were dropped that could rejoin")
        worked_on = gather(x, self._together)
        x.copy_(self._ahead)
        scatter_(x, self._together, worked_on)
        self._ahead = None

    def _from_before(self, step: ScaleStep, layer: int, rows: int) -> tuple[Tensor, Grid]:
        """The residual that the scale before had after a layer."""
        if step.source is None:
            raise RuntimeError("there is no scale before this one to start from")
        return self.updates.of(step.source, layer, AFTER, step.plan, rows)

    def _pass_on(self, scale: int, step: ScaleStep, layer: int, x: Tensor) -> None:
        whole = layer != INPUT and step.blocks[layer].restored
        if step.input_passed_on if layer == INPUT else step.blocks[layer].passed_on:
            self.updates.place(scale, layer, AFTER, x, step.plan.grid, whole).copy_(x)

    def _needed(self, scale: int, layer: int) -> set[tuple[int, int]]:
        stores = layer != INPUT and self.plan_state.stores(scale, layer)
        return self.updates.still_needed(self._plan, scale, layer, stores)

    def _forget(self, scale: int, layer: int) -> None:
        for key in self.updates.known.get(layer, {}).keys() - self._needed(scale, layer):
            del self.updates.known[layer][key]

    def _stored(self, scale: int, layer: int, block: BlockStep) -> bool:
        return block.stored or self.plan_state.stores(scale, layer)

    def _run_block(self, scale: int, layer: int, step: ScaleStep, x: Tensor, rotation: Tensor,
                   apart: bool) -> None:
        block = step.blocks[layer]
        stored = self._stored(scale, layer, block)
        before = x.clone() if stored else None
        whole = block.chosen in ("all", "mixtures")
        index = None if whole else self._choose(scale, layer, step, x)
        entropy = self.runner.block(
            scale, layer, x, rotation, self._attending(scale, layer, step), index,
            None if whole else self._fallback(layer, step, WHOLE, x.shape[0]),
            follow=block.same_next and not (apart or stored or block.passed_on),
        )
        if entropy is not None:
            self.maps.note(scale, layer, step.plan.grid, entropy, index)
        if before is not None:
            torch.sub(x, before, out=self.updates.place(scale, layer, WHOLE, x, step.plan.grid))

    def _run_parts(self, scale: int, layer: int, step: ScaleStep, x: Tensor, rotation: Tensor
                   ) -> None:
        block = step.blocks[layer]
        how = self._attending(scale, layer, step)._replace(measure=False)
        for part in range(PARTS):
            if block.chosen == "all":
                full = self.runner.part(part, scale, layer, x, rotation, how=how)
            else:
                index = self._choose(scale, layer, step, x, part)
                fallback = self._fallback(layer, step, part, x.shape[0])
                full = torch.zeros_like(x) if fallback is None else fallback.resized().clone()
                if index.numel():
                    out = self.runner.part(part, scale, layer, x, rotation, index, how)
                    scatter_(full, index, out)
            x.add_(full)
            if self._stored(scale, layer, block):
                self.updates.place(scale, layer, part, full, step.plan.grid).copy_(full)

    def _choose(self, scale: int, layer: int, step: ScaleStep, x: Tensor, part: int = 0) -> Tensor:
        block, plan = step.blocks[layer], step.plan
        if block.chosen == "none":
            return torch.empty(0, dtype=torch.int64, device=x.device)
        if block.chosen == "scale":
            if self._together is None:
                self._together = self.selector.select(scale, layer, plan, x,
                                                      self.maps.agreed(step))
                if plan.dropped == "exit":
                    self.stayed = self._together
            self.kept[layer] = self._together
            return self._together
        index = self._chosen.pop(layer, None)
        if index is None:
            index = self.selector.select(scale, layer, plan, x,
                                         self.maps.on_grid(layer, plan.grid), part)
        if block.chosen == "layer":
            self.kept[layer] = index
        return index

    def _attending(self, scale: int, layer: int, step: ScaleStep) -> Attending:
        block, window = step.blocks[layer], None
        if block.window is not None:
            constants, device = self.selector.constants, self.runner.transformer.null_text.device
            key = (block.window, device)
            if key not in constants:
                constants[key] = window_blocks(block.window.grids, Window(*block.window[1:]),
                                               device)
            window = constants[key]
        held = None if block.held == block.keys else hold(block.held, step.plan.grid, block.tokens)
        return Attending(self.maps.taken(scale, layer, block), held, window)

    def _fallback(self, layer: int, step: ScaleStep, part: int, rows: int
                  ) -> FallbackUpdate | None:
        """What dropped tokens get; None = nothing."""
        source, plan = step.blocks[layer].fallback, step.plan
        if source is None:
            return None
        update, grid = self.updates.of(source, layer, part, plan, rows)
        return FallbackUpdate(update, grid, plan.grid, plan.resize)
