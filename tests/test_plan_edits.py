"""The JSON in which the planner's grid keeps its edits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.tiny import tiny_transformer
from toprovar.plan_edits import apply_edits, edits_error
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan


@pytest.fixture(scope="module")
def plan() -> SparsityPlan:
    """Four scales; the last keeps half of its tokens in each region."""
    shape = tiny_transformer().shape
    scales = [ScalePlan(grid=(n, n), keep=(n * n,) * shape.depth) for n in (1, 2, 4)]
    scales.append(ScalePlan(grid=(8, 8), keep=(32,) * shape.depth, region=4, min_per_region=4))
    return SparsityPlan(strategy="test", schedule="", scales=tuple(scales),
                        model=ModelTag.of(shape))


def shortened(**step: Any) -> SparsityPlan:
    """A plan whose last scale has a shortcut."""
    scales = [ScalePlan(grid=(n, n), keep=(n * n,) * 4) for n in (1, 4)]
    scales.append(ScalePlan(grid=(8, 8), **step))
    return SparsityPlan(strategy="test", schedule="", scales=tuple(scales), shortcuts="abc",
                        model=ModelTag(depth=4, width=8, num_heads=2))


@pytest.mark.parametrize(("keep", "dropped", "edit", "expected", "shortcut"), [
    ((0, 0, 64, 64), "identity", {"3": 0.5}, (0, 0, 64, 32), 2),
    ((0, 0, 64, 64), "identity", {"1": 1}, (64, 64, 64, 64), 0),
    ((0, 0, 48, 48), "exit", {"3": 0.5}, (0, 0, 32, 32), 2),
    ((0, 0, 48, 48), "exit", {"1": 0.5}, (32, 32, 32, 32), 0),
    ((0, 32, 32, 64), "shortcut", {"2": 0.25}, (0, 16, 16, 64), 1),
    ((0, 32, 32, 64), "shortcut", {"2": 0}, (0, 0, 0, 64), 3),
    ((0, 32, 32, 64), "shortcut", {"1": 1}, (0, 64, 64, 64), 1),
    ((0, 32, 32, 64), "shortcut", {"0": 0.25}, (16, 16, 16, 64), 0),
])
def test_edits_of_scales_with_a_shortcut(
    keep: tuple[int, ...], dropped: str, edit: dict[str, float], expected: tuple[int, ...],
    shortcut: int,
) -> None:
    plan = shortened(keep=keep, dropped=dropped,
                     shortcut=next(i for i, n in enumerate(keep) if n))
    step = apply_edits(plan, json.dumps({"keep": {"2": edit}})).scales[2]
    assert step.keep == expected and step.shortcut == shortcut


def test_no_edits_change_nothing(plan: SparsityPlan) -> None:
    assert apply_edits(plan, "  ") is plan
    assert apply_edits(plan, '{"keep": {}}') is plan


def test_shares_become_counts_and_regions_stay_possible(plan: SparsityPlan) -> None:
    text = json.dumps({"keep": {"3": {"0": 0.1, "1": 0, "2": 1}}})
    step = apply_edits(plan, text).scales[3]
    assert step.keep == (7, 0, 64)
    assert step.region == 4 and step.min_per_region == 1  # 4 regions share 7 tokens


def test_where_tokens_exit_all_layers_follow_the_last_edit(plan: SparsityPlan) -> None:
    last = plan.scales[3].model_copy(update={"dropped": "exit", "region": 0, "min_per_region": 0})
    leaving = plan.model_copy(update={"scales": (*plan.scales[:3], last)})
    step = apply_edits(leaving, '{"keep": {"3": {"0": 0.1, "1": 0.25}}}').scales[3]
    assert step.keep == (16, 16, 16) and step.run
    assert not apply_edits(leaving, '{"keep": {"3": {"2": 0}}}').scales[3].run


def test_scales_can_be_left_out(plan: SparsityPlan) -> None:
    found = apply_edits(plan, '{"run": {"2": false}}')
    assert [s.run for s in found.scales] == [True, True, False, True]
    assert found.parameters["edited"] and plan.parameters == {}


@pytest.mark.parametrize(("text", "said"), [
    ("nonsense", "edits are not JSON"),
    ("[]", "edits must look like"),
    ('{"skip": {}}', "edits must look like"),
    ('{"keep": {"-1": {}}}', "'-1' is no scale"),
    ('{"keep": {"1": 0.5}}', "must name layers"),
    ('{"keep": {"1": {"0": 1.5}}}', "a share between 0 and 1, got 1.5"),
    ('{"keep": {"1": {"0": true}}}', "a share between 0 and 1, got True"),
    ('{"run": {"1": 0}}', "must be true or false"),
    ('{"keep": {"9": {"0": 1}}}', "name scale 9, but the plan has 4 scales"),
    ('{"keep": {"1": {"7": 1}}}', "name layer 7, but the plan has 3 layers"),
    ('{"run": {"0": false}}', "the first scale must be run"),
    ("{" + " " * (1 << 20) + "}", "no set of edits"),
])
def test_bad_edits_are_named(plan: SparsityPlan, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        apply_edits(plan, text)


def test_a_text_is_checked_without_a_plan() -> None:
    assert edits_error('{"keep": {"1": {"0": 0.5}}}') is None
    assert edits_error(None) is None  # it comes over a link
    assert "is no scale" in (edits_error('{"run": {"x": true}}') or "")


def test_a_window_closes_where_some_tokens_are_dropped() -> None:
    """There and at every later scale: only whole scales have keys of known places."""
    from toprovar.schedules import get_schedule
    from toprovar.sparsity.strategies.window import window_plan

    shape, schedule = tiny_transformer().shape, get_schedule("1.0", "0.06M")
    plan = window_plan(shape, schedule, 1, 3, 2, 1.0)
    last = apply_edits(plan, '{"keep": {"6": {"1": 0.5}}}')
    assert [bool(s.window) for s in last.scales[4:]] == [True, True, False]
    earlier = apply_edits(plan, '{"keep": {"4": {"1": 0.5}}}')
    assert not any(s.window for s in earlier.scales)
    whole = apply_edits(plan, '{"keep": {"4": {"1": 0}}, "run": {"5": false}}')
    assert [bool(s.window) for s in whole.scales[4:]] == [True, True, True]


def test_a_group_of_mixtures_changes_as_one() -> None:
    from toprovar.sparsity.special import Mixtures

    scales = [ScalePlan(grid=(n, n), keep=(n * n,) * 4) for n in (1, 4)]
    scales.append(ScalePlan(grid=(8, 8), keep=(9, 9, 20, 20), special=Mixtures(groups=(2, 2))))
    plan = SparsityPlan(strategy="test", schedule="", scales=tuple(scales),
                        model=ModelTag(depth=4, width=8, num_heads=2))
    step = apply_edits(plan, '{"keep": {"2": {"3": 0.5}}}').scales[2]
    assert step.keep == (9, 9, 32, 32) and step.special
    assert apply_edits(plan, '{"keep": {"2": {"0": 0}}}').scales[2].keep == (1, 1, 20, 20)
