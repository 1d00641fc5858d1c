from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.tiny import tiny_transformer
from toprovar.schedules import get_schedule
from toprovar.sparsity.compiled import fallback_sources
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan, dense_plan

SHAPE = tiny_transformer().shape
SCHEDULE = get_schedule("1.0", "0.06M")


def make(*steps: dict[str, Any], **plan: Any) -> SparsityPlan:
    """A plan of 3 layers; every step has a grid of 4 x 4 and keeps all unless told otherwise."""
    usual = {"grid": (4, 4), "keep": (16, 16, 16)}
    return SparsityPlan(
        strategy="t", model=ModelTag.of(SHAPE), schedule="",
        scales=tuple(ScalePlan.model_validate(usual | s) for s in steps), **plan,
    )


def test_what_a_plan_needs_of_a_run() -> None:
    plan = make(
        {}, {}, {"keep": (16, 8, 0), "dropped": "cached"},
        {"keep": (16, 8, 0), "run": False},
        {"keep": (4, 8, 16), "dropped": "cached"},
        {"keep": (16, 16, 2), "dropped": "cached", "source": 1, "rule": "variance"},
    )
    assert plan.counts[3] == (0, 0, 0) and plan.compiled.last_run == 5 and not plan.dense
    # the latest scale run stands in, or the one that is named
    assert fallback_sources(plan.scales) == [
        (None,) * 3, (None,) * 3, (None, 1, 1), (None,) * 3, (2, 2, None), (None, None, 1)]
    assert plan.compiled.where("stored") == {(1, 1), (1, 2), (2, 0), (2, 1)}
    # entropies are taken where the latest map comes from
    assert plan.compiled.where("measured") == {(1, 1), (2, 0), (2, 1)}


@pytest.mark.parametrize(("steps", "message"), [
    ([{"keep": (16, 16)}], "keep has 2 entries, the model 3"),
    ([{"keep": (16, 17, 16)}], "layer 1 keeps 17 tokens, the scale has 16"),
    ([{"grid": (0, 4)}], "greater than or equal to 1"),
    ([{"run": False}], "first scale must be run"),
    ([{}, {"unconditional": False}, {}], "guidance cannot come back"),
    ([{"keep": (8, 16, 16)}], "no entropy map"),
    ([{"keep": (0, 16, 16), "dropped": "cached"}], "no earlier scale to take updates from"),
    ([{}, {"source": 0}], "source is given, but dropped is 'identity'"),
    ([{}, {"source": 1, "dropped": "cached"}], "source 1 is not an earlier scale"),
    ([{}, {"run": False}, {"source": 1, "dropped": "cached"}], "not an earlier scale that is run"),
    ([{}, {"keep": (0, 16, 16)}, {"keep": (8, 16, 16), "source": 1, "dropped": "cached"}],
     "does not run a layer"),
    ([{"rows": "separate"}], "measured on the conditional row"),
    ([{"per": "sublayer"}], "for a whole block"),
    ([{}, {"keep": (8, 16, 16), "region": 2, "min_per_region": 3}], "only 8 are kept"),
    ([{"region": 2}], "go together"),
    ([{"colour": "red"}], "Extra inputs are not permitted"),
    ([{"rule": "magic"}], "Input should be"),
])
def test_unsound_plans_are_refused(steps: list[dict], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(*steps)


def test_plans_do_not_change() -> None:
    plan = dense_plan(SHAPE, SCHEDULE)
    with pytest.raises(ValidationError, match="frozen"):
        plan.strategy = "other"  # type: ignore[misc]
    assert plan.dense and not plan.compiled.where("stored") and not plan.compiled.where("measured")


def test_fit() -> None:
    plan = dense_plan(SHAPE, SCHEDULE)
    assert plan.check_fits(SHAPE, SCHEDULE, "any") == ()
    with pytest.raises(ValueError, match=r"width = 32, this one has 64"):
        plan.check_fits(tiny_transformer(width=64).shape, SCHEDULE)
    with pytest.raises(ValueError, match=r"use the plan's size, or make a plan for this one"):
        plan.check_fits(SHAPE, get_schedule("1.333", "0.06M"))
    tagged = plan.model_copy(update={"model": ModelTag.of(SHAPE, "a")})
    assert tagged.check_fits(SHAPE, SCHEDULE, "a") == ()
    assert "other weights" in tagged.check_fits(SHAPE, SCHEDULE, "b")[0]


def test_a_refusal_escapes_what_a_file_says() -> None:
    plan = dense_plan(SHAPE, SCHEDULE).model_copy(update={
        "strategy": "\x1b[31mred", "schedule": "\x07"})
    with pytest.raises(ValueError, match=r"the plan \(\\x1b\[31mred\) .* schedule \\x07") as caught:
        plan.check_fits(SHAPE, get_schedule("1.0", "0.25M"))
    assert str(caught.value).isprintable()
