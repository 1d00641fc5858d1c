"""Every strategy that takes a budget meets it, or says that it does not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiny import tiny_pipeline
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.plan_file import plan_from_json, plan_to_json
from toprovar.sparsity.strategies.fastervar import Alpha
from toprovar.sparsity.strategies.options import options_of
from toprovar.sparsity.strategies.registry import get_strategy, with_targets

SCHEDULE = get_schedule("1.0", "0.25M")


@pytest.mark.parametrize("budget", [0.6, 0.3, 0.15])
@pytest.mark.parametrize("name", with_targets())
def test_a_budget_is_met_or_a_note_says_why_not(name: str, budget: float) -> None:
    plan = make_plan(tiny_pipeline(), name, SCHEDULE, budget=budget, guided=True)
    if not isinstance(plan, SparsityPlan):
        pytest.skip("plans inside the run")
    assert plan.predicted is not None
    used = plan.predicted.flop_share
    if used > budget or used < budget - 0.02:
        assert any("target" in note for note in plan.notes), (used, plan.notes)
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize("name", with_targets())
def test_what_a_target_decides_is_not_taken_beside_it(name: str) -> None:
    decided = [known for known in options_of(get_strategy(name)) if known.option.decided]
    assert decided
    for known in decided:
        own: dict[str, Any] = {known.name: 1 if known.default is None else known.default}
        with pytest.raises(ValueError, match=f"decides {known.name}"):
            make_plan(tiny_pipeline(), name, SCHEDULE, budget=0.5, **own)


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match="stop has no option 'drop'; it has side"):
        make_plan(tiny_pipeline(), "stop", SCHEDULE, drop=[0.5])
    with pytest.raises(ValueError, match="side must be between 1 and 64, got 65"):
        make_plan(tiny_pipeline(), "stop", SCHEDULE, side=65)


def test_alphas_are_those_of_the_table() -> None:
    from typing import get_args

    from toprovar.sparsity.strategies.fastervar.ranks import alphas

    assert get_args(Alpha) == tuple(alphas())
