"""FasterVAR (arXiv 2512.16483) as its Infinity fork runs it.

The last two scales are not run. The one before them is run on the unconditional row alone, without
guidance, and on a few random mixtures of its tokens; most of its output is that of the scale
before, resized. Everything earlier is run in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from ....arguments import whole
from ....models.config import TransformerConfig
from ....schedules import ScaleSchedule
from ...plan import ModelTag, ScalePlan, SparsityPlan, dense_scales, schedule_name
from ...special import Mixtures
from ..base import Option, PlanContext, Recordings, Settings, Strategy
from ..stop import side_shares
from .ranks import TABLE_GROUPS, rank

OFFICIAL_ALPHA = "0.96"
OFFICIAL_SKIPPED = 2
LATE = 3
"""Scales at the end that are not run, or run on mixtures."""


def fastervar_plan(
    shape: TransformerConfig, schedule: ScaleSchedule, alpha: str = OFFICIAL_ALPHA,
    skipped: int = OFFICIAL_SKIPPED, guided: bool = False, by_chunk: bool = False,
) -> SparsityPlan:
    """FasterVAR's plan for any schedule.

    The official code names the scales of the square 1M schedule by their width. Counted from the
    end they are about the same fractions of the final side at every pixel budget and aspect.

    Args:
        alpha: name of the table of ranks: the share of the features' energy that they keep
            (``ranks.alphas``).
        skipped: scales at the end that are not run, 0 to 2; the others of the last three work on
            mixtures. The official loop always skips two, though its table has ranks for them.
        guided: keep both rows and guidance on the last three scales. The official scripts set a
            guidance of 0 there, which leaves the unconditional row.
        by_chunk: groups are the checkpoint's chunks, with the table's first entries, as in the
            official code. Otherwise there are eight groups, as in the models that the table was
            measured on, or as many as there are layers.

    Raises:
        ValueError: a setting is out of range, or the schedule has fewer than four scales.
    """
    skipped = whole("skipped", skipped, 0, LATE - 1)
    count, depth = len(schedule), shape.depth
    if count <= LATE:
        raise ValueError(f"the schedule has {count} scales: FasterVAR's last {LATE} follow on "
                         "another, so it needs more")
    groups = _chunks(shape) if by_chunk else _eighths(depth)
    places = range(TABLE_GROUPS) if by_chunk else [
        g * TABLE_GROUPS // len(groups) for g in range(len(groups))]
    shares, scales = side_shares(schedule), list(dense_scales(schedule, depth))
    for s in range(count - LATE, count):
        tokens = schedule.tokens[s]
        keep = [rank(alpha, place, tokens, shares[s])
                for place, layers in zip(places, groups, strict=False) for _ in range(layers)]
        scales[s] = ScalePlan(
            grid=schedule.grids[s], keep=tuple(keep), conditional=guided,
            special=Mixtures(groups=groups),
        ) if s < count - skipped else scales[s].model_copy(update={"run": False})
    return SparsityPlan(
        strategy="fastervar",
        parameters={"alpha": alpha, "skipped": skipped, "guided": guided, "by_chunk": by_chunk},
        model=ModelTag.of(shape), schedule=schedule_name(schedule), scales=tuple(scales),
        notes=_notes(schedule, groups, skipped, guided),
    )


def _eighths(depth: int) -> tuple[int, ...]:
    """Layers of eight groups as equal as can be, or of as many as there are layers."""
    count = min(TABLE_GROUPS, depth)
    borders = [round(g * depth / count) for g in range(count + 1)]
    return tuple(b - a for a, b in pairwise(borders))


def _chunks(shape: TransformerConfig) -> tuple[int, ...]:
    if shape.block_chunks > TABLE_GROUPS:
        raise ValueError(f"by_chunk: the model has {shape.block_chunks} chunks, FasterVAR's table "
                         f"{TABLE_GROUPS} entries")
    return (shape.blocks_per_chunk,) * shape.block_chunks


def _notes(schedule: ScaleSchedule, groups: tuple[int, ...], skipped: int, guided: bool
           ) -> tuple[str, ...]:
    notes = []
    if schedule.pn != "1M" or schedule.template != "1.0":
        notes.append("FasterVAR's code knows only the square 1M schedule: its scales were taken by "
                     "their place from the end, its ranks in proportion to their tokens")
    if len(groups) != TABLE_GROUPS:
        notes.append(f"FasterVAR's ranks are for {TABLE_GROUPS} groups of layers, here there are "
                     f"{len(groups)}")
    if skipped < OFFICIAL_SKIPPED:
        notes.append(f"FasterVAR's code never runs the last two scales, here {2 - skipped} of them "
                     "work on mixtures, by ranks that it has but does not use")
    if not guided:
        notes.append("cfg has no effect on the last three scales: only the unconditional row is "
                     "run there")
    return tuple(notes)


Alpha = Literal["0.999", "0.99", "0.98", "0.97", "0.96", "0.95", "0.92", "0.91", "0.90", "0.85",
                "0.80", "0.70"]


class FasterVarSettings(Settings):
    """FasterVAR's knobs: see ``fastervar_plan``."""

    alpha: Annotated[Alpha, Option(
        "share of the features' energy that the mixtures keep, by the published table of ranks",
        "Share of the features' energy that the mixtures keep. It selects a row of the published "
        "table of ranks.", decided=True)] = OFFICIAL_ALPHA
    skipped: Annotated[int, Option(
        "how many scales at the end are not run", metavar="N", advanced=True)] = Field(
        default=OFFICIAL_SKIPPED, ge=0, le=LATE - 1)
    guided: Annotated[bool, Option(
        "whether the last three scales keep guidance; as published, only their unconditional half "
        "runs",
        "Whether the last three scales keep guidance. The published method runs only the "
        "unconditional half there.", advanced=True)] = False


def _recorded(run: Mapping[str, Any], shape: TransformerConfig, schedule: ScaleSchedule,
              vae: Callable[[], Any]) -> SparsityPlan:
    """The fork's groups, which are chunks. Guidance of exactly 0 leaves the unconditional row."""
    mixed = run["executed_scales"][-1]
    return fastervar_plan(shape, schedule, run["alpha"], by_chunk=True,
                          guided=run["cfg_list"][mixed] != 0)


class FasterVar(Strategy[FasterVarSettings]):
    """As published, and by other rows of its table for a target."""

    name: ClassVar[str] = "fastervar"
    summary: ClassVar[str] = "one late scale computes random mixtures of its tokens"
    settings: ClassVar[type[Settings]] = FasterVarSettings
    recordings: ClassVar[Recordings | None] = Recordings(_recorded, weights_from="infinity_1m")
    rank: ClassVar[int] = 5
    since: ClassVar[int] = 2

    def plan(self, settings: FasterVarSettings, context: PlanContext) -> SparsityPlan:
        alphas = [settings.alpha] if context.target is None else get_args(Alpha)
        plans = [fastervar_plan(context.shape, context.schedule, alpha, settings.skipped,
                                settings.guided) for alpha in alphas]
        return context.finished(context.dearest(plans), "its published table of ranks has 12 rows")


STRATEGIES = (FasterVar(),)
