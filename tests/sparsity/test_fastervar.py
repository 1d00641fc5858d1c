from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toprovar.models.config import TransformerConfig
from toprovar.models.variants import get_variant
from toprovar.schedules import get_schedule, templates
from toprovar.sparsity.cost import WorkTable, count
from toprovar.sparsity.plan import ModelTag, SparsityPlan
from toprovar.sparsity.plan_file import load_plan, plan_from_json, plan_to_json, save_plan
from toprovar.sparsity.plan_table import plan_table
from toprovar.sparsity.scale_plan import ScalePlan
from toprovar.sparsity.special import Mixtures
from toprovar.sparsity.strategies.fastervar import fastervar_plan
from toprovar.sparsity.strategies.fastervar.ranks import alphas

SHAPE = get_variant("2b").config
SQUARE = get_schedule("1.0", "1M")


def test_the_official_schedule() -> None:
    plan = fastervar_plan(SHAPE, SQUARE)
    assert [s.run for s in plan.scales] == [True] * 11 + [False] * 2
    assert not any(s.sparse or not s.guided for s in plan.scales[:10])
    step = plan.scales[10]
    assert step.grid == (40, 40) and not step.conditional and step.unconditional
    assert step.special == Mixtures(groups=(4,) * 8)
    assert step.keep[::4] == (27, 219, 337, 401, 410, 317, 252, 306)
    assert plan.compiled.where("passed_on") == {(9, layer) for layer in range(3, 32, 4)}
    assert plan.notes == ("cfg has no effect on the last three scales: only the unconditional row "
                          "is run there",)
    assert fastervar_plan(SHAPE, SQUARE, by_chunk=True).scales == plan.scales
    eight = fastervar_plan(get_variant("8b").config, SQUARE).scales[10]
    assert eight.keep[::5] == step.keep[::4] and eight.special == Mixtures(groups=(5,) * 8)


def test_what_it_costs() -> None:
    """9,076 of 170,420 token-rows times layers at the last scale, 25.3 % of dense."""
    plan = fastervar_plan(SHAPE, SQUARE)
    cost = count(plan, SHAPE)
    assert cost.token_layers == 170_420 and sum(plan.counts[10]) == 9_076
    assert cost.token_layer_share == pytest.approx(0.2531, abs=5e-5)
    assert cost.kv_share == cost.token_layer_share
    work = WorkTable.of(plan)
    mixing = 2 * 2048 * 1600 * sum(plan.scales[10].keep[::4])
    assert mixing == pytest.approx(15e9, rel=0.02)
    plain = plan.scales[10].model_copy(update={"special": None})
    values = {**plan.model_dump(), "scales": (*plan.scales[:10], plain, *plan.scales[11:])}
    without = WorkTable.of(SparsityPlan(**values))
    assert work.flops(SHAPE) - without.flops(SHAPE) == pytest.approx(mixing)
    assert work.chosen[10].sum() == 8


@pytest.mark.parametrize("template", templates())
def test_other_aspects_and_budgets(template: str) -> None:
    for pn in ("0.06M", "0.25M", "1M"):
        schedule = get_schedule(template, pn)
        plan = fastervar_plan(SHAPE, schedule)
        assert [s.run for s in plan.scales[-4:]] == [True, True, False, False]
        assert plan.scales[-3].special and not plan.scales[-4].special
        # In proportion to the tokens: of 1,600 they are 17.7 %, of 2,304 15.7 %.
        share = sum(plan.scales[-3].keep) / 32 / schedule.tokens[-3]
        assert share == pytest.approx(0.177, abs=0.01) or share == pytest.approx(0.157, abs=0.01)
        assert len(plan.notes) == (1 if pn == "1M" and template == "1.0" else 2)


def test_other_depths_and_chunks() -> None:
    shape = TransformerConfig(12, 768, 8, 16, block_chunks=4)
    plan = fastervar_plan(shape, SQUARE)
    assert plan.scales[10].special == Mixtures(groups=(2, 1, 1, 2, 2, 1, 1, 2))
    chunks = fastervar_plan(shape, SQUARE, by_chunk=True)
    assert chunks.scales[10].special == Mixtures(groups=(3,) * 4)
    assert chunks.scales[10].keep[::3] == (27, 219, 337, 401)
    assert "for 8 groups of layers, here there are 4" in plan_table(chunks)
    small = fastervar_plan(TransformerConfig(3, 32, 2, 8), SQUARE).scales[10]
    assert small.special == Mixtures(groups=(1, 1, 1)) and small.keep == (27, 337, 317)


def test_scales_that_the_official_code_skips() -> None:
    plan = fastervar_plan(SHAPE, SQUARE, skipped=0, guided=True)
    assert [s.keep[4] for s in plan.scales[10:]] == [219, 271, 223]
    assert all(s.guided for s in plan.scales)
    assert {(11, 3), (10, 3), (9, 31)} < plan.compiled.where("passed_on")
    assert len(plan.notes) == 1


