"""The planner's panel counts an edited plan as the engine does. Needs node, no browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.random_shortcuts import random_shortcuts
from tests.tiny import tiny_pipeline
from toprovar.analysis.choices import State, choice_plan
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import count, seen_shares, unit_flops
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.plan_file import plan_to_json

ROOT = Path(__file__).parents[2]
SCHEDULE = get_schedule("1.0", "0.06M")
PROGRAM = """
import fs from "fs";
const { EditedPlan } = await import(process.argv[1]);
const { plan, prices } = JSON.parse(fs.readFileSync(0));
console.log(new EditedPlan(plan, prices, { keep: {}, run: {} }).cost());
"""


def counted(plan: SparsityPlan, shape: Any) -> float:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    done = subprocess.run(
        [node, "--input-type=module", "-e", PROGRAM, str(ROOT / "web/js/lib/plan.js")],
        input=json.dumps({"plan": plan_to_json(plan),
                          "prices": {**unit_flops(shape), "seen": seen_shares(plan)}}),
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize("name", ["dense", "fastvar", "stop", "ldpruning", "toprovar", "skipvar",
                                  "scalekv", "window"])
def test_as_the_engine(name: str) -> None:
    pipeline = tiny_pipeline()
    how: dict[str, Any] = {"skipvar": {"uncond": 2}, "toprovar": {"planned": "before"},
                           "window": {"radius": 1}}
    plan = make_plan(pipeline, name, SCHEDULE, **how.get(name, {}))
    assert isinstance(plan, SparsityPlan)
    shape = pipeline.transformer.shape
    assert counted(plan, shape) == pytest.approx(count(plan, shape).flop_share, rel=1e-9)


def test_shortcuts_cost_what_they_cost() -> None:
    shape = tiny_pipeline().transformer.shape
    state = State(len(SCHEDULE), (), ((5, 1), (6, 2)))
    maps = random_shortcuts("model", shape, state.linear_shortcuts)
    plan = choice_plan(shape, SCHEDULE, *state, identity=maps.identity)
    assert plan.scales[6].shortcut == 2
    assert counted(plan, shape) == pytest.approx(count(plan, shape).flop_share, rel=1e-9)
