"""What a plan comes to in a run: one step for every scale and block.

A plan is written for people and files. Here its fields become what the scale loop executes: how
many tokens a block works on and where their indices come from, what the others get, which keys
attention sees, what is measured, and what is kept for later scales. Loop, recorded graphs, cost
model, tables and pictures all read these steps, so that a plan's meaning stands in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from .linear_shortcut import INPUT, LinearShortcut
from .scale_plan import ScalePlan

Chosen = Literal["all", "none", "layer", "part", "scale", "mixtures"]
"""Which tokens a block works on. all: every one. none: the block is not run. layer: chosen for the
block. part: chosen for each of its sub-layers. scale: chosen once, for all layers. mixtures: random
mixtures of them (``special``)."""


class Window(NamedTuple):
    """Which keys a block's attention sees, where not all.

    Attributes:
        grids: of the scales whose keys its cache holds, the block's own last.
        sinks: how many of them are seen whole; radius: see ``special.AttentionWindow``.
    """

    grids: tuple[tuple[int, int], ...]
    sinks: int
    radius: int


class BlockStep(NamedTuple):
    """What one block does at one scale.

    Attributes:
        tokens: on which it works, 0 to all.
        chosen: which they are.
        by_part: whether it runs sub-layer by sub-layer.
        fallback: the scale whose update of this block the other tokens get; None = they keep their
            residual.
        keys: in its cache when its attention runs, its own included.
        window: which of them it sees, None = all.
        held: keys that its cache holds afterwards: all, or some where the plan bounds caches.
        measured: whether the entropy of its attention is taken, as a later scale chooses by it.
        stored: whether its update is kept for a later scale.
        passed_on: whether the residual after it is kept for a later scale's shortcuts or mixtures;
            restored: with its whole precision.
        same_next: whether the next block works on the same tokens, whatever these will be.
    """

    tokens: int
    chosen: Chosen
    by_part: bool = False
    fallback: int | None = None
    keys: int = 0
    held: int = 0
    window: Window | None = None
    measured: bool = False
    stored: bool = False
    passed_on: bool = False
    restored: bool = False
    same_next: bool = False


class Needed(NamedTuple):
    """Scales of which something is still needed after a block: its update, or the residual."""

    updates: frozenset[int]
    residuals: frozenset[int]


@dataclass(frozen=True)
class ScaleStep:
    """What a run does at one scale.

    Attributes:
        plan: as it was written.
        blocks: one step a layer.
        first: the first block that is run; those before it are left out by a shortcut.
        rejoin: the block before which tokens that were dropped come back, 0 = none do.
        source: the scale run before, whose residuals shortcuts and mixtures start from; None =
            neither is there.
        input_passed_on: whether the first block's input is kept for a later scale.
    """

    plan: ScalePlan
    blocks: tuple[BlockStep, ...]
    first: int
    rejoin: int
    source: int | None
    input_passed_on: bool

    @property
    def jumps(self) -> int:
        """How many shortcuts predict the scale's tokens."""
        return (self.first > 0) + (self.rejoin > 0)

    @cached_property
    def guiding(self) -> tuple[int, ...]:
        """Layers whose entropy maps choose tokens."""
        return tuple(n for n in range(len(self.blocks)) if self.plan.guided_by(n))


@dataclass(frozen=True)
class CompiledPlan:
    """The steps of a whole run.

    Attributes:
        scales: one step a scale.
        linear_shortcuts: the shortcuts that are taken.
        left: (scale, layer or ``INPUT``) of residuals that stay to the end (``leaving``).
    """

    scales: tuple[ScaleStep, ...]
    linear_shortcuts: frozenset[LinearShortcut]
    left: frozenset[tuple[int, int]] = frozenset()

    @cached_property
    def last_run(self) -> int:
        """The last scale that is run."""
        return max(s for s, step in enumerate(self.scales) if step.plan.run)

    @cached_property
    def bounded(self) -> bool:
        """Whether some layers do not hold all their keys."""
        return any(block.held < block.keys for step in self.scales for block in step.blocks)

    @cached_property
    def by_change(self) -> bool:
        """Whether some scale chooses tokens by how much the scale before changed the codes."""
        return any(s.plan.sparse and s.plan.rule == "change" for s in self.scales)

    def where(self, what: Literal["measured", "stored", "passed_on", "restored"]
              ) -> frozenset[tuple[int, int]]:
        """(scale, layer) of the blocks of which this is true; of ``passed_on``, with the layer
        ``INPUT`` for what the first block is given."""
        found = {(s, n) for s, step in enumerate(self.scales)
                 for n, block in enumerate(step.blocks) if getattr(block, what)}
        if what == "passed_on":
            found |= {(s, INPUT) for s, step in enumerate(self.scales) if step.input_passed_on}
        return frozenset(found)

    @cached_property
    def _needed(self) -> dict[int, list[Needed]]:
        """By layer (or ``INPUT``), scale by scale."""
        depth = len(self.scales[0].blocks)
        found: dict[int, list[Needed]] = {}
        for layer in range(INPUT, depth):
            rows: list[Needed] = []
            updates, residuals = set[int](), set[int]()
            for s in reversed(range(len(self.scales))):
                left = {earlier for earlier in range(s + 1) if (earlier, layer) in self.left}
                rows.append(Needed(frozenset(updates), frozenset(residuals | left)))
                step = self.scales[s]
                if layer != INPUT and (source := step.blocks[layer].fallback) is not None:
                    updates.add(source)
                if step.source is not None and layer in _starts_from(step):
                    residuals.add(step.source)
            found[layer] = rows[::-1]
        return found

    def needed_after(self, scale: int, layer: int) -> Needed:
        """What scales after ``scale`` still need of a layer, or of ``INPUT``."""
        return self._needed[layer][scale]


