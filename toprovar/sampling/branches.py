"""Runs of several plans on the same prompts that share the scales which they begin with alike.

The plans form a tree: a scale is a branch's own from the first on that differs. The tree is walked
depth first. Where it forks, what the run has so far is noted: how many keys each layer has, the
summed codes, what earlier scales have left, the state of the random numbers. Scales only add to
the cache (``RerunCache``), so going back to a fork means to forget the keys that came after it.
Every plan's pictures are those of a run of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..models.text import PackedText
from ..models.transformer import InfinityTransformer
from ..ops import attention as attention_ops
from ..sparsity.compiled import ScaleStep
from ..sparsity.leaving import leaving
from ..sparsity.linear_shortcut import INPUT
from ..sparsity.plan import SparsityPlan, dense_plan
from ..sparsity.plan_state import PlanState
from ..sparsity.shortcuts import Shortcuts
from .cache import RerunCache
from .kept_updates import AFTER
from .memory import EntropyListener, Memory
from .params import EngineOptions, SamplingParams
from .run import SamplingRun
from .timing import Clock


class Fork(NamedTuple):
    """What a run has before a scale.

    Attributes:
        codes: [B, d, h, w] summed so far; change: of the rule "change", or None.
        random: states of the images' generators.
    """

    memory: Memory
    codes: Tensor
    change: Tensor | None
    random: tuple[Tensor, ...]


@dataclass
class Shared:
    """How much was shared: tokens of scales that were run, and that runs of their own would have
    taken; and how many scales were run."""

    run: int = 0
    alone: int = 0
    scales: int = 0


class BranchingRun(SamplingRun):
    """One run of several plans.

    Args:
        generators: one for each image.
        leaves: (scale, layer or ``INPUT``) of residuals that scales leave for branches, and for
            :meth:`residual`.
        watch: gets the entropies of every branch.
        options, check: as of ``SamplingRun``.

    Attributes:
        shared: what sharing has saved so far.
    """

    runs_again: ClassVar[bool] = True

    def __init__(self, transformer: InfinityTransformer, text: PackedText, params: SamplingParams,
                 *, generators: Sequence[torch.Generator], leaves: Collection[tuple[int, int]] = (),
                 options: EngineOptions | None = None, check: Callable[[], None] | None = None,
                 watch: EntropyListener | None = None) -> None:
        self.leaves, self._random, self._watch = frozenset(leaves), list(generators), watch
        self.shared = Shared()
        self._clocks: list[tuple[Hashable, int, Clock]] = []
        super().__init__(transformer, text, params, options=options, check=check,
                         plan=dense_plan(transformer.shape, params.schedule),
                         generators=self._random, watch=watch)

    def draw(self, plans: Sequence[SparsityPlan]) -> Iterator[tuple[int, Tensor]]:
        """Run the plans in an order of its own.

        Yields:
            The number of a plan, and [B, d, h, w] summed codes of its pictures: the run's own
            tensor, to be used before the next is asked for. Scales of a plan that it does not run
            at the end are not waited for.
        """
        own = [leaving(plan, self.leaves) for plan in plans]
        for plan in own:
            plan.check_fits(self.transformer.shape, self.params.schedule)
            last = plan.compiled.last_run
            self.shared.alone += sum(step.plan.tokens for step in plan.compiled.scales[: last + 1]
                                     if step.plan.run)
        start = self._fork()
        try:
            yield from self._walk(own, list(range(len(own))), 0)
        finally:
            self._go_back(start)

    def residual(self, scale: int, layer: int) -> tuple[Tensor, tuple[int, int]]:
        """What a scale of this branch has left: [R, N, C] and its grid. ``layer`` may be
        ``INPUT``: with the level embedding, as the first block gets it."""
        return self.blocks.updates.known[layer][scale, AFTER]

    def seconds(self) -> dict[Hashable, float]:
        """The shortest time of each step that was run, by :func:`step_keys`; waits for the device.
        Steps that were being recorded or compiled count only where they were never run again."""
        found: dict[Hashable, float] = {}
        for key, scale, clock in self._clocks:
            taken = clock.seconds(scale)
            found[key] = min(found.get(key, taken), taken)
        return found

    def release(self) -> None:
        """Give the workspace back."""
        if self.workspace is not None:
            self._leave()

    def _walk(self, plans: list[SparsityPlan], members: list[int], scale: int
              ) -> Iterator[tuple[int, Tensor]]:
        done = [i for i in members if scale > plans[i].compiled.last_run]
        for i in done:
            yield i, self.summed_codes
        groups: dict[Hashable, list[int]] = {}
        for i in members:
            if i not in done:
                compiled = plans[i].compiled  # by_change: what a run notes of all its scales
                groups.setdefault((compiled.scales[scale], compiled.by_change), []).append(i)
        before = self._fork() if len(groups) > 1 else None
        for number, own in enumerate(groups.values()):
            if number and before is not None:
                self._go_back(before)
            self._follow(plans[own[0]])
            self._one_scale(scale)
            yield from self._walk(plans, own, scale + 1)

    def _one_scale(self, scale: int) -> None:
        step = self.plan_state.plan.compiled.scales[scale]
        if not step.plan.run:
            self._skip(scale)
            return
        key = step_key(scale, step, sum(self.runner.cache.lengths))
        self.clock = Clock(self.device)
        with torch.inference_mode(), attention_ops.held_to(self.backend):
            self._run_scale(scale)
        self._clocks.append((key, scale, self.clock))
        self.shared.run += step.plan.tokens
        self.shared.scales += 1

    def _follow(self, plan: SparsityPlan) -> None:
        """Go on by ``plan``, from what the run has."""
        if self.plan_state.plan is plan:
            return
        memory, change = self.blocks.memory(), self.blocks.selector.change
        self.plan_state = _Branch(plan)
        with torch.inference_mode():
            self._set_blocks(self._watch)
        self.blocks.restore(memory)
        self.blocks.selector.change = change

    def _fork(self) -> Fork:
        change = self.blocks.selector.change
        return Fork(self.blocks.memory(), self.summed_codes.clone(),
                    None if change is None else change.clone(),
                    tuple(generator.get_state() for generator in self._random))

    def _go_back(self, fork: Fork) -> None:
        self.blocks.restore(fork.memory)
        with torch.inference_mode():
            self.summed_codes.copy_(fork.codes)
            if self.workspace is not None:
                self.workspace.codes.copy_(fork.codes)
        self.blocks.selector.change = fork.change
        for generator, state in zip(self._random, fork.random, strict=True):
            generator.set_state(state)
        self.scale_reports.clear()

    def _lay_out(self, scale: int) -> None:
        """Room for every key of a dense run: no branch needs more."""
        if self.workspace is not None or self._laid_out >= 0:
            return
        shape, schedule = self.transformer.shape, self.params.schedule
        self._laid_out = len(schedule)
        self.runner.cache = RerunCache(
            [(n,) * shape.depth for n in schedule.tokens], self.rows, shape.num_heads,
            shape.head_dim, self.runner.dtype, self.device)


class _Branch(PlanState):
    """A plan that other runs may not meet again: its scales are recorded when they are."""

    recurs = False


def step_key(scale: int, step: ScaleStep, keys: int) -> Hashable:
    """What a step's time goes by. ``keys``: in the cache of all layers, before it."""
    return scale, step, keys


def step_keys(plan: SparsityPlan, leaves: Collection[tuple[int, int]] = ()) -> list[Hashable]:
    """The keys of ``BranchingRun.seconds`` that a plan's steps have."""
    found, keys = [], 0
    for scale, step in enumerate(leaving(plan, leaves).compiled.scales):
        if step.plan.run:
            found.append(step_key(scale, step, keys))
            keys += sum(block.tokens for block in step.blocks)
    return found


def left_for(shortcuts: Shortcuts | None, schedule_length: int) -> frozenset[tuple[int, int]]:
    """What scales must leave for any plan that takes these shortcuts."""
    maps: Any = shortcuts.maps if shortcuts is not None else ()
    return frozenset((one.source, layer) for one in maps if one.scale < schedule_length
                     for layer in (INPUT, one.length - 1))
