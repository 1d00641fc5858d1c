from __future__ import annotations

import pytest

from toprovar.models.variants import get_variant
from toprovar.schedules import get_schedule, templates
from toprovar.sparsity.cost import Target
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.solve import CLOSE
from toprovar.sparsity.strategies.fastvar import (
    fastvar_at,
    fastvar_for,
    fastvar_plan,
    official_layers,
)

SHAPE = get_variant("2b").config


def test_the_official_schedule() -> None:
    plan = fastvar_plan(SHAPE, get_schedule("1.0", "1M"))
    assert [s.run for s in plan.scales] == [True] * 11 + [False] * 2
    assert plan.scales[9].keep == (1024,) * 3 + (615,) * 25 + (1024,) * 4
    assert plan.scales[10].keep == (1600,) * 3 + (800,) * 25 + (1600,) * 4
    assert {s.source for s in plan.scales[9:11]} == {8} and plan.scales[8].grid == (24, 24)
    assert all(s.keep == (s.tokens,) * 32 for s in plan.scales[:9])
    assert plan.notes == ()


@pytest.mark.parametrize("template", templates())
def test_other_aspects_and_budgets(template: str) -> None:
    """The same places from the end, nearly the same fractions of the final side (3/8, 1/2, 5/8)."""
    for pn in ("0.25M", "1M"):
        schedule = get_schedule(template, pn)
        plan = fastvar_plan(SHAPE, schedule)
        ratio = [(n / schedule.tokens[-1]) ** 0.5 for n in schedule.tokens[-5:]]
        assert ratio[:3] == pytest.approx([0.375, 0.5, 0.625], abs=0.1)
        assert [s.run for s in plan.scales[-4:]] == [True, True, False, False]
        assert plan.scales[-4].source == len(schedule) - 5
        assert (pn == "1M" and template == "1.0") or plan.notes


def test_layers_in_proportion() -> None:
    assert official_layers(32) == (3, 27)
    assert official_layers(10) == (1, 8)
    assert official_layers(1) == (0, 0)


def test_strengths_run_from_nothing_to_leaving_scales_out() -> None:
    schedule = get_schedule("1.0", "1M")
    assert fastvar_at(SHAPE, schedule, 0).dense
    assert fastvar_at(SHAPE, schedule, 0.5).scales == fastvar_plan(SHAPE, schedule).scales
    assert [s.run for s in fastvar_at(SHAPE, schedule, 1).scales[-5:]] == [True] + [False] * 4


@pytest.mark.parametrize("pn", ["0.06M", "0.25M", "1M"])
@pytest.mark.parametrize("share", [0.9, 0.6, 0.3, 0.25, 0.2, 0.15])
def test_budgets_are_met_closely(pn: str, share: float) -> None:
    """Also between the plans that run the last two scales and those that do not."""
    def cost(plan: SparsityPlan) -> float:
        return Target(share).cost(plan, SHAPE)

    plan, reached = fastvar_for(SHAPE, get_schedule("1.0", pn), cost, share)
    assert reached and share - CLOSE < cost(plan) <= share


def test_a_budget_out_of_reach_gives_the_cheapest() -> None:
    schedule = get_schedule("1.0", "1M")
    plan, reached = fastvar_for(SHAPE, schedule, lambda p: Target(0.05).cost(p, SHAPE), 0.05)
    assert not reached and plan == fastvar_at(SHAPE, schedule, 1)


def test_bad_settings() -> None:
    schedule = get_schedule("1.0", "0.06M")
    with pytest.raises(ValueError, match="between 0 and 1"):
        fastvar_plan(SHAPE, schedule, drop=(1.5,))
    with pytest.raises(ValueError, match="7 entries: expected 1 to 6"):
        fastvar_plan(SHAPE, schedule, drop=(0.5,) * 7)
    with pytest.raises(ValueError, match="first <= last"):
        fastvar_plan(SHAPE, schedule, layers=(4, 2))