def compile_scales(scales: Sequence[ScalePlan]) -> CompiledPlan:
    """The steps that the scales of a sound plan come to."""
    before = scales_before(scales)
    fallbacks = fallback_sources(scales)
    linear_shortcuts = frozenset(
        LinearShortcut(source, s, length)
        for s, (source, plan) in enumerate(zip(before, scales, strict=True))
        if source is not None and plan.run
        for length in (plan.shortcut, plan.rejoin) if length)
    restored = {(before[s], layer) for s, plan in enumerate(scales)
                if plan.run and plan.special for layer in plan.special.ends}
    passed_on = restored | {(shortcut.source, layer) for shortcut in linear_shortcuts
                            for layer in (INPUT, shortcut.length - 1)}
    stored = {(source, layer) for row in fallbacks for layer, source in enumerate(row)
              if source is not None}
    parted = {(source, layer) for plan, row in zip(scales, fallbacks, strict=True)
              if plan.per == "sublayer" for layer, source in enumerate(row)}
    measured = _measured(scales)
    keys, held = ([0] * len(scales[0].keep) for _ in range(2))
    last = max(s for s, plan in enumerate(scales) if plan.run)
    bounded = any(plan.run and plan.cache for plan in scales)
    steps = []
    for s, plan in enumerate(scales):
        blocks, whole, by_part = [], plan.tokens, plan.per == "sublayer"
        some = _chosen_in(plan)
        for layer, kept in enumerate(plan.keep):
            place, tokens = (s, layer), kept if plan.run else 0
            keys[layer] = held[layer] + tokens
            most = plan.cache[layer] if plan.cache and tokens else keys[layer]
            held[layer] = 0 if bounded and s >= last else min(keys[layer], most)
            all_of_them = tokens == whole and not plan.special
            part = by_part if kept < whole else place in parted
            blocks.append(BlockStep(
                tokens, "all" if all_of_them else some if tokens else "none", part,
                fallbacks[s][layer], keys[layer], held[layer],
                _window(scales, s, layer) if plan.window and tokens else None,
                place in measured, place in stored, place in passed_on, place in restored,
                not part and _same_next(plan, layer, whole) and (s, layer + 1) not in parted,
            ))
        special = plan.run and bool(plan.special or plan.shortcut or plan.rejoin)
        steps.append(ScaleStep(plan, tuple(blocks), plan.shortcut if plan.run else 0, plan.rejoin,
                               before[s] if special else None, (s, INPUT) in passed_on))
    return CompiledPlan(tuple(steps), linear_shortcuts)


def scales_before(scales: Sequence[ScalePlan]) -> list[int | None]:
    """The latest scale that is run before each scale, None = there is none."""
    found, latest = [], None
    for s, plan in enumerate(scales):
        found.append(latest)
        latest = s if plan.run else latest
    return found


def fallback_sources(scales: Sequence[ScalePlan]) -> list[tuple[int | None, ...]]:
    """[scale][layer]: the scale whose update stands in for dropped tokens, None = nothing does.

    A fixed source is used as it is. Otherwise it is the latest scale run before, whose updates are
    whole: its own dropped tokens carry the updates that stood in for them.
    """
    return [
        tuple((latest if plan.source is None else plan.source)
              if plan.run and plan.dropped == "cached" and kept < plan.tokens else None
              for kept in plan.keep)
        for plan, latest in zip(scales, scales_before(scales), strict=True)
    ]


def _measured(scales: Sequence[ScalePlan]) -> set[tuple[int, int]]:
    """(scale, layer) whose entropy some later scale chooses tokens by: the latest before it that
    has a map (mixtures have none)."""
    found, latest = set(), [-1] * len(scales[0].keep)
    for s, plan in enumerate(scales):
        guides = plan.sparse and plan.rule.startswith("entropy")
        for layer, kept in enumerate(plan.keep):
            if guides and plan.guided_by(layer):
                found.add((latest[layer], layer))
            if plan.run and kept and not plan.special:
                latest[layer] = s
    return found


def _window(scales: Sequence[ScalePlan], s: int, layer: int) -> Window:
    """The window of a layer that is run at scale ``s``."""
    window = scales[s].window
    assert window is not None
    run = [i for i, plan in enumerate(scales[: s + 1]) if plan.run and plan.keep[layer]]
    return Window(tuple(scales[i].grid for i in run), sum(i < window.sinks for i in run),
                  window.radius)


def _chosen_in(plan: ScalePlan) -> Chosen:
    """How a scale's layers that work on some tokens get them."""
    if plan.special:
        return "mixtures"
    return "scale" if plan.together else "part" if plan.per == "sublayer" else "layer"


def _same_next(plan: ScalePlan, layer: int, whole: int) -> bool:
    """Whether the next block works on the same tokens, if it runs whole."""
    after = layer + 1
    if after == len(plan.keep):
        return False
    if plan.special:
        return layer not in plan.special.ends
    if plan.per == "sublayer" and plan.keep[after] < whole:
        return False
    same = plan.keep[layer] == plan.keep[after]
    return same and (plan.keep[layer] == whole or plan.together)


def _starts_from(step: ScaleStep) -> set[int]:
    """Layers after which the residual of the scale before is read."""
    if step.plan.special:
        return set(step.plan.special.ends)
    return {INPUT, *(length - 1 for length in (step.first, step.rejoin) if length)}
