"""What edited plans cost, as a widget asks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.random_shortcuts import random_shortcuts
from tests.tiny import tiny_pipeline, tiny_transformer
from toprovar.analysis.choices import State, choice_plan
from toprovar.edited_cost import counted_for, edited_flop_share
from toprovar.plan_edits import apply_edits
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import count
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.plan_file import plan_to_json
from toprovar.sparsity.strategies.window import window_plan

SCHEDULE = get_schedule("1.0", "0.06M")
SHAPE = tiny_transformer().shape


def asked(plan: SparsityPlan, edits: dict[str, Any] | None = None, guided: bool = True
          ) -> dict[str, Any]:
    """As it comes over the wire."""
    return json.loads(json.dumps({"plan": plan_to_json(plan), **counted_for(SHAPE, guided),
                                  "edits": json.dumps(edits) if edits else ""}))


@pytest.mark.parametrize("edits", [
    None, {"keep": {"5": {"0": 0.25, "2": 0}}, "run": {"4": False}}, {"keep": {"6": {"1": 0.5}}},
    {"run": {"5": False}}])
@pytest.mark.parametrize("name", ["dense", "fastvar", "scalekv", "window"])
def test_as_a_run_would(name: str, edits: dict[str, Any] | None) -> None:
    plan = window_plan(SHAPE, SCHEDULE, 1, 3, 2, 1.0) if name == "window" \
        else make_plan(tiny_pipeline(), name, SCHEDULE)
    assert isinstance(plan, SparsityPlan)
    edited = apply_edits(plan, json.dumps(edits) if edits else "")
    for guided in (True, False):
        assert edited_flop_share(asked(plan, edits, guided)) == count(
            edited, SHAPE, guided).flop_share


def test_shortcuts_are_counted() -> None:
    state = State(len(SCHEDULE), (), ((5, 1), (6, 2)))
    maps = random_shortcuts("model", SHAPE, state.linear_shortcuts)
    plan = choice_plan(SHAPE, SCHEDULE, *state, identity=maps.identity)
    assert plan.scales[6].shortcut == 2
    assert edited_flop_share(asked(plan)) == count(plan, SHAPE).flop_share


@pytest.mark.parametrize(("changes", "message"), [
    (None, "expected an object"), ({"edits": 3}, "edits as text"),
    ({"edits": '{"keep": {"99": {"0": 1}}}'}, "edits name scale 99"),
    ({"guided": "yes"}, "guided as true or false"), ({"shape": {"depth": 3}}, "none of a model"),
    ({"shape": []}, "none of a model"), ({"plan": []}, "has no 'scales'"),
    ({"shape": counted_for(tiny_transformer(depth=6).shape, True)["shape"]}, "another shape"),
])
def test_what_is_not_sound_is_refused(changes: dict[str, Any] | None, message: str) -> None:
    plan = make_plan(tiny_pipeline(), "fastvar", SCHEDULE)
    assert isinstance(plan, SparsityPlan)
    with pytest.raises(ValueError, match=message):
        edited_flop_share([] if changes is None else asked(plan) | changes)
