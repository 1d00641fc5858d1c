"""The best of what calibration tried that a budget can pay: which scales run, with guidance, and
from which layer on.

Each choice was measured in full. Between a choice and a cheaper one that differs in its last scale
alone lie plans that treat a part of that scale's tokens as the one and the rest as the other: the
tokens of lowest entropy are worked on, the others exit, or take the longer shortcut. What such a
plan is worth is taken to grow evenly with the share that stays (of tokens that exit), or by the
gain over it that calibration measured at one half (of those that take the longer shortcut).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ....entropy.schedule_entry import Choice
from ....models.config import TransformerConfig
from ....schedules import ScaleSchedule
from ...cost import Target
from ...plan import ScalePlan, SparsityPlan
from ...solve import solve
from .settings import ToProVarSettings, build_plan, with_strength


class PartialScale(NamedTuple):
    """What a part of the last scale's tokens is spared.

    Attributes:
        scale: the last that is run; strength: share of its tokens that are spared.
        rejoin: layer that their shortcut leads to; 0 = they exit.
    """

    scale: int
    strength: float
    rejoin: int = 0


def frontier_plan(
    settings: ToProVarSettings, shape: TransformerConfig, schedule: ScaleSchedule,
    choices: Sequence[Choice], target: Target, guided: bool = True, *, mixing_gain: float = 0.0,
    **about: Any,
) -> SparsityPlan | None:
    """The plan of the highest expected likeness that meets the target; None if no choice does.

    Args:
        settings: settled, with dropped "exit".
        choices: measured on this schedule; mixing_gain: see ``ScheduleEntry``.
        about: guide, the layers whose maps choose tokens (empty = all); shortcuts, the identity of
            the maps that choices with shortcuts use; the rest as of ``build_plan``.
    """
    def build(choice: Choice, below: Choice | None = None, partly: PartialScale | None = None
              ) -> SparsityPlan:
        expected = choice.likeness
        if below is not None and partly is not None:
            expected -= worth_lost(partly.strength, choice.likeness - below.likeness,
                                   mixing_gain if partly.rejoin else 0.0)
        return plan_of(settings, shape, schedule, choice, expected, partly, **about)

    def cost(plan: SparsityPlan) -> float:
        return target.cost(plan, shape, guided)

    choices = _allowed(settings, choices)
    best: tuple[float, SparsityPlan] | None = None

    def offer(plan: SparsityPlan) -> None:
        nonlocal best
        worth = plan.parameters["expected_likeness"]
        if best is None or worth > best[0]:
            best = worth, plan

    costs = {choice: cost(build(choice)) for choice in choices}
    for choice in choices:
        if costs[choice] <= target.share:
            offer(build(choice))
    for choice in choices:
        if costs[choice] <= target.share:
            continue
        last = max(s for s in range(len(schedule)) if s not in choice.skipped)
        for below, rejoin in _cheaper(choice, last, choices):
            over, gap = costs[choice] - target.share, costs[choice] - costs[below]
            if over > gap or below.likeness > choice.likeness:
                continue
            about_right = choice.likeness - worth_lost(
                over / gap, choice.likeness - below.likeness, mixing_gain if rejoin else 0.0)
            if best is not None and about_right <= best[0]:
                continue
            plan, reached = solve(
                lambda u, c=choice, b=below, s=last, r=rejoin: build(c, b, PartialScale(s, u, r)),
                cost, target.share,
            )
            if reached:
                offer(plan)
    return best and best[1]


def worth_lost(strength: float, gap: float, gain: float) -> float:
    """Likeness lost if a share of the tokens is spared that costs ``gap`` for all of them."""
    return gap * (strength - 4 * gain * strength * (1 - strength))


def safe_plan(
    settings: ToProVarSettings, shape: TransformerConfig, schedule: ScaleSchedule,
    choices: Sequence[Choice], least_ssim: float, guided: bool = True, **about: Any,
) -> SparsityPlan | None:
    """The cheapest choice whose pictures were still like the dense ones; None if none was.

    Args:
        least_ssim: mean SSIM that counts as unharmed; the rest as in ``frontier_plan``.
    """
    plans = [plan_of(settings, shape, schedule, choice, choice.likeness, **about)
             for choice in _allowed(settings, choices) if choice.ssim >= least_ssim]
    return min(plans, key=lambda plan: Target(1.0).cost(plan, shape, guided), default=None)


def plan_of(
    settings: ToProVarSettings, shape: TransformerConfig, schedule: ScaleSchedule, choice: Choice,
    expected: float, partly: PartialScale | None = None, *, shortcuts: str | None = None,
    **about: Any,
) -> SparsityPlan:
    """A choice as a plan, with a part of the tokens of its last scale spared."""
    strength = partly.strength if partly else 0.0
    own = with_strength(settings, strength).model_copy(
        update={"unconditional_off": len(schedule) - choice.guided})
    plan = build_plan(
        own, shape, schedule, partly.scale if partly else None, lambda s, layer: 1 - strength,
        parameters={"guided_scales": choice.guided, "skipped": list(choice.skipped),
                    "shortcut_layers": [list(pair) for pair in choice.shortcuts],
                    "expected_likeness": round(expected, 4)}, **about,
    )
    passed = dict(choice.shortcuts)
    scales = tuple(
        _with_shortcut(step.model_copy(update={"run": step.run and s not in choice.skipped,
                                               "unconditional": s < choice.guided}),
                       passed.get(s, 0), partly.rejoin if partly and partly.scale == s else 0)
        for s, step in enumerate(plan.scales))
    used = any(step.shortcut or step.rejoin for step in scales)
    return plan.model_copy(update={"scales": scales, "shortcuts": shortcuts if used else None})


def _with_shortcut(step: ScalePlan, length: int, rejoin: int) -> ScalePlan:
    """``step`` with its first layers left out; tokens that would exit rejoin, if they are to."""
    keep = (0,) * length + step.keep[length:]
    if not rejoin:
        return step.model_copy(update={"shortcut": length, "keep": keep})
    if not step.run or step.keep[-1] == 0:  # all are spared
        return ScalePlan(grid=step.grid, shortcut=rejoin, unconditional=step.unconditional,
                         keep=(0,) * rejoin + (step.tokens,) * (len(keep) - rejoin))
    if step.keep[-1] == step.tokens:
        return step.model_copy(update={"shortcut": length, "keep": keep})
    return step.model_copy(update={
        "dropped": "shortcut", "shortcut": length,
        "keep": keep[:rejoin] + (step.tokens,) * (len(keep) - rejoin)})


def _allowed(settings: ToProVarSettings, choices: Sequence[Choice]) -> list[Choice]:
    return [c for c in choices if settings.shortcuts or not c.shortcuts]


def _cheaper(choice: Choice, last: int, choices: Sequence[Choice]
             ) -> Iterator[tuple[Choice, int]]:
    """Choices that differ in the last scale alone, and the layer its spared tokens rejoin at."""
    own = dict(choice.shortcuts)
    others = {s: n for s, n in own.items() if s != last}
    for below in choices:
        if below.guided != choice.guided:
            continue
        theirs = dict(below.shortcuts)
        length = theirs.pop(last, 0)
        if theirs != others:
            continue
        if below.skipped == tuple(sorted({*choice.skipped, last})):
            yield below, 0
        elif below.skipped == choice.skipped and length > own.get(last, 0):
            yield below, length
