"""Plans inside a region: counts in proportion, and what must be whole stays whole."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.sparsity.test_toprovar import NO_REGIONS, calibration
from tests.tiny import random_text, tiny_transformer
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import count
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan, dense_plan, dense_scales
from toprovar.sparsity.planner import Planner, RunContext
from toprovar.sparsity.restricted import RestrictedPlanner, restricted_plan, rounded_up
from toprovar.sparsity.selection import Selector
from toprovar.sparsity.strategies.fastervar import fastervar_plan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

SCHEDULE = get_schedule("1.0", "0.06M")
MODEL = tiny_transformer()
SHAPE = MODEL.shape
COUNTS = {5: 54, 6: 64}


def plan_of(**step: Any) -> SparsityPlan:
    scales = list(dense_scales(SCHEDULE, 3))
    for s in (5, 6):
        scales[s] = ScalePlan(grid=scales[s].grid, **{"keep": (scales[s].tokens,) * 3, **step})
    return SparsityPlan(strategy="own", model=ModelTag.of(SHAPE), schedule="",
                        scales=tuple(scales), shortcuts="x" if step.get("shortcut") else None)


def test_counts_go_up_a_ladder() -> None:
    assert [rounded_up(n, 256) for n in (0, 1, 16, 17, 250, 256)] == [0, 16, 16, 32, 256, 256]
    assert [rounded_up(n, 4) for n in (1, 3, 4)] == [1, 3, 4]
    assert len({rounded_up(n, 4096) for n in range(1, 4097)}) == 16


def test_whole_scales_let_the_others_leave() -> None:
    plan = dense_plan(SHAPE, SCHEDULE)
    found = restricted_plan(plan, COUNTS)
    assert found.scales[:5] == plan.scales[:5]
    assert [found.scales[s].keep for s in (5, 6)] == [(54,) * 3, (64,) * 3]
    assert all(found.scales[s].dropped == "exit" for s in (5, 6))
    assert found.parameters["region_tokens"] == {"5": 54, "6": 64}
    assert restricted_plan(plan, {}) is plan and restricted_plan(plan, {6: 256}) is plan
    cost, whole = count(found, SHAPE), count(plan, SHAPE)
    assert cost.token_layers == 2 * 3 * (121 + 54 + 64) < whole.token_layers
    with pytest.raises(ValueError, match="region of another edit"):
        restricted_plan(found, COUNTS)


@pytest.mark.parametrize("dropped", ["identity", "cached"])
def test_pruned_layers_keep_their_share(dropped: str) -> None:
    plan = plan_of(keep=(36, 18, 0), dropped=dropped, rule="variance")
    found = restricted_plan(plan, COUNTS)
    for s, tokens in ((5, 144), (6, 256)):
        assert found.scales[s].keep == tuple(
            math.ceil(n * COUNTS[s] / tokens) for n in (36, 18, 0))
        assert found.scales[s].dropped == dropped and found.scales[s].rule == "variance"


def test_exit_regions_shortcuts_and_windows() -> None:
    found = restricted_plan(plan_of(keep=(72,) * 3, dropped="exit", rule="variance", region=4,
                                    min_per_region=2), COUNTS)
    assert [found.scales[s].keep for s in (5, 6)] == [(27,) * 3, (18,) * 3]
    assert found.scales[5].region == 0 == found.scales[5].min_per_region
    found = restricted_plan(plan_of(keep=(0, 144, 144), shortcut=1), {5: 54})
    assert found.scales[5].keep == (0, 54, 54) and found.scales[5].dropped == "exit"
    tokens = (0, 72, 144)
    scales = list(plan_of().scales)
    scales[5] = ScalePlan(grid=(12, 12), keep=tokens, dropped="shortcut", shortcut=1,
                          rule="variance")
    rejoining = plan_of().model_copy(update={"scales": tuple(scales), "shortcuts": "x"})
    assert restricted_plan(rejoining, {5: 54}).scales[5].keep == (0, 54, 54)
    window = {"radius": 2, "sinks": 3}
    found = restricted_plan(plan_of(window=window), {5: 54})
    assert found.scales[5].window is None and found.scales[6].window is None
    found = restricted_plan(plan_of(window=window), {6: 64})
    assert found.scales[5].window is not None and found.scales[6].window is None


def test_mixtures_stay_unless_the_region_is_less() -> None:
    plan = fastervar_plan(SHAPE, SCHEDULE, "0.85", skipped=0, guided=True)
    mixed = [s for s, step in enumerate(plan.scales) if step.special]
    assert mixed
    many = {s: plan.scales[s].tokens - 1 for s in mixed}
    assert restricted_plan(plan, many) is plan
    few = restricted_plan(plan, dict.fromkeys(mixed, 2))
    assert all(few.scales[s].special is None and few.scales[s].keep == (2,) * 3 for s in mixed)


def test_tokens_are_chosen_inside_by_the_rule_then_nearest() -> None:
    """Against a plain reading, for each rule, two images and one or two rows each."""
    near = torch.zeros(2, 144)
    near[0, 10:] = torch.arange(134).float()
    near[1, :100] = torch.arange(100, 0, -1).float()
    x = torch.randn(4, 144, 8, generator=torch.Generator().manual_seed(0))
    entropy = torch.rand(2, 144, generator=torch.Generator().manual_seed(1))
    for rule in ("entropy", "entropy_reversed", "variance", "random"):
        step = ScalePlan(grid=(12, 12), keep=(20, 20, 20), rule=rule)
        selector = Selector(plan_of(), 2)
        scores = selector.scores(5, 0, step, x, entropy, 0).expand(2, -1)
        selector.restrict({5: near})
        index = selector.select(5, 0, step, x, entropy)
        assert index.shape == (4, 20) and torch.equal(index[:2], index[2:])
        for row in range(2):
            inside = (near[row] == 0).nonzero().flatten().tolist()
            inside.sort(key=lambda n: (-float(scores[row, n]), n))
            outside = sorted((near[row] > 0).nonzero().flatten().tolist(),
                             key=lambda n: (float(near[row, n]), n))
            assert sorted((inside + outside)[:20]) == index[row].tolist()
        assert selector.restricted(5) and not selector.restricted(6)


def test_rows_that_choose_for_themselves_are_restricted_too() -> None:
    near = torch.zeros(1, 144)
    near[:, 30:] = 1
    step = ScalePlan(grid=(12, 12), keep=(20, 20, 20), rule="variance", rows="separate")
    selector = Selector(plan_of(), 1)
    selector.restrict({5: near})
    x = torch.randn(2, 144, 8, generator=torch.Generator().manual_seed(0))
    index = selector.select(5, 0, step, x, None)
    assert index.shape == (2, 20) and int(index.max()) < 30 and not torch.equal(*index)


def test_a_planner_is_followed_and_restricted() -> None:
    strategy = ToProVar(ToProVarSettings(dropped="cached", planned="run", **NO_REGIONS),
                        calibration())
    planner = RestrictedPlanner(strategy, {6: 64})
    assert isinstance(planner, Planner) and planner.adaptive and planner.name == strategy.name
    near = torch.ones(1, 256)
    near[:, :64] = 0
    run = SamplingRun(MODEL, random_text(5), SamplingParams(SCHEDULE, 3.0, 0.7), plan=planner,
                      generators=torch.Generator().manual_seed(0), near={6: near})
    states = list(run)
    assert max(states[-1].report.kept) <= 64
    assert all(int(index.max()) < 64 for index in states[-1].kept.values())
    state = planner.start(RunContext(SHAPE, SCHEDULE))
    assert state.plan is state.plan  # worked out once
