from __future__ import annotations

import pytest

from tests.tiny import tiny_transformer
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import TEXT_TOKENS, CostModel, Target, WorkTable, count, predict
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan, dense_plan
from toprovar.sparsity.solve import solve, solve_from
from toprovar.sparsity.strategies.fastvar import fastvar_plan

SHAPE = tiny_transformer().shape
SCHEDULE = get_schedule("1.0", "0.06M")
UNIT = {"device": "", "dtype": "", "block": 0.0, "token": 0.0, "pair": 0.0}


def plan(**step: object) -> SparsityPlan:
    scales = [ScalePlan(grid=g, keep=(g[0] * g[1],) * 3) for g in SCHEDULE.grids]
    scales[5] = ScalePlan.model_validate({"grid": (12, 12), "keep": (144, 72, 0), **step})
    scales[6] = ScalePlan(grid=(16, 16), keep=(256,) * 3, run=False)
    return SparsityPlan(strategy="t", model=ModelTag.of(SHAPE), schedule="", scales=tuple(scales))


def test_counted_by_hand() -> None:
    cost = count(plan(), SHAPE)
    before = 1 + 4 + 16 + 36 + 64
    kept = 3 * before + 144 + 72
    assert cost.token_layers == 2 * kept
    assert cost.token_layer_share == pytest.approx(kept / (3 * 521))
    assert cost.kv_bytes == 2 * kept * 2 * 32 * 2
    # FLOPs, spelt out
    flops, keys = 0, [0, 0, 0]
    for step in plan().scales[:-1]:
        for layer, n in enumerate(step.keep):
            keys[layer] += n
            linear = n * (3 * 32 * 32 + 32 * 32 + 2 * 32 * 32 + 2 * 32 * SHAPE.mlp_hidden)
            flops += 2 * 2 * (linear + 2 * n * 32 * (keys[layer] + TEXT_TOKENS))
        flops += 2 * 2 * step.tokens * 32 * 2 * 8
    assert cost.flops == pytest.approx(flops)


def test_dense_is_one_and_guidance_counts() -> None:
    dense = dense_plan(SHAPE, SCHEDULE)
    cost = count(dense, SHAPE)
    assert cost.token_layer_share == cost.flop_share == cost.kv_share == 1
    assert count(dense, SHAPE, guided=False).token_layers == cost.token_layers // 2
    half = plan(unconditional=False)
    assert count(half, SHAPE).token_layers == count(plan(), SHAPE).token_layers - 144 - 72


def test_seconds_are_sums_of_their_parts() -> None:
    own = plan(dropped="cached")

    def seconds(**parts: float) -> float:
        return CostModel.model_validate(UNIT | parts).seconds(own)

    assert seconds(block=1.0) == 5 * 3 + 2
    assert seconds(token=1.0) == 2 * (3 * 121 + 216)
    assert seconds(scale=1.0) == 6
    assert seconds(scale_token=1.0) == 121 + 144
    assert seconds(choice=1.0) == 1  # one layer picks tokens
    assert seconds(move=1.0) == 2 * 144
    assert seconds(entropy=1.0) == 64 * 121  # where that layer's map comes from
    assert seconds(update=1.0) == 2 * (2 * 144 + 2 * 64)  # two layers add one, and kept one before
    assert seconds(pair=1.0) == pytest.approx(
        2 * (3 * sum(n * m for n, m in ((1, 1), (4, 5), (16, 21), (36, 57), (64, 121)))
             + 144 * 265 + 72 * 193))


def test_fastvar_picks_three_times() -> None:
    own = fastvar_plan(SHAPE, SCHEDULE, drop=(0.5,), layers=(1, 1))
    assert CostModel.model_validate(UNIT | {"choice": 1.0}).seconds(own) == 3
    assert WorkTable.of(own).parts[-1].tolist() == [1, 3, 1]


def test_predictions() -> None:
    model = CostModel.model_validate(UNIT | {"token": 1e-3, "device": "this"})
    cost = predict(plan(), SHAPE, model).predicted
    assert cost is not None and cost.speedup == pytest.approx(1 / cost.token_layer_share)
    assert cost.device == "this"
    assert predict(plan(), SHAPE).predicted.speedup is None  # type: ignore[union-attr]


def test_targets() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        Target(1.5)
    model = CostModel.model_validate(UNIT | {"token": 1.0})
    with pytest.raises(ValueError, match=r"must be 1 or more, got 0\.5"):
        Target.speedup(0.5, model)
    assert Target.speedup(4, model).share == 0.25
    assert Target(0.5, model).cost(plan(), SHAPE) == count(plan(), SHAPE).token_layer_share
    assert Target(0.5).cost(plan(), SHAPE) == pytest.approx(count(plan(), SHAPE).flop_share)


def at(strength: float) -> SparsityPlan:
    drop = round(256 * strength)
    return fastvar_plan(SHAPE, SCHEDULE, drop=(drop / 256,), layers=(0, 2))


def test_solve_finds_the_mildest() -> None:
    def cost(own: SparsityPlan) -> float:
        return count(own, SHAPE).token_layer_share

    found, reached = solve(at, cost, 0.8)
    assert reached and cost(found) <= 0.8 < cost(found) + 2 * 3 / (3 * 521)
    assert solve(at, cost, 1.0) == (at(0.0), True)
    assert solve(at, cost, 0.1) == (at(1.0), False)
    tried = []

    def several(start: int, strength: float) -> SparsityPlan:
        tried.append(start)
        return at(strength if start == 1 else 0.0)

    found, start, reached = solve_from((3, 2, 1), several, cost, 0.8)
    assert reached and start == 1 and set(tried) == {3, 2, 1}
