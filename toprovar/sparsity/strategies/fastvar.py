"""FastVAR (arXiv 2503.23367) as its Infinity fork runs it.

The last two scales are not run. On the two before them, layers 3 to 27 of 32 work only on tokens
that are far from the mean token, chosen anew before every sub-layer and for each guidance row; the
others get the sub-layer's output of the scale before those two, resized by area averaging.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ...models.config import TransformerConfig
from ...schedules import ScaleSchedule
from ..plan import ModelTag, ScalePlan, SparsityPlan, schedule_name
from ..solve import CLOSE, solve
from .base import Option, PlanContext, Recordings, Settings, Strategy

OFFICIAL_DROP = (0.4, 0.5, 1.0, 1.0)
"""Share of tokens dropped on the last four scales; 1 = the scale is not run."""
OFFICIAL_LAYERS = (3, 27)
"""First and last layer that drops tokens, of 32."""


def official_layers(depth: int) -> tuple[int, int]:
    """First and last layer that drops tokens: the official ones, in proportion to the depth."""
    if depth == 32:
        return OFFICIAL_LAYERS
    first, last = (round(layer * depth / 32) for layer in OFFICIAL_LAYERS)
    return min(first, depth - 1), min(last, depth - 1)


def fastvar_plan(
    shape: TransformerConfig, schedule: ScaleSchedule, drop: Sequence[float] = OFFICIAL_DROP,
    layers: tuple[int, int] | None = None,
) -> SparsityPlan:
    """FastVAR's plan for any schedule.

    The official code names the scales of the square 1M schedule by their width. Counted from the
    end they are about the same fractions of the final side at every pixel budget and aspect.

    Args:
        drop: share of tokens dropped on the last ``len(drop)`` scales, 0 to 1; 1 = not run.
        layers: first and last layer that drops tokens; None = ``official_layers``.
    """
    count, depth = len(schedule), shape.depth
    if not 1 <= len(drop) < count:
        raise ValueError(f"drop has {len(drop)} entries: expected 1 to {count - 1} for a schedule "
                         f"of {count} scales")
    if any(not 0 <= share <= 1 for share in drop):
        raise ValueError(f"drop must lie between 0 and 1, got {tuple(drop)}")
    first, last = layers or official_layers(depth)
    if not 0 <= first <= last:
        raise ValueError(f"layers must be (first, last) with 0 <= first <= last, got {layers}")
    begin = count - len(drop)
    scales = []
    for s, grid in enumerate(schedule.grids):
        tokens = grid[0] * grid[1]
        share = drop[s - begin] if s >= begin else 0.0
        kept = tokens - int(tokens * share)
        partial = 0 < kept < tokens
        scales.append(ScalePlan(
            grid=grid, run=kept > 0,
            keep=tuple(kept if partial and first <= layer <= last else tokens
                       for layer in range(depth)),
            **({"rule": "variance", "per": "sublayer", "rows": "separate", "dropped": "cached",
                "source": begin - 1, "resize": "area"} if partial else {}),
        ))
    notes = []
    if schedule.pn != "1M" or schedule.template != "1.0":
        notes.append("FastVAR's code knows only the square 1M schedule: its scales were taken by "
                     "their place from the end")
    if depth != 32 and layers is None:
        notes.append(f"FastVAR's layers 3 to 27 of 32 became {first} to {last} of {depth}")
    return SparsityPlan(
        strategy="fastvar", parameters={"drop": list(drop), "layers": [first, last]},
        model=ModelTag.of(shape), schedule=schedule_name(schedule), scales=tuple(scales),
        notes=tuple(notes),
    )


def fastvar_at(shape: TransformerConfig, schedule: ScaleSchedule, strength: float,
               skipped: int = 0) -> SparsityPlan:
    """FastVAR between doing nothing (0), its official ratios (0.5) and not running the last four
    scales (1).

    Args:
        skipped: scales at the end that are not run whatever the strength.
    """
    if strength <= 0.5:
        drop = [share * 2 * strength for share in OFFICIAL_DROP]
    else:
        drop = [share + (1 - share) * (2 * strength - 1) for share in OFFICIAL_DROP]
    drop[len(drop) - skipped :] = [1.0] * skipped
    return fastvar_plan(shape, schedule, [round(share, 4) for share in drop])


def fastvar_for(shape: TransformerConfig, schedule: ScaleSchedule,
                cost: Callable[[SparsityPlan], float], target: float) -> tuple[SparsityPlan, bool]:
    """The mildest plan that costs at most ``target``, and whether there is one.

    Along ``fastvar_at`` the cost jumps where scales cease to run, two at a time. Where the jump
    passes over the target, fewer or more scales at the end are left out and the others drop so
    many tokens that it is met.
    """
    found, reached = solve(lambda u: fastvar_at(shape, schedule, u), cost, target)
    if reached and cost(found) < target - CLOSE:
        ways = [solve(lambda u, n=n: fastvar_at(shape, schedule, u, n), cost, target)
                for n in range(1, len(OFFICIAL_DROP) + 1)]
        found = max([found, *(plan for plan, fits in ways if fits)], key=cost)
    return found, reached


Share = Annotated[float, Field(ge=0, le=1)]


class FastVarSettings(Settings):
    """FastVAR's knob.

    Attributes:
        drop: share of tokens dropped on the last scales; 1 = not run.
    """

    drop: Annotated[tuple[Share, ...], Option(
        "share of tokens dropped on the last scales, such as 0.4,0.5,1,1; 1 = not run (default: "
        "the official ones)", flag="--drop", metavar="LIST", decided=True,
        tooltip="Share of tokens dropped on each of the last scales. 1 = the scale is not run.",
    )] = OFFICIAL_DROP


def _recorded(run: Mapping[str, Any], shape: TransformerConfig, schedule: ScaleSchedule,
              vae: Callable[[], Any]) -> SparsityPlan:
    """The fork's hard-coded layers, also on a model of six."""
    return fastvar_plan(shape, schedule, layers=OFFICIAL_LAYERS)


def _known(run: Mapping[str, Any], goldens: Collection[str]) -> bool:
    """Only these were recorded with the tokens that they kept."""
    return any(name.startswith(("kept.", "kept_count.")) for name in goldens)


class FastVar(Strategy[FastVarSettings]):
    """As published, and turned up or down for a target."""

    name: ClassVar[str] = "fastvar"
    summary: ClassVar[str] = "drops fixed shares of the last scales' tokens"
    settings: ClassVar[type[Settings]] = FastVarSettings
    recordings: ClassVar[Recordings | None] = Recordings(_recorded, _known)
    rank: ClassVar[int] = 2
    since: ClassVar[int] = 1

    def plan(self, settings: FastVarSettings, context: PlanContext) -> SparsityPlan:
        if context.target is None:
            plan = fastvar_plan(context.shape, context.schedule, settings.drop)
        else:
            plan, _ = fastvar_for(context.shape, context.schedule, context.cost,
                                  context.target.share)
        return context.finished(plan)


STRATEGIES = (FastVar(),)
