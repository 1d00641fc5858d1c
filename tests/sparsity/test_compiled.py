"""A plan's steps: what each block does, and what is kept of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.tiny import tiny_transformer
from toprovar.schedules import get_schedule
from toprovar.sparsity.compiled import BlockStep
from toprovar.sparsity.cost import WorkTable
from toprovar.sparsity.linear_shortcut import INPUT, LinearShortcut
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan, dense_plan
from toprovar.sparsity.special import Mixtures

GRIDS = ((1, 1), (2, 2), (3, 3), (4, 4))


def plan_of(*steps: dict[str, Any], shortcuts: str | None = None) -> SparsityPlan:
    scales = []
    for grid, step in zip(GRIDS, steps, strict=False):
        own: dict[str, Any] = {"keep": (grid[0] * grid[1],) * 3} | step
        scales.append(ScalePlan(grid=grid, **own))
    return SparsityPlan(strategy="own", model=ModelTag(depth=3, width=8, num_heads=1), schedule="",
                        scales=tuple(scales), shortcuts=shortcuts)


def test_blocks_of_a_dense_plan_do_everything_and_keep_nothing() -> None:
    compiled = plan_of({}, {}, {}).compiled
    assert compiled.scales[1].blocks == (
        BlockStep(4, "all", keys=5, held=5, same_next=True),
        BlockStep(4, "all", keys=5, held=5, same_next=True),
        BlockStep(4, "all", keys=5, held=5))
    assert [step.source for step in compiled.scales] == [None] * 3
    assert compiled.last_run == 2 and not compiled.linear_shortcuts and not compiled.by_change


def test_where_tokens_come_from_and_what_the_others_get() -> None:
    compiled = plan_of({}, {}, {"keep": (9, 3, 0), "dropped": "cached"},
                       {"keep": (2, 2, 2), "per": "sublayer", "rule": "variance",
                        "dropped": "cached"}).compiled
    third, fourth = compiled.scales[2:]
    assert [b.chosen for b in third.blocks] == ["all", "layer", "none"]
    assert [b.fallback for b in third.blocks] == [None, 1, 1]
    assert third.guiding == (1,)
    # The fourth scale wants its updates sub-layer by sub-layer.
    assert [b.by_part for b in third.blocks] == [True, False, False]
    assert [(b.chosen, b.by_part, b.fallback) for b in fourth.blocks] == [("part", True, 2)] * 3
    assert [b.keys for b in fourth.blocks] == [1 + 4 + 9 + 2, 1 + 4 + 3 + 2, 1 + 4 + 2]
    assert compiled.where("stored") == {(1, 1), (1, 2), (2, 0), (2, 1), (2, 2)}
    assert compiled.where("measured") == {(1, 1)}
    assert compiled.needed_after(1, 1).updates == {1, 2}
    assert compiled.needed_after(2, 1).updates == {2}
    assert compiled.needed_after(3, 1).updates == frozenset()


def test_layers_that_choose_together_work_on_the_same_tokens() -> None:
    compiled = plan_of({}, {}, {"keep": (4, 4, 4), "dropped": "exit"}).compiled
    assert [b.chosen for b in compiled.scales[2].blocks] == ["scale"] * 3
    assert [b.same_next for b in compiled.scales[2].blocks] == [True, True, False]
    apart = plan_of({}, {}, {"keep": (4, 4, 4)}).compiled
    assert not any(b.same_next for b in apart.scales[2].blocks)


def test_shortcuts_start_from_what_the_scale_before_passes_on() -> None:
    compiled = plan_of({}, {}, {"run": False}, {"keep": (0, 5, 16), "shortcut": 1,
                                                "dropped": "shortcut", "rule": "variance"},
                       shortcuts="maps").compiled
    step = compiled.scales[3]
    assert (step.first, step.rejoin, step.source, step.jumps) == (1, 2, 1, 2)
    assert compiled.linear_shortcuts == {LinearShortcut(1, 3, 1), LinearShortcut(1, 3, 2)}
    assert compiled.where("passed_on") == {(1, INPUT), (1, 0), (1, 1)}
    assert not compiled.where("restored")
    assert compiled.needed_after(2, INPUT).residuals == {1}
    assert compiled.needed_after(3, INPUT).residuals == frozenset()


def test_mixtures_restore_whole_residuals_and_are_never_measured() -> None:
    compiled = plan_of({}, {}, {}, {"keep": (5, 5, 7), "special": Mixtures(groups=(2, 1))}
                       ).compiled
    step = compiled.scales[3]
    assert [b.chosen for b in step.blocks] == ["mixtures"] * 3
    assert [b.same_next for b in step.blocks] == [True, False, False]
    assert step.source == 2 and compiled.where("restored") == {(2, 1), (2, 2)}


def test_a_copy_with_other_scales_has_other_steps() -> None:
    plan = plan_of({}, {}, {})
    assert plan.compiled.last_run == 2 and plan.counts[2] == (9, 9, 9)
    short = plan.model_copy(update={"scales": plan.scales[:2]})
    assert short.compiled.last_run == 1 and len(short.counts) == 2
    assert plan.model_copy(update={"seed": 3}).compiled is plan.compiled


def test_work_is_counted_from_the_steps() -> None:
    shape, schedule = tiny_transformer(depth=3).shape, get_schedule("1.0", "0.06M")
    dense = dense_plan(shape, schedule)
    for name, own in vars(WorkTable.of(dense)).items():
        np.testing.assert_array_equal(own, getattr(WorkTable.dense(dense), name), name)
    table = WorkTable.of(plan_of({}, {"unconditional": False},
                                 {"keep": (0, 4, 9), "dropped": "cached", "unconditional": False}))
    assert table.rows.ravel().tolist() == [2, 1, 1]
    assert table.keys[2].tolist() == [5, 9, 14] and table.chosen[2].tolist() == [0, 1, 0]
    assert table.updated.tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0]]


@pytest.mark.parametrize("what", ["measured", "stored", "passed_on", "restored"])
def test_nothing_is_kept_by_the_last_scale(what: Any) -> None:
    plan = plan_of({}, {}, {"keep": (9, 3, 3), "dropped": "cached"},
                   {"keep": (2, 2, 2), "dropped": "cached"})
    assert plan.compiled.where(what) <= {(s, n) for s in range(3) for n in range(-1, 3)}
