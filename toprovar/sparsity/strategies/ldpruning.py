"""LD-Pruning's rule (arXiv 2606.00310): a late scale works where the latent still changes.

The paper prunes tokens by latent discrepancy, the change of the image's latent from one scale to
the next, without decoding, and skips the unconditional row where the two rows have converged. No
code is published. What stands here is the token rule, with settings of our own: on the last scales
only the tokens stay whose codes the scale before changed most, and they run without guidance; or
guidance ends in the run, by each prompt's own convergence (``guidance_stop``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ...models.config import TransformerConfig
from ...schedules import ScaleSchedule
from ..guidance_stop import GuidanceStop
from ..plan import ModelTag, ScalePlan, SparsityPlan, schedule_name
from ..solve import CLOSE, solve
from .base import Option, PlanContext, Settings, Strategy

if TYPE_CHECKING:
    from ..planner import Planner

LEAST = 0.02
"""Share of a scale's tokens below which the scale is not run at all."""


class LdPruningSettings(Settings):
    """Knobs of the rule.

    Attributes:
        scales: at the end, that are pruned; keep: share of the first pruned scale's tokens that
            stay; falloff: by which this is multiplied from one scale to the next.
        unguided: scales at the end that run without guidance.
        guidance_below: see ``GuidanceStop``; None = guidance ends where ``unguided`` says.
    """

    scales: Annotated[int, Option("how many scales at the end drop tokens", metavar="N")] = Field(
        default=3, ge=1, le=12)
    keep: Annotated[float, Option(
        "share of tokens kept on the first of these scales", step=0.05, decided=True)] = Field(
        default=0.6, ge=0, le=1)
    falloff: Annotated[float, Option(
        "the share is multiplied by this from each scale to the next", step=0.05,
        advanced=True)] = Field(default=0.7, ge=0, le=1)
    unguided: Annotated[int, Option("how many scales at the end run without guidance",
                                    metavar="N")] = Field(default=3, ge=0, le=12)
    guidance_below: Annotated[float | None, Option(
        "end guidance inside the run, where the two rows' probabilities of a bit differ by less "
        "than this in the mean", metavar="X", unset="by the number of scales alone", node=False,
        advanced=True)] = Field(default=None, ge=0, le=1)


def ldpruning_plan(shape: TransformerConfig, schedule: ScaleSchedule,
                   settings: LdPruningSettings | None = None) -> SparsityPlan:
    """The plan for any schedule of at least two scales; tokens that do not stay add no codes."""
    settings = settings or LdPruningSettings()
    count = len(schedule)
    first = max(1, count - settings.scales)
    scales = []
    for s, grid in enumerate(schedule.grids):
        tokens = grid[0] * grid[1]
        guided = s < count - settings.unguided or s == 0
        share = 1.0 if s < first else settings.keep * settings.falloff ** (s - first)
        kept = tokens if share >= 1 else round(share * tokens) if share >= LEAST else 0
        pruned = 0 < kept < tokens
        step = ScalePlan(grid=grid, run=kept > 0, keep=(kept or tokens,) * shape.depth,
                         unconditional=guided, rule="change", dropped="exit")
        scales.append(step if pruned else step.model_copy(
            update={"rule": "entropy", "dropped": "identity"}))
    return SparsityPlan(
        strategy="ldpruning", parameters=settings.model_dump(exclude_none=True),
        model=ModelTag.of(shape), schedule=schedule_name(schedule), scales=tuple(scales),
        notes=("LD-Pruning's token rule with this package's settings: no code of the method is "
               "published",),
    )


class LdPruning(Strategy[LdPruningSettings]):
    """The rule, and turned up or down for a target."""

    name: ClassVar[str] = "ldpruning"
    summary: ClassVar[str] = "late scales compute only tokens whose latent still changes"
    settings: ClassVar[type[Settings]] = LdPruningSettings
    rank: ClassVar[int] = 6
    since: ClassVar[int] = 2

    def plan(self, settings: LdPruningSettings, context: PlanContext) -> Planner:
        plan = self._fixed(settings, context)
        if settings.guidance_below is None:
            return plan
        return GuidanceStop(plan, settings.guidance_below, context.cost_model)

    def for_file(self, settings: LdPruningSettings, target: bool) -> LdPruningSettings:
        if settings.guidance_below is not None:
            raise ValueError("guidance_below ends guidance inside the run, so there is no plan to "
                             "write before it: leave it out, or save the plan that a run used "
                             "(generate --save-plan)")
        return settings

    def _fixed(self, settings: LdPruningSettings, context: PlanContext) -> SparsityPlan:
        if context.target is None:
            return context.finished(ldpruning_plan(context.shape, context.schedule, settings))

        asked = settings
        while True:
            plan, reached = solve(lambda u, own=settings: _at(context, own, u), context.cost,
                                  context.target.share)
            # Guidance comes back before a plan stays far below what was asked for; more scales
            # are pruned before it stays above.
            if reached and context.cost(plan) < context.target.share - CLOSE and settings.unguided:
                settings = settings.model_copy(update={"unguided": settings.unguided - 1})
            elif not reached and settings.scales < len(context.schedule) - 1:
                settings = settings.model_copy(update={"scales": settings.scales + 1})
            else:
                return context.finished(_told(plan, asked, settings))


def _at(context: PlanContext, settings: LdPruningSettings, strength: float) -> SparsityPlan:
    """Between pruning nothing (0) and not running the scales (1)."""
    return ldpruning_plan(context.shape, context.schedule, settings.model_copy(update={
        "keep": round(1 - strength, 4),
        "falloff": round(1 - (1 - settings.falloff) * min(1.0, 2 * strength), 4)}))


def _told(plan: SparsityPlan, asked: LdPruningSettings, used: LdPruningSettings) -> SparsityPlan:
    changed = [f"{name} {getattr(used, name)} in place of {getattr(asked, name)}"
               for name in ("scales", "unguided") if getattr(used, name) != getattr(asked, name)]
    if not changed:
        return plan
    return plan.model_copy(update={"notes": (
        *plan.notes, f"to meet the target: {', '.join(changed)}")})


STRATEGIES = (LdPruning(),)