@pytest.mark.parametrize("alpha", alphas())
def test_plans_are_saved_and_loaded(alpha: str, tmp_path: Path) -> None:
    plan = fastervar_plan(SHAPE, get_schedule("1.5", "0.25M"), alpha, skipped=1)
    save_plan(plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    assert "random mixtures in 8 groups of layers; unconditional row only" in plan_table(plan)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match=r"alpha must be one of .*'0\.97'|got '0\.5'"):
        fastervar_plan(SHAPE, SQUARE, "0.5")
    with pytest.raises(ValueError, match="skipped must be between 0 and 2"):
        fastervar_plan(SHAPE, SQUARE, skipped=3)
    with pytest.raises(ValueError, match="16 chunks"):
        fastervar_plan(TransformerConfig(16, 32, 2, 8, block_chunks=16), SQUARE, by_chunk=True)


def test_faulty_plans() -> None:
    """A file may say anything."""
    values = plan_to_json(fastervar_plan(SHAPE, SQUARE))
    step: dict[str, Any] = values["scales"][10]

    def refused(changes: dict[str, Any], message: str) -> None:
        scales = list(values["scales"])
        scales[10] = {**step, **changes}
        with pytest.raises(ValueError, match=message):
            plan_from_json({**values, "scales": scales})

    refused({"special": {"kind": "mixtures", "groups": [4] * 7}}, "have 28 layers, keep has 32")
    refused({"special": {"kind": "mixtures", "groups": [8] * 4}}, "layers 0 to 7 are a group")
    refused({"special": {"kind": "mixtures", "groups": [0, 32]}}, "greater than or equal to 1")
    refused({"special": {"kind": "spells", "groups": [32]}}, "mixtures")
    refused({"keep": [0] * 4 + step["keep"][4:]}, "at least one")
    refused({"dropped": "cached"}, "drops no tokens")
    refused({"region": 4, "min_per_region": 1}, "drops no tokens")
    tokens = [48 * 48 // 2] * 32
    late = {"grid": [48, 48], "keep": tokens, "dropped": "cached", "rule": "variance",
            "conditional": False}
    with pytest.raises(ValueError, match="updates of scale 10, which works on mixtures"):
        plan_from_json({**values, "scales": [*values["scales"][:11], late, values["scales"][12]]})


def test_what_tokens_are_restored_from() -> None:
    def plan(*steps: ScalePlan) -> SparsityPlan:
        values = plan_to_json(fastervar_plan(TransformerConfig(2, 32, 2, 8), SQUARE))
        return SparsityPlan(**{**values, "scales": steps})

    mixed = ScalePlan(grid=(4, 4), keep=(3, 3), special=Mixtures(groups=(2,)))
    first = ScalePlan(grid=(1, 1), keep=(1, 1))
    assert [s.source for s in plan(first, mixed).compiled.scales] == [None, 0]
    assert plan(first, mixed).compiled.where("restored") == {(0, 1)}
    with pytest.raises(ValueError, match="no earlier scale to restore tokens from"):
        plan(mixed)
    left = ScalePlan(grid=(2, 2), keep=(2, 2), dropped="exit", rule="random")
    finer = ScalePlan(grid=(2, 2), keep=(1, 2), special=Mixtures(groups=(1, 1)))
    assert [s.source for s in plan(first, finer, mixed).compiled.scales] == [None, 0, 1]
    with pytest.raises(ValueError, match="scale 2 restores tokens from the scale before"):
        plan(first, left, mixed)
    fine = ScalePlan(grid=(5, 5), keep=(3, 4), special=Mixtures(groups=(1, 1)))
    with pytest.raises(ValueError, match=r"scale 2 .* after every group of layers"):
        plan(first, mixed, fine)
    short = ScalePlan(grid=(5, 5), keep=(0, 25), shortcut=1)
    with pytest.raises(ValueError, match="scale 2 has a shortcut from scale 1, which works on mix"):
        SparsityPlan(**{**plan(first, mixed).model_dump(), "scales": (first, mixed, short),
                        "shortcuts": "maps"})


def test_entropy_maps_are_those_before_the_mixtures() -> None:
    shape = TransformerConfig(2, 32, 2, 8)
    steps = [ScalePlan(grid=(1, 1), keep=(1, 1)),
             ScalePlan(grid=(4, 4), keep=(3, 3), special=Mixtures(groups=(2,))),
             ScalePlan(grid=(5, 5), keep=(9, 25))]
    plan = SparsityPlan(strategy="own", model=ModelTag.of(shape), schedule="", scales=tuple(steps))
    assert plan.compiled.where("measured") == {(0, 0)}
