"""Late scales attend to a window of every scale: SparVAR's idea (arXiv 2602.04361), own windows.

Every token is worked on by every layer. At the last scales attention sees the first scales whole
and, of the later ones, what lies around a token's own place in the picture.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ...arguments import whole
from ...models.config import TransformerConfig
from ...schedules import ScaleSchedule
from ..plan import ModelTag, SparsityPlan, dense_scales, schedule_name
from ..special import AttentionWindow
from .base import Option, PlanContext, Settings, Strategy

SCALES, SINKS = 2, 6
LEAST_RADIUS = 4
"""The default is an eighth of the last scale's side and no less than this: narrower windows cost
the embedded model 3 to 15 points of its score (docs/research/quality.md)."""
WORTH = 0.5
"""Share of its keys that a scale may see; where windows hide less, it stays dense: they would cost
more time than they save."""
RADII = (2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32)
"""Those that a target chooses from."""


def window_plan(shape: TransformerConfig, schedule: ScaleSchedule, radius: int | None = None,
                scales: int = SCALES, sinks: int = SINKS, worth: float = WORTH) -> SparsityPlan:
    """A plan whose last scales see windows.

    Args:
        radius: tokens beyond a token's own tile of 8 x 8, counted at the scale that is looked at;
            None = an eighth of the last scale's shorter side, at least 4.
        scales: how many scales at the end; sinks: scales at the start that are seen whole.
        worth: a scale that would see more than this share of its keys stays dense, with a note.

    Raises:
        ValueError: ``scales`` or ``sinks`` are more than the schedule has.
    """
    from ...ops.windows import Window, seen_share

    count = len(schedule)
    scales, sinks = whole("scales", scales, 0, count), whole("sinks", sinks, 0, count)
    if radius is None:
        radius = max(LEAST_RADIUS, min(schedule.grids[-1]) // 8)
    window, notes, late = AttentionWindow(sinks=sinks, radius=radius), [], set[int]()
    for s in range(count - scales, count):
        share = seen_share(schedule.grids[: s + 1], Window(sinks, radius))
        if share <= worth:
            late.add(s)
        else:
            notes.append(f"scale {s} would see {share:.0%} of its keys through windows, which "
                         "saves no time: it stays dense")
    return SparsityPlan(
        strategy="window", parameters={"radius": radius, "scales": scales, "sinks": sinks},
        model=ModelTag.of(shape), schedule=schedule_name(schedule), notes=tuple(notes),
        scales=tuple(step.model_copy(update={"window": window}) if s in late else step
                     for s, step in enumerate(dense_scales(schedule, shape.depth))),
    )


class WindowSettings(Settings):
    """What is seen.

    Attributes:
        radius, scales, sinks: see ``window_plan``.
    """

    radius: Annotated[int | None, Option(
        "tokens that a window reaches beyond a tile of 8 x 8 tokens, on the scale attended to",
        "How many tokens a window reaches beyond a tile of 8 x 8 tokens, counted on the scale that "
        "is attended to. 0 = an eighth of the last scale's side, but at least 4.",
        metavar="N", decided=True, unset="an eighth of the last scale's side, at least 4",
        node_unset=0)] = Field(default=None, ge=1, le=256)
    scales: Annotated[int, Option("how many scales at the end attend through windows",
                                  metavar="N")] = Field(
        default=SCALES, ge=0, le=32)
    sinks: Annotated[int, Option(
        "how many scales at the start are always attended to in full", metavar="N",
        advanced=True)] = Field(default=SINKS, ge=0, le=32)


class WindowStrategy(Strategy[WindowSettings]):
    """Less work in attention, nowhere else."""

    name: ClassVar[str] = "window"
    summary: ClassVar[str] = (
        "on the last scales, a token attends only to its surroundings on earlier scales")
    settings: ClassVar[type[Settings]] = WindowSettings
    rank: ClassVar[int] = 8
    since: ClassVar[int] = 3

    def plan(self, settings: WindowSettings, context: PlanContext) -> SparsityPlan:
        def made(radius: int | None) -> SparsityPlan:
            return window_plan(context.shape, context.schedule, radius,
                               min(settings.scales, len(context.schedule)),
                               min(settings.sinks, len(context.schedule)))

        plans = [made(settings.radius)]
        if context.target is not None:
            plans = [made(radius) for radius in RADII]
        return context.finished(context.dearest(plans),
                                "only attention becomes less, and windows come in steps")


STRATEGIES = (WindowStrategy(),)
