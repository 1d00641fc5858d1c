"""The planning of one run: what a run tells, and which plan it follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..models.config import TransformerConfig
from ..schedules import ScaleSchedule

if TYPE_CHECKING:
    from torch import Tensor

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

    def wants_guidance(self, scale: int) -> bool:
        """Whether it is wanted how far a scale's two guidance rows are apart."""
        return False

    def guidance(self, scale: int, distance: float) -> None:
        """How far they are: the mean difference of their probabilities of a bit, 0 to 1."""

    def after(self, scale: int, codes: Tensor) -> None:
        """A scale is done; ``codes`` [B, d, H, W] summed so far. May replace ``plan``."""
