"""What is done for a model that nobody has calibrated."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import random_text, tiny_transformer
from toprovar.models.variants import get_variant
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule, pixel_budgets
from toprovar.sparsity.cost import Target, count
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.planner import RunContext
from toprovar.sparsity.prior import Prior, PriorState, family_prior
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

PRIOR = family_prior()
VARIANTS = ("2b", "8b", "125m")


def prior_of(variant: str, pn: str, target: Target | None = None, **settings: Any) -> SparsityPlan:
    return toprovar_plan(get_variant(variant).config, get_schedule("1.0", pn),
                         ToProVarSettings(**settings), None, target)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pn", list(pixel_budgets()))
def test_the_default_fits_every_depth_and_schedule(variant: str, pn: str) -> None:
    """Guidance ends and tokens exit where the file says, counted from the end."""
    plan, depth = prior_of(variant, pn), get_variant(variant).config.depth
    scales = plan.scales
    size = PRIOR.size(len(scales))
    assert size.scales <= len(scales)
    assert [s.unconditional for s in scales] == [
        i < len(scales) - size.unguided for i in range(len(scales))]
    assert all(s.run and not s.sparse for s in scales[:-1])
    last = scales[-1]
    assert last.dropped == "exit" and last.rule == "entropy"
    assert 0 <= last.keep[0] - size.stay * last.tokens < 16 and len(set(last.keep)) == 1
    assert last.guide == PRIOR.guiding(depth) and len(last.guide) == PRIOR.guides
    assert PRIOR.guide[0] * depth - 1 < min(last.guide) <= max(last.guide) < PRIOR.guide[1] * depth
    assert plan.provenance["prior"] == PRIOR.name
    assert any("no calibration" in note and PRIOR.name in note for note in plan.notes)
    assert count(plan, get_variant(variant).config).flop_share < 0.55


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pn", list(pixel_budgets()))
def test_budgets_are_met_and_more_work_is_worth_more(variant: str, pn: str) -> None:
    shape, before = get_variant(variant).config, 2.0
    for share in (0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.15):
        target = Target(share)
        plan = prior_of(variant, pn, target)
        cost = target.cost(plan, shape)
        assert cost <= share
        # Above a half guidance alone goes, scale by scale; below, tokens of the last scale do.
        assert cost > share - (0.03 if share <= 0.5 else 0.2)
        worth = plan.parameters["expected_likeness"]
        assert worth <= before
        before = worth


def test_a_target_out_of_reach_says_so() -> None:
    plan = prior_of("2b", "1M", Target(0.001))
    assert any("out of reach" in note for note in plan.notes)
    assert plan.scales[0].run


@pytest.mark.parametrize("settings", [
    {"start_scale": 6}, {"unconditional_off": 1, "start_scale": 8}, {"dropped": "cached",
                                                                      "start_scale": 9},
    {"dimensions": "fixed_exit", "start_scale": 9},
])
def test_what_is_given_is_not_overruled(settings: dict[str, Any]) -> None:
    assert "prior" not in prior_of("2b", "1M", **settings).provenance


@pytest.mark.parametrize("off", [0, 1, 5])
@pytest.mark.parametrize("share", [None, 0.6])
def test_where_guidance_ends_can_be_given(off: int, share: float | None) -> None:
    target = None if share is None else Target(share)
    plan = prior_of("2b", "1M", target, unconditional_off=off)
    assert [s.unconditional for s in plan.scales if s.run] == [
        i < 13 - off for i, s in enumerate(plan.scales) if s.run]
    assert "prior" in plan.provenance
    if target is not None:
        assert target.cost(plan, get_variant("2b").config) <= 0.6


@pytest.mark.parametrize("rule", ["random", "entropy_reversed", "variance"])
def test_controls_keep_their_rule(rule: Any) -> None:
    assert prior_of("2b", "1M", rule=rule).scales[-1].rule == rule


def test_nothing_is_planned_inside_the_run() -> None:
    """One plan for all prompts, so that a recorded scale serves them all."""
    model = tiny_transformer()
    schedule = get_schedule("1.0", "0.06M")
    strategy = ToProVar()
    assert not strategy.adaptive
    plans = []
    for seed in (5, 9):
        own = SamplingRun(model, random_text(seed), SamplingParams(schedule, 3.0, 0.7),
                          plan=strategy)
        list(own)
        plans.append(own.report().used_plan)
    again = strategy.start(RunContext(model.shape, schedule)).plan
    assert plans[0] is plans[1] and plans[0] == again
    kept = own.report().scales
    stay = math.ceil(PRIOR.size(7).stay * 256 / 16) * 16
    assert kept[6].kept == (stay,) * 3 and [s.rows for s in kept] == [2, 2, 2, 2, 1, 1, 1]
    unguided = SamplingRun(model, random_text(4), SamplingParams(schedule, 1.0, 0.7), plan=strategy)
    list(unguided)
    assert unguided.report().scales[6].rows == 1


def test_states_that_leave_nothing_are_not_offered() -> None:
    assert PRIOR.size(3) is PRIOR.sizes[0] and PRIOR.size(13) is PRIOR.sizes[-1]
    found = PRIOR.choices(4)
    assert found and all(c.guided >= 2 and len(c.skipped) < 3 for c in found)
    assert PRIOR.default(2)[0].guided == 2
    assert PRIOR.guiding(1) == (0,)
    for scales in (7, 10, 12, 13):
        best = {}
        for choice in PRIOR.choices(scales):
            best[choice.guided, choice.skipped] = choice.likeness
        assert best[scales, ()] == 1.0


@pytest.mark.parametrize(("change", "message"), [
    ({"guide": (0.8, 0.2)}, "two shares of the depth, rising"),
    ({"sizes": ()}, "at least 1"), ({"more": 1}, "more"),
    ({"sizes": [PRIOR.sizes[0].model_dump()] * 2}, "rising numbers of scales"),
    ({"sizes": [PRIOR.sizes[0].model_dump() | {"stay": 0}]}, "greater than 0"),
])
def test_a_damaged_file_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "prior.json"
    path.write_text(json.dumps(PRIOR.model_dump(mode="json") | change))
    with pytest.raises(ValueError, match=r"prior\.json: not a usable prior") as error:
        Prior.load(path)
    assert message in str(error.value)
    with pytest.raises(ValueError, match="count those that are not run among them"):
        PriorState(unguided=1, skipped=2, likeness=1, ssim=1)
