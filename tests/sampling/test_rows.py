"""Scales that run one row of each image only: which row, and what it sees."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import random_text, tiny_transformer
from toprovar.models.text import PackedText
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun, ScaleState
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import count
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan, dense_scales
from toprovar.sparsity.plan_table import plan_table
from toprovar.sparsity.planner import PlanState, RunContext

SCHEDULE = get_schedule("1.0", "0.06M")
MODEL = tiny_transformer()
LAST = 3
"""Scales at the end with one row."""


def plan_of(sparse: bool, **step: bool) -> SparsityPlan:
    scales = list(dense_scales(SCHEDULE, MODEL.shape.depth))
    for s in range(7 - LAST, 7):
        tokens = scales[s].tokens
        keep = (tokens, tokens // 2, tokens // 3) if sparse else (tokens,) * 3
        scales[s] = ScalePlan(grid=scales[s].grid, keep=keep, rule="variance", rows="separate",
                              dropped="cached", **step)  # type: ignore[arg-type]
    return SparsityPlan(strategy="own", model=ModelTag.of(MODEL.shape), schedule="",
                        scales=tuple(scales))


class Late:
    """A director that drops the row only when the scales before have run."""

    name, adaptive = "late", False

    def __init__(self, plan: SparsityPlan, before: SparsityPlan) -> None:
        self.plan, self.before = plan, before

    def start(self, context: RunContext) -> PlanState:
        outer = self

        class Own(PlanState):
            def horizon(self, scale: int) -> int:
                return 6 if scale >= 7 - LAST else 6 - LAST

            def after(self, scale: int, codes: torch.Tensor) -> None:
                self.plan = outer.plan

        return Own(self.before)


def run(plan: SparsityPlan | Late, text: PackedText, cfg: float, fused: bool) -> list[ScaleState]:
    """``cfg`` at the last scales, 3 before."""
    params = SamplingParams(SCHEDULE, (3.0,) * (7 - LAST) + (cfg,) * LAST, 0.7)
    generator = torch.Generator().manual_seed(1)
    return list(SamplingRun(MODEL, text, params, plan=plan, generators=generator,
                            options=EngineOptions(fused=fused)))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("lengths", [(5,), (3, 6)])
@pytest.mark.parametrize("late", [False, True])
def test_one_row_alone_computes_what_it_does_beside_the_other(
    lengths: tuple[int, ...], sparse: bool, fused: bool, late: bool
) -> None:
    """Guidance 0 is the unconditional row, guidance 1 the conditional one."""
    text = random_text(*lengths)
    both = plan_of(sparse)
    for name, cfg in (("conditional", 0.0), ("unconditional", 1.0)):
        plan = plan_of(sparse, **{name: False})
        one_row = run(Late(plan, both) if late else plan, text, 3.0, fused)
        for a, b in zip(one_row, run(both, text, cfg, fused), strict=True):
            torch.testing.assert_close(a.logits, b.logits, atol=2e-5, rtol=1e-5)
            assert torch.equal(a.bits, b.bits)
            assert a.report.rows == len(lengths) * (1 if a.index >= 7 - LAST else 2)


def test_without_unconditional_rows() -> None:
    """The conditional ones are run, and the report says so."""
    params = SamplingParams(SCHEDULE, 1.0, 0.7)
    found = []
    for plan in (plan_of(False), plan_of(False, conditional=False)):
        own = SamplingRun(MODEL, random_text(5), params, plan=plan,
                          generators=torch.Generator().manual_seed(1))
        found.append([state.logits for state in own])
        assert ("there is no unconditional row" in " ".join(own.report().notes)) == (
            len(found) == 2)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_plans_with_one_row() -> None:
    plan, dense = plan_of(False, conditional=False), plan_of(False)
    assert dense.dense and not plan.dense
    last = sum(SCHEDULE.tokens[-LAST:]) * MODEL.shape.depth
    assert count(dense, MODEL.shape).token_layers - count(plan, MODEL.shape).token_layers == last
    assert plan_table(plan).count("unconditional row only") == LAST
    with pytest.raises(ValueError, match="both false"):
        ScalePlan(grid=(1, 1), keep=(1,), conditional=False, unconditional=False)
    scales = list(plan.scales)
    for back in (dense.scales[-1], dense.scales[-1].model_copy(update={"unconditional": False})):
        with pytest.raises(ValueError, match=r"scale 6: guidance .* \(the conditional row"):
            SparsityPlan(**{**plan.model_dump(), "scales": (*scales[:-1], back)})
