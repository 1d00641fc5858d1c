"""The best of what calibration tried that a budget can pay: which scales run, and with guidance.

Each choice was measured in full. Between one and the same with one more scale at its end lie the
plans that run a part of that scale: the tokens of lowest entropy stay, the others exit. What such a
plan is worth is taken to grow evenly with the share that stays; entropy makes it better than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...entropy.calibration import Choice
from ...models.config import TransformerConfig
from ...schedules import ScaleSchedule
from ..cost import Target
from ..plan import SparsityPlan
from ..solve import solve
from .toprovar import ToProVarSettings, build_plan, with_strength


def front_plan(
    settings: ToProVarSettings, shape: TransformerConfig, schedule: ScaleSchedule,
    choices: Sequence[Choice], target: Target, guided: bool = True, *,
    guide: tuple[int, ...] = (), fingerprint: str | None = None,
    provenance: dict[str, Any] | None = None, notes: Sequence[str] = (),
) -> SparsityPlan | None:
    """The plan of the highest expected likeness that meets the target; None if no choice does.

    Args:
        settings: settled, with dropped "exit".
        choices: measured on this schedule.
        guide: layers whose maps choose the tokens that stay; empty = all.
    """
    def build(choice: Choice, partial: int | None = None, strength: float = 0.0) -> SparsityPlan:
        expected = choice.likeness
        if partial is not None:
            below = known[choice.guided, _without(choice, partial)]
            expected += strength * (below.likeness - choice.likeness)
        return _plan_of(settings, shape, schedule, choice, expected, partial, strength, guide=guide,
                        fingerprint=fingerprint, provenance=provenance, notes=notes)

    def cost(plan: SparsityPlan) -> float:
        return target.cost(plan, shape, guided)

    known = {(c.guided, c.skipped): c for c in choices}
    best: tuple[float, SparsityPlan] | None = None
    for choice in choices:
        plan = build(choice)
        if cost(plan) > target.share:
            last = plan.last_run
            below = known.get((choice.guided, _without(choice, last)))
            if below is None or below.likeness > choice.likeness:
                continue
            plan, reached = solve(lambda u, c=choice, s=last: build(c, s, u), cost, target.share)
            if not reached:
                continue
        worth = plan.parameters["expected_likeness"]
        if best is None or worth > best[0]:
            best = worth, plan
    return best and best[1]


def safe_plan(
    settings: ToProVarSettings, shape: TransformerConfig, schedule: ScaleSchedule,
    choices: Sequence[Choice], least_ssim: float, guided: bool = True, **about: Any,
) -> SparsityPlan | None:
    """The cheapest choice whose pictures were still like the dense ones; None if none was.

    Args:
        least_ssim: mean SSIM that counts as unharmed; the rest as in ``front_plan``.
    """
    plans = [_plan_of(settings, shape, schedule, choice, choice.likeness, **about)
             for choice in choices if choice.ssim >= least_ssim]
    return min(plans, key=lambda plan: Target(1.0).cost(plan, shape, guided), default=None)


def _plan_of(
    settings: ToProVarSettings, shape: TransformerConfig, schedule: ScaleSchedule, choice: Choice,
    expected: float, partial: int | None = None, strength: float = 0.0, **about: Any,
) -> SparsityPlan:
    """A choice as a plan, with ``strength`` of the tokens of scale ``partial`` left out."""
    own = with_strength(settings, strength).model_copy(
        update={"unconditional_off": len(schedule) - choice.guided})
    plan = build_plan(
        own, shape, schedule, partial, lambda s, layer: 1 - strength,
        parameters={"guided_scales": choice.guided, "skipped": list(choice.skipped),
                    "expected_likeness": round(expected, 4)}, **about,
    )
    scales = tuple(step.model_copy(update={"run": step.run and s not in choice.skipped})
                   for s, step in enumerate(plan.scales))
    return plan.model_copy(update={"scales": scales})


def _without(choice: Choice, scale: int) -> tuple[int, ...]:
    return tuple(sorted({*choice.skipped, scale}))
