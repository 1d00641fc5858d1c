"""Who supplies a run's plan: a plan made beforehand, or a strategy that decides inside the run."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .plan_state import PlanState, RunContext

__all__ = ["PlanState", "Planner", "RunContext", "begin", "decodes"]


@runtime_checkable
class Planner(Protocol):
    """A way to plan runs. Holds settings only: what a run finds out lives in its plan state. A
    ``SparsityPlan`` is the planner of runs that follow it. One that decodes pictures inside the
    run has ``decodes = True`` as well."""

    @property
    def name(self) -> str: ...

    @property
    def adaptive(self) -> bool:
        """Whether the plan depends on the run, which is then of one image."""
        ...

    def start(self, context: RunContext) -> PlanState:
        """Begin a run."""
        ...


def decodes(planner: Planner) -> bool:
    """Whether it decodes pictures inside the run, and so wants the autoencoder on its device."""
    return bool(getattr(planner, "decodes", False))


def begin(planner: Planner, context: RunContext) -> tuple[PlanState, tuple[str, ...]]:
    """A plan state for ``context``, and notes on the fit.

    Raises:
        ValueError: the plan was made for another model or schedule, or plans for one image at a
            time and there are more.
    """
    if planner.adaptive and context.batch > 1:
        raise ValueError(f"{planner.name} plans for one image at a time, this run has "
                         f"{context.batch}: run them one by one")
    plan_state = planner.start(context)
    notes = plan_state.plan.check_fits(context.shape, context.schedule, context.fingerprint)
    return plan_state, notes
