from __future__ import annotations

import pytest

from toprovar.models.variants import get_variant
from toprovar.schedules import get_schedule, templates
from toprovar.sparsity.cost import count
from toprovar.sparsity.plan_file import plan_from_json, plan_to_json
from toprovar.sparsity.strategies.stop import side_shares, stop_plan

SHAPE = get_variant("2b").config


def test_the_baseline_of_the_2b() -> None:
    """161,344 of 673,344 token-rows times layers."""
    plan = stop_plan(SHAPE, get_schedule("1.0", "1M"))
    assert [s.grid for s in plan.scales if s.run][-1] == (32, 32)
    assert not any(s.sparse for s in plan.scales) and plan.notes == ()
    cost = count(plan, SHAPE)
    assert cost.token_layers == 161_344
    assert cost.token_layer_share == pytest.approx(0.2396, abs=5e-5)
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize("pn", ["0.06M", "0.25M", "1M"])
@pytest.mark.parametrize("template", templates())
def test_the_nearest_scale_at_other_sizes(pn: str, template: str) -> None:
    schedule = get_schedule(template, pn)
    plan = stop_plan(SHAPE, schedule)
    share = side_shares(schedule)[plan.compiled.last_run]
    assert share == pytest.approx(0.5, abs=0.1)
    assert bool(plan.notes) == (abs(share - 0.5) > 1e-9)


@pytest.mark.parametrize(("side", "last"), [(1, 0), (30, 9), (40, 10), (63, 12), (64, 12)])
def test_sides(side: int, last: int) -> None:
    plan = stop_plan(SHAPE, get_schedule("1.0", "1M"), side=side)
    assert plan.compiled.last_run == last
    assert plan.dense == (last == 12)


def test_bad_sides() -> None:
    schedule = get_schedule("1.0", "0.06M")
    for side in (0, 65):
        with pytest.raises(ValueError, match=f"between 1 and 64.*got {side}"):
            stop_plan(SHAPE, schedule, side=side)
    with pytest.raises(ValueError, match="side must be a whole number"):
        stop_plan(SHAPE, schedule, side=32.5)  # type: ignore[arg-type]
