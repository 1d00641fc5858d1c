"""Who supplies a run's plan: a value made beforehand, or a strategy that decides inside the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..models.config import TransformerConfig
from ..schedules import ScaleSchedule
from .plan import SparsityPlan


@dataclass(frozen=True)
class RunContext:
    """The run that a plan is asked for.

    Attributes:
        batch: images; guided: whether unconditional rows are run.
        fingerprint: of the weights, None if not known.
        slower: plan -> (seconds, seconds of dense) where earlier runs like this one have shown that
            the plan is slower than dense, else None (``times.Times.slower``); None = nothing known.
        least_saving: FLOPs that must be saved to pay on the device (``devices.least_saving``).
    """

    shape: TransformerConfig
    schedule: ScaleSchedule
    batch: int = 1
    guided: bool = True
    fingerprint: str | None = None
    slower: Callable[[SparsityPlan], tuple[float, float] | None] | None = None
    least_saving: float = 0.0


class PlanState:
    """The planning of one run. This one follows a plan made beforehand.

    Attributes:
        plan: as it stands; scales up to ``horizon`` are final.
        recurs: whether later runs will meet the same scales again, so that recording them pays.
    """

    recurs = True

    def __init__(self, plan: SparsityPlan) -> None:
        self.plan = plan

    def horizon(self, scale: int) -> int:
        """The last scale whose plan cannot change any more when ``scale`` begins."""
        return len(self.plan.scales) - 1

    def wants(self, scale: int, layer: int) -> bool:
        """Whether entropy is needed from (scale, layer) beyond what the plan itself needs."""
        return False

    def stores(self, scale: int, layer: int) -> bool:
        """Whether the update of (scale, layer) must be kept for a plan still to be made."""
        return False

    def entropy(self, scale: int, layer: int, grid: tuple[int, int], entropy: Tensor) -> None:
        """What was measured: [B, N] float32, head mean of the conditional rows."""

    def after(self, scale: int, codes: Tensor) -> None:
        """A scale is done; ``codes`` [B, d, H, W] summed so far. May replace ``plan``."""


@runtime_checkable
class Planner(Protocol):
    """A way to plan runs. Holds settings only: what a run finds out lives in its plan state."""

    @property
    def name(self) -> str: ...

    @property
    def adaptive(self) -> bool:
        """Whether the plan depends on the run, which is then of one image."""
        ...

    def start(self, setting: RunContext) -> PlanState:
        """Begin a run."""
        ...


def begin(plan: SparsityPlan | Planner, setting: RunContext) -> tuple[PlanState, tuple[str, ...]]:
    """A plan state for ``setting``, and notes on the fit.

    Raises:
        ValueError: the plan was made for another model or schedule.
    """
    if isinstance(plan, SparsityPlan):
        plan_state = PlanState(plan)
    else:
        if plan.adaptive and setting.batch > 1:
            raise ValueError(f"{plan.name} plans for one image at a time, this run has "
                             f"{setting.batch}: run them one by one")
        plan_state = plan.start(setting)
    notes = plan_state.plan.check_fits(setting.shape, setting.schedule, setting.fingerprint)
    return plan_state, notes
