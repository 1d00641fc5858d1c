"""Stopping early: the last scales are not run, and everything before them is run in full.

The baseline for methods that leave out the last scales, too: stopping after side 32 of 64 takes
24.0 % of the dense Infinity-2B's token-rows times layers, FasterVAR 25.3 % and FastVAR 30.2 %.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ...arguments import whole
from ...models.config import TransformerConfig
from ...schedules import ScaleSchedule
from ..plan import ModelTag, SparsityPlan, dense_scales, schedule_name
from .base import Option, PlanContext, Settings, Strategy

FULL_SIDE = 64
"""Tokens a side of the last scale of the square 1M schedule, by which sides are named."""
DEFAULT_SIDE = 32


def stop_plan(
    shape: TransformerConfig, schedule: ScaleSchedule, side: int = DEFAULT_SIDE
) -> SparsityPlan:
    """A plan whose last scale that is run is the one of ``side``.

    Args:
        side: tokens a side on the square 1M schedule, 1 to 64. On other schedules it is the same
            share of the last scale's side (the root of its tokens), and the nearest scale is taken.

    Raises:
        ValueError: ``side`` is out of range.
    """
    side = whole("side", side, 1, FULL_SIDE)
    shares = side_shares(schedule)
    last = min(range(len(shares)), key=lambda s: abs(shares[s] - side / FULL_SIDE))
    notes = ()
    if abs(shares[last] - side / FULL_SIDE) > 1e-9:
        down, across = schedule.grids[last]
        notes = (f"no scale has {side}/{FULL_SIDE} of the last one's side: the run stops after "
                 f"{down} x {across} tokens, the nearest",)
    return SparsityPlan(
        strategy="stop", parameters={"side": side}, model=ModelTag.of(shape),
        schedule=schedule_name(schedule), notes=notes,
        scales=tuple(step if s <= last else step.model_copy(update={"run": False})
                     for s, step in enumerate(dense_scales(schedule, shape.depth))),
    )


def side_shares(schedule: ScaleSchedule) -> list[float]:
    """Side of every scale as a share of the last one's; the side is the root of the tokens."""
    return [(tokens / schedule.tokens[-1]) ** 0.5 for tokens in schedule.tokens]


class StopSettings(Settings):
    """Where to stop.

    Attributes:
        side: see ``stop_plan``.
    """

    side: Annotated[int, Option(
        "side of the last scale that is run, in tokens of the square 1M schedule (64 a side)",
        "Side of the last scale that is run, in tokens. It is counted as in the square 1M size, "
        "whose last scale has 64 tokens a side.", metavar="N", decided=True)] = Field(
            default=DEFAULT_SIDE, ge=1, le=FULL_SIDE)


class Stop(Strategy[StopSettings]):
    """The baseline of methods that leave out the last scales."""

    name: ClassVar[str] = "stop"
    summary: ClassVar[str] = "leaves out the last scales and nothing else"
    settings: ClassVar[type[Settings]] = StopSettings
    rank: ClassVar[int] = 4
    since: ClassVar[int] = 2

    def plan(self, settings: StopSettings, context: PlanContext) -> SparsityPlan:
        plans = [stop_plan(context.shape, context.schedule, settings.side)]
        if context.target is not None:
            sides = {round(share * FULL_SIDE) or 1 for share in side_shares(context.schedule)}
            plans = [stop_plan(context.shape, context.schedule, side) for side in sorted(sides)]
        return context.finished(context.dearest(plans), "it can only leave out whole scales")


STRATEGIES = (Stop(),)
