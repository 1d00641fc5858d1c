"""What running fewer scales, and fewer with guidance, does to pictures: measured, step by step.

From the dense run on, every single step further down is tried (guidance ends one scale earlier, or
one more scale is not run), and the one that loses least for what it saves is taken. All that was
tried is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from ..entropy.calibration import Choice
from ..models.config import TransformerConfig
from ..schedules import ScaleSchedule
from ..sparsity.cost import count
from ..sparsity.plan import ModelTag, ScalePlan, SparsityPlan, schedule_name

LEAST_COST = 0.05
"""Share of the dense FLOPs at which the descent ends."""
LEAST_GUIDED = 2
"""Scales that always run with guidance: they fix what is shown, and cost nothing."""
SKIPPABLE = 5
"""Scales at the end that may be left out."""

Measure = Callable[[SparsityPlan], tuple[Tensor, Tensor]]
"""A plan -> likeness and SSIM of every picture, [P] each."""
State = tuple[int, tuple[int, ...]]
"""Guided scales, skipped scales."""


def explore(shape: TransformerConfig, schedule: ScaleSchedule, measure: Measure,
            fewest_tokens: int) -> tuple[Choice, ...]:
    """Try choices from the dense run downwards.

    Args:
        measure: draws the pictures of a plan.
        fewest_tokens: smaller scales are always run.
    """
    state: State = (len(schedule), ())
    tried: dict[State, Choice] = {state: Choice(guided=state[0], likeness=1.0, ssim=1.0)}
    while True:
        here, paid = tried[state], _cost(shape, schedule, state)
        if paid <= LEAST_COST:
            break
        steps: dict[State, float] = {}
        for after in _steps(schedule, state, fewest_tokens):
            if after not in tried:
                likeness, ssim = measure(choice_plan(shape, schedule, *after))
                tried[after] = Choice(guided=after[0], skipped=after[1],
                                      likeness=round(float(likeness.mean()), 5),
                                      ssim=round(float(ssim.mean()), 5))
            saved = paid - _cost(shape, schedule, after)
            steps[after] = (here.likeness - tried[after].likeness) / saved
        if not steps:
            break
        state = min(steps, key=lambda s: steps[s])
    return tuple(sorted(tried.values(), key=lambda c: -c.likeness))


def most_choices(schedule: ScaleSchedule, fewest_tokens: int) -> int:
    """An upper bound of the plans that :func:`explore` draws."""
    many = len(_skippable(schedule, fewest_tokens))
    return len(schedule) * (many + 1) + many * (many + 1)


def choice_plan(shape: TransformerConfig, schedule: ScaleSchedule, guided: int,
                skipped: tuple[int, ...]) -> SparsityPlan:
    """All tokens of the scales that are not skipped; guidance at the first ``guided`` scales."""
    scales = tuple(
        ScalePlan(grid=grid, keep=(n,) * shape.depth, run=s not in skipped,
                  unconditional=s < guided)
        for s, (grid, n) in enumerate(zip(schedule.grids, schedule.tokens, strict=True))
    )
    return SparsityPlan(strategy="choice", model=ModelTag.of(shape),
                        schedule=schedule_name(schedule), scales=scales)


def _cost(shape: TransformerConfig, schedule: ScaleSchedule, state: State) -> float:
    return count(choice_plan(shape, schedule, *state), shape).flop_share


def _skippable(schedule: ScaleSchedule, fewest_tokens: int) -> list[int]:
    count_ = len(schedule)
    return [s for s in range(max(1, count_ - SKIPPABLE), count_)
            if schedule.tokens[s] >= fewest_tokens]


def _steps(schedule: ScaleSchedule, state: State, fewest_tokens: int) -> Iterator[State]:
    guided, skipped = state
    fewer = guided - 1
    while fewer in skipped:  # a scale that is not run saves nothing by losing its guidance
        fewer -= 1
    if fewer >= LEAST_GUIDED:
        yield fewer, skipped
    for scale in _skippable(schedule, fewest_tokens):
        if scale not in skipped:
            yield guided, tuple(sorted({*skipped, scale}))
