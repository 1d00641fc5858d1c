"""Plans that tell how a model takes it when tokens are left out: by which way, from which scale."""

from __future__ import annotations

from collections.abc import Sequence

from ..entropy.kinds import LayerClass
from ..entropy.schedule_entry import Choice
from ..models.config import TransformerConfig
from ..schedules import ScaleSchedule
from ..sparsity.plan import ModelTag, Rule, ScalePlan, SparsityPlan, Way, schedule_name
from .choices import State, choice_plan

WAYS: tuple[Way, ...] = ("identity", "cached", "exit")
MOST_UNGUIDED = 3
"""Scales at the end that are tried without guidance."""


def probe_plan(shape: TransformerConfig, schedule: ScaleSchedule, start: int, keep: float,
               way: Way, off: int = 0, guide: tuple[int, ...] = ()) -> SparsityPlan:
    """A share ``keep`` of the tokens, by entropy, from scale ``start`` on.

    Args:
        way: what the others get; where they exit, later scales are not run.
        off: scales at the end without guidance.
        guide: layers whose maps choose tokens that exit; empty = all.
    """
    scales = []
    for scale, (grid, n) in enumerate(zip(schedule.grids, schedule.tokens, strict=True)):
        guided = scale < len(schedule) - off
        if scale < start:
            scales.append(ScalePlan(grid=grid, keep=(n,) * shape.depth, unconditional=guided))
            continue
        scales.append(ScalePlan(
            grid=grid, keep=(max(1, round(n * keep)),) * shape.depth, rule="entropy", dropped=way,
            unconditional=guided, run=way != "exit" or scale == start,
            guide=guide if way == "exit" else (),
        ))
    return SparsityPlan(strategy="probe", model=ModelTag.of(shape),
                        schedule=schedule_name(schedule), scales=tuple(scales))


def detail_layers(classes: Sequence[LayerClass]) -> tuple[int, ...]:
    """Those whose maps choose tokens that exit."""
    return tuple(i for i, kind in enumerate(classes) if kind == "detail")


def may_start(schedule: ScaleSchedule, fewest_tokens: int) -> list[int]:
    """Scales from which on tokens may be dropped."""
    return [s for s, n in enumerate(schedule.tokens) if s > 0 and n >= fewest_tokens]


def unguided_scales(schedule: ScaleSchedule) -> int:
    """How many scales at the end are tried without guidance."""
    return min(MOST_UNGUIDED, len(schedule) - 1)


def sparing_pair(choices: Sequence[Choice], count: int) -> tuple[State, State] | None:
    """The choice, and the cheaper one, between which plans lie that spare a part of the last
    scale's tokens: those tokens take a longer shortcut or, where no two choices differ by that
    alone, exit. The pair that lies farthest apart, the likest of these; without any, the likest
    choice but the dense run, and the same with its tokens exiting. None if there is no choice.

    Args:
        count: scales of the schedule.
    """
    by_state = {State.of(c): c for c in choices}
    found = []
    for state, choice in by_state.items():
        last = max(s for s in range(count) if s not in state.skipped)
        short = dict(state.shortcuts).get(last, 0)
        for other, below in by_state.items():
            if below.likeness >= choice.likeness or other.guided != state.guided:
                continue
            theirs, mine = dict(other.shortcuts), dict(state.shortcuts)
            long = theirs.pop(last, 0)
            mine.pop(last, 0)
            if theirs != mine:
                continue
            if other.skipped == state.skipped and long > short > 0:
                found.append((1, long - short, choice.likeness, state, other))
            elif other.skipped == tuple(sorted({*state.skipped, last})) and not long:
                found.append((0, 0, choice.likeness, state, other))
    if found:
        return max(found)[3:]
    first = max((c for c in choices if c.likeness < 1), key=lambda c: c.likeness, default=None)
    if first is None:
        return None
    state = State.of(first)
    return state, state.without(max(s for s in range(count) if s not in state.skipped))


def sparing_plan(shape: TransformerConfig, schedule: ScaleSchedule, pair: tuple[State, State],
                 share: float, rule: Rule, guide: tuple[int, ...], identity: str | None
                 ) -> SparsityPlan:
    """``share`` of the tokens of the last scale that the first of ``pair`` runs are worked on as
    it does, the others as the second does."""
    state, below = pair
    last = max(s for s in range(len(schedule)) if s not in state.skipped)
    plan = choice_plan(shape, schedule, *state, identity=identity)
    step, long = plan.scales[last], dict(below.shortcuts).get(last, 0)
    kept = max(1, round(step.tokens * share))
    if last in below.skipped:
        keep = tuple(kept if n else 0 for n in step.keep)
        change = {"dropped": "exit"}
    else:
        keep = tuple(kept if step.shortcut <= n < long else k for n, k in enumerate(step.keep))
        change = {"dropped": "shortcut"}
    mixed = step.model_copy(update={"keep": keep, "rule": rule,
                                    "guide": guide if rule == "entropy" else (), **change})
    return SparsityPlan.model_validate(plan.model_dump() | {"scales": (
        *plan.scales[:last], ScalePlan.model_validate(mixed.model_dump()),
        *plan.scales[last + 1 :])})


def gain_at_half(likeness: float, above: float, below: float) -> float:
    """How much better than half-way between two choices a plan is that works on half the tokens,
    as a share of what lies between them, 0 to 0.5."""
    gap = above - below
    return 0.0 if gap <= 0 else round(min(max((likeness - (above + below) / 2) / gap, 0.0), 0.5), 4)
