"""An edit, ready for runs: what is kept of a source, what is drawn, and where work is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..models.text import PackedText
from ..sampling.bits import Sampler
from ..sparsity.plan import SparsityPlan, dense_plan
from ..sparsity.planner import Planner
from ..sparsity.restricted import RestrictedPlanner, restricted_plan
from .choosing import HeldCodes, KeepingSampler
from .mask import COVERED, MARGIN, drawn_tokens, inside_cells, near_region
from .paste import Paste
from .stack import BitStack
from .strength import drawn_by_strength

if TYPE_CHECKING:
    from ..models.config import TransformerConfig
    from ..schedules import ScaleSchedule


@dataclass(frozen=True)
class Region:
    """Details of how a mask is used.

    Attributes:
        covered: the share of a coarse token's area that must lie inside of the mask for the token
            to be drawn, from 0 to below 1.
        margin: how many tokens around the masked part the late scales compute as well.
        whole_until: scales whose shorter side has at most this many tokens compute all of them.
            Later scales compute the masked part and its margin alone. None = half of the finest
            scale's side. A number above that side = every scale computes all tokens.

    Raises:
        ValueError: a value is out of range.
    """

    covered: float = COVERED
    margin: int = MARGIN
    whole_until: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.covered < 1 or self.margin < 0 or (self.whole_until or 0) < 0:
            raise ValueError("a region needs covered from 0 up to 1, margin and whole_until of 0 "
                             f"or more, got {self.covered:g}, {self.margin}, {self.whole_until}")


@dataclass(frozen=True)
class Edit:
    """What a run keeps and draws. Tensors are of one picture, which all share, or of each.

    Attributes:
        source: bits that are kept; None = nothing is (a draft that is begun).
        drawn: tokens that are drawn, of every scale, [1 or B, N] bool on the CPU; None = all.
        fixed: [1 or B, 1, h, w] bool of the finest grid: cells whose codes never change.
        near, counts: see ``mask.near_region``; empty = every scale computes all its tokens.
        until: the last scale that is run; None = all are.
        away: see ``SamplingRun``.
        paste: what is done with decoded pictures.
    """

    source: BitStack | None = None
    drawn: tuple[Tensor | None, ...] = ()
    fixed: Tensor | None = None
    near: Mapping[int, Tensor] = field(default_factory=dict)
    counts: Mapping[int, int] = field(default_factory=dict)
    until: int | None = None
    away: PackedText | None = None
    paste: Paste | None = None

    def part(self, first: int, count: int) -> Edit:
        """The edit of some of the pictures."""
        def cut(t: Tensor | None) -> Tensor | None:
            return t if t is None or len(t) == 1 else t[first : first + count]

        source = self.source
        if source is not None:
            source = source.pick(range(first, first + count) if len(source) > 1 else [0] * count)
        away = self.away
        if away is not None and len(away) > 1:
            away = away.part(first, first + count)
        return replace(
            self, source=source, drawn=tuple(cut(d) for d in self.drawn), fixed=cut(self.fixed),
            near={s: n.expand(count, -1) if len(n) == 1 else n[first : first + count]
                  for s, n in self.near.items()},
            away=away)

    @property
    def images(self) -> int:
        """Pictures that it tells apart; 1 = all are alike."""
        tensors = [*self.drawn, self.fixed, *self.near.values()]
        known = [len(t) for t in tensors if t is not None]
        own = [] if self.source is None else [len(self.source)]
        return max([*known, *own, 1])

    @property
    def last(self) -> int | None:
        """The last scale that must be run; None = all."""
        if self.until is not None or self.source is None:
            return self.until
        touched = [s for s, d in enumerate(self.drawn) if d is None or bool(d.any())]
        return max(touched, default=0)

    @property
    def untouched(self) -> list[bool]:
        """For every scale, whether nothing has been drawn up to it."""
        found, still = [], True
        for drawn in self.drawn:
            still = still and drawn is not None and not bool(drawn.any())
            found.append(still)
        return found

    def planner(self, plan: Planner | None, shape: TransformerConfig, schedule: ScaleSchedule
                ) -> Planner | None:
        """The plan of a run, working where it must."""
        if not self.counts:
            return plan
        plan = plan or dense_plan(shape, schedule)
        if isinstance(plan, SparsityPlan):
            return restricted_plan(plan, self.counts)
        return RestrictedPlanner(plan, self.counts)

    def chooser(self, sampler: Sampler, device: torch.device) -> Sampler:
        """Who decides the bits of a run whose sampler this is."""
        if self.source is None:
            return sampler
        return KeepingSampler(sampler, self.source.to(device), self._placed(device))

    def held(self, shape: TransformerConfig, schedule: ScaleSchedule, device: torch.device
             ) -> HeldCodes | None:
        """What is kept of the codes of a run of this model and size."""
        if self.source is None:
            return None
        patch, fixed = shape.patch, self.fixed
        if fixed is not None:
            fixed = fixed.to(device).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
        height, width = schedule.grids[-1]
        like = torch.zeros(len(self.source), shape.latent_channels, height * patch, width * patch,
                           device=device)
        return HeldCodes(self.source.to(device), self._placed(device), self.untouched, fixed, like,
                         patch)

    def _placed(self, device: torch.device) -> list[Tensor | None]:
        return [None if d is None else d.to(device) for d in self.drawn]


def unfinished(until: int) -> Edit:
    """A run that stops after a scale."""
    return Edit(until=until)


def finishing(source: BitStack, schedule: ScaleSchedule) -> Edit:
    """A run that draws what a draft's scales lack."""
    known = len(source.grids)
    return Edit(source, tuple(
        torch.zeros(1, n, dtype=torch.bool) if s < known else None
        for s, n in enumerate(schedule.tokens)))


def varying(source: BitStack, schedule: ScaleSchedule, strength: float, seeds: Sequence[int],
            mask: Tensor | None = None, region: Region | None = None) -> Edit:
    """A run that draws a part of a source anew.

    Args:
        source: of all scales of ``schedule``, or of the first of them: the others are drawn.
        strength: 0 to 1, see ``strength.first_drawn``.
        seeds: of the pictures.
        mask: [1 or B, 1, H, W] from ``mask.read_mask``: nothing is drawn outside of it. None =
            everywhere.
        region: how the mask is taken.
    """
    region = region or Region()
    drawn: list[Tensor | None] = list(drawn_by_strength(strength, schedule.grids, seeds))
    if all(bool((d == d[:1]).all()) for d in drawn if d is not None):
        drawn = [None if d is None else d[:1] for d in drawn]
    fixed, near, counts = None, {}, {}
    if mask is not None:
        if len(source.grids) < len(schedule):
            raise ValueError("mask_image needs a source of all scales: a draft must be finished "
                             "before a part of it is drawn anew")
        inside = inside_cells(mask, schedule.grids[-1])
        allowed = drawn_tokens(inside, schedule.grids, region.covered)
        drawn = [d & a for d, a in zip(drawn, allowed, strict=True) if d is not None]
        fixed = ~inside
        near, counts = near_region(inside, schedule.grids, region.margin, region.whole_until)
    for scale in range(len(source.grids), len(schedule)):
        drawn[scale] = None
    return Edit(source, tuple(drawn), fixed, near, counts)
