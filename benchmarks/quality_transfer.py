"""What ``benchmarks.quality`` compares on a model that was not calibrated: the prior, how it might
have been chosen, and the other methods."""

from __future__ import annotations

from benchmarks.quality_plans import Entry
from toprovar.analysis.choices import choice_plan
from toprovar.pipeline import InfinityPipeline
from toprovar.planning import make_plan
from toprovar.schedules import ScaleSchedule
from toprovar.sparsity.cost import Target, predict
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.prior import family_prior
from toprovar.sparsity.strategies.skipvar.policies import skipvar_plan
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

BUDGETS = (0.5, 0.33, 0.2)
STAY = (0.2, 0.5)
"""Shares of the last scale's tokens beside the prior's."""


def uncalibrated(pipeline: InfinityPipeline, schedule: ScaleSchedule) -> list[Entry]:
    """All rows, the prior first."""
    shape, count = pipeline.transformer.shape, len(schedule)
    last = count - 1

    def own(target: Target | None = None, **knobs: object) -> SparsityPlan:
        settings = ToProVarSettings.model_validate(knobs)
        return predict(toprovar_plan(shape, schedule, settings, None, target), shape)

    def staying(share: float, unguided: int) -> SparsityPlan:
        return own(start_scale=last, alpha_min=1 - share, alpha_max=1 - share,
                   unconditional_off=unguided)

    off = family_prior().size(count).unguided
    fastvar = make_plan(pipeline, "fastvar", schedule)
    assert isinstance(fastvar, SparsityPlan)
    found = [Entry("prior", None, own()),
             Entry("prior, random", None, own(rule="random"), "control"),
             Entry("prior, entropy_reversed", None, own(rule="entropy_reversed"), "control"),
             Entry("prior, change", None, own(rule="change"), "control"),
             Entry("fastvar, official", None, fastvar),
             Entry("skipvar, last scale not run", None, predict(skipvar_plan(
                 shape, schedule, 1, 0), shape)),
             Entry("skipvar, 3 unguided", None, predict(skipvar_plan(
                 shape, schedule, 0, 3), shape))]
    found += [Entry("prior", budget, own(Target(budget))) for budget in BUDGETS]
    found += [Entry(f"{off} unguided, {share:.0%} stay", None, staying(share, off), "ablation")
              for share in STAY]
    found += [
        Entry(f"{off} unguided, last not run", None, predict(choice_plan(
            shape, schedule, count - off, (last,)), shape), "ablation"),
        Entry(f"{off} unguided, last but one not run", None, predict(choice_plan(
            shape, schedule, count - off, (last - 1,)), shape), "ablation"),
        Entry("identity, unguided late", 0.5, own(
            Target(0.5), start_scale=last - 2, dropped="identity", unconditional_off=off),
            "ablation"),
        Entry("cached, unguided late", 0.5, own(
            Target(0.5), start_scale=last - 2, dropped="cached", unconditional_off=off),
            "ablation"),
    ]
    paper = ToProVarSettings(dropped="identity")
    found += [Entry(name, None, ToProVar(settings), "ablation") for name, settings in {
        "as published, from the ladder": paper,
        "as published, counts of each prompt": paper.model_copy(update={"ladder": False}),
    }.items()]
    return found
