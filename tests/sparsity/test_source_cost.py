"""What a plan costs where a source picture is edited."""

from __future__ import annotations

import dataclasses

import pytest

from tests.tiny import random_text, tiny_transformer
from toprovar.device_cost import cost_model_for
from toprovar.models.config import TransformerConfig
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import TEXT_TOKENS, CostModel, Target, WorkTable, count, predict
from toprovar.sparsity.plan import dense_plan
from toprovar.sparsity.strategies.scalekv import scalekv_plan
from toprovar.sparsity.strategies.skipvar.policies import skipvar_plan
from toprovar.sparsity.strategies.window import window_plan
from toprovar.times import foreseen_dense

INFINITY = TransformerConfig(4, 64, 4, 8)
VAREDIT = dataclasses.replace(INFINITY, family="varedit")
SCHEDULE = get_schedule("1.0", "0.06M")
SOURCE, TOKENS = 256, SCHEDULE.tokens


def test_flops_token_by_token() -> None:
    linear = 2 * 64 * (6 * 64 + 2 * 256)
    flops = 0.0
    for layer in range(4):
        flops += 2 * SOURCE * (linear + 4 * 64 * (SOURCE + TEXT_TOKENS))
        for s, n in enumerate(TOKENS):
            seen = sum(TOKENS[: s + 1]) + (SOURCE if layer else n)
            flops += 2 * n * (linear + 4 * 64 * (seen + TEXT_TOKENS))
    flops += 2 * sum(TOKENS) * 2 * 64 * 2 * 8
    cost = count(dense_plan(VAREDIT, SCHEDULE), VAREDIT)
    assert cost.flops == pytest.approx(flops) and cost.flop_share == 1
    assert cost.token_layers == 2 * 4 * (SOURCE + sum(TOKENS))
    assert cost.kv_bytes == 2 * 2 * 2 * 64 * 4 * (SOURCE + sum(TOKENS)) and cost.kv_share == 1
    alone = count(dense_plan(INFINITY, SCHEDULE), INFINITY)
    assert count(dense_plan(VAREDIT, SCHEDULE), INFINITY) == alone  # the model decides, not a plan
    assert count(dense_plan(VAREDIT, SCHEDULE), VAREDIT, guided=False).flops == flops / 2


def test_the_shares_of_the_released_models() -> None:
    """41 % more tokens at 0.25M, 39 % at 1M, and about 1.9 times the pairs in most blocks."""
    for pn, more, pairs in (("0.25M", 0.41, 1.91), ("1M", 0.39, 1.87)):
        plan = dense_plan(VAREDIT, get_schedule("1.0", pn))
        own, without = WorkTable.of(plan, True, True), WorkTable.of(plan)
        assert own.token_layers / without.token_layers - 1 == pytest.approx(more, abs=0.005)
        late = (own.tokens * own.keys)[:, 1].sum() + own.source**2
        assert late / (without.tokens * without.keys)[:, 1].sum() == pytest.approx(pairs, abs=0.005)


def test_a_plan_saves_less_of_an_edit() -> None:
    """The source's pass is dense, whatever the plan leaves out."""
    plan = skipvar_plan(INFINITY, SCHEDULE, skip=1)
    drawn, edited = count(plan, INFINITY), count(plan, VAREDIT)
    assert drawn.flop_share < edited.flop_share < 1
    own, dense = (table(plan, True, True) for table in (WorkTable.of, WorkTable.dense))
    assert own.source_flops(VAREDIT) == dense.source_flops(VAREDIT) > 0
    assert Target(0.5).cost(plan, VAREDIT) == pytest.approx(edited.flop_share)


def test_bounded_caches_and_windows() -> None:
    plan = scalekv_plan(INFINITY, SCHEDULE, 0.2)
    drawn, edited = (WorkTable.of(plan, True, edits) for edits in (False, True))
    assert edited.cache == drawn.cache + 4 * SOURCE + 2 * SOURCE  # type: ignore[operator]  # bounded
    window = window_plan(INFINITY, SCHEDULE, 1, 3, 2, 1.0)
    more = WorkTable.of(window, True, True).keys - WorkTable.of(window).keys
    assert more[:, 1].tolist() == pytest.approx([SOURCE] * 7)
    assert more[:, 0].tolist() == pytest.approx(list(TOKENS))


def test_seconds() -> None:
    model = CostModel(device="d", dtype="f", block=1.0, token=0.1, pair=0.01)
    plan = dense_plan(VAREDIT, SCHEDULE)
    source = 4 * 1.0 + 2 * 4 * SOURCE * (0.1 + 0.01 * SOURCE)
    table = WorkTable.of(plan, True, True)
    assert model.source_seconds(table) == pytest.approx(source)
    assert model.source_seconds(WorkTable.of(plan)) == 0
    cost = predict(plan, VAREDIT, model).predicted
    assert cost and cost.seconds == cost.dense_seconds == pytest.approx(model.table_seconds(table))


def test_this_device_is_measured_and_times_count_the_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path_factory.mktemp("cache")))
    transformer = tiny_transformer(family="varedit")
    found = cost_model_for(transformer, SCHEDULE)
    assert found.token > 0
    import torch

    run = SamplingRun(transformer, random_text(4), SamplingParams(SCHEDULE, 3.0, 1.0),
                      plan=skipvar_plan(transformer.shape, SCHEDULE, skip=1),
                      source=torch.zeros(1, 8, 16, 16))
    for _ in run:
        pass
    report = run.report()
    assert report.source is not None and report.source.seconds > 0
    scales = sum(scale.seconds for scale in report.scales)
    assert report.seconds["scales"] == pytest.approx(scales + report.source.seconds)
    foreseen = foreseen_dense(report, transformer.shape)
    assert foreseen is None or foreseen > report.source.seconds
