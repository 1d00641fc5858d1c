"""Tokens by how much the scale before changed their codes: LD-Pruning's rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import tiny_pipeline
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import ScalePlan, SparsityPlan, dense_plan
from toprovar.sparsity.plan_file import plan_from_json, plan_to_json
from toprovar.sparsity.selection import Selector
from toprovar.sparsity.strategies.ldpruning import LdPruningSettings, ldpruning_plan

SCHEDULE = get_schedule("1.0", "0.06M")


def pooled(change: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Mean of ``change`` [H, W] over each token's own pixels, in float64."""
    out = np.empty(grid)
    for y in range(grid[0]):
        for x in range(grid[1]):
            rows = slice(y * change.shape[0] // grid[0], -(-(y + 1) * change.shape[0] // grid[0]))
            columns = slice(x * change.shape[1] // grid[1],
                            -(-(x + 1) * change.shape[1] // grid[1]))
            out[y, x] = change[rows, columns].mean()
    return out


def test_the_most_changed_tokens_stay() -> None:
    plan = dense_plan(tiny_pipeline().transformer.shape, SCHEDULE)
    step = ScalePlan(grid=(8, 8), keep=(20,), rule="change", dropped="exit")
    selector = Selector(plan, 2)
    change = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(1))
    selector.change = change
    found = selector.select(3, 0, step, torch.zeros(4, 64, 8), None)
    assert found.shape == (4, 20) and torch.equal(found[:2], found[2:])
    for image in range(2):
        scores = pooled(change[image].double().numpy(), (8, 8)).ravel()
        assert set(found[image].tolist()) == set(np.argsort(-scores)[:20].tolist())


def test_without_a_change_nothing_can_be_chosen() -> None:
    selector = Selector(dense_plan(tiny_pipeline().transformer.shape, SCHEDULE), 1)
    step = ScalePlan(grid=(8, 8), keep=(20,), rule="change", dropped="exit")
    with pytest.raises(ValueError, match="scale 3: no change"):
        selector.select(3, 0, step, torch.zeros(2, 64, 8), None)


def test_a_run_chooses_by_the_scale_before() -> None:
    """The tokens that stay are those of the reference, from the codes that callbacks saw."""
    pipeline = tiny_pipeline()
    plan = ldpruning_plan(pipeline.transformer.shape, SCHEDULE, LdPruningSettings(keep=0.5))
    codes, kept = [], []
    pipeline("a red cat", schedule=SCHEDULE, plan=plan, seed=3, output_type="latent",
             on_scale=lambda state: (codes.append(state.summed_codes.clone()),
                                     kept.append(dict(state.kept))))
    pruned = [s for s, step in enumerate(plan.scales) if step.sparse]
    assert pruned == list(range(len(SCHEDULE) - 3, len(SCHEDULE)))
    for s in pruned:
        change = (codes[s - 1] - codes[s - 2])[0].double().norm(dim=0).numpy()
        scores = pooled(change, plan.scales[s].grid).ravel()
        own = kept[s][0].cpu().numpy()
        least, rest = scores[own].min(), np.delete(scores, own)
        assert len(own) == plan.scales[s].keep[0] and rest.max() <= least + 1e-6
    assert len(kept[-1]) == pipeline.transformer.shape.depth


def test_fused_and_eager_choose_alike() -> None:
    from toprovar.sampling.params import EngineOptions

    pipeline = tiny_pipeline()
    plan = ldpruning_plan(pipeline.transformer.shape, SCHEDULE)
    found = []
    for fused in (False, True):
        kept: list[torch.Tensor] = []
        pipeline("a red cat", schedule=SCHEDULE, plan=plan, seed=3, output_type="latent",
                 options=EngineOptions(fused=fused),
                 on_scale=lambda state, kept=kept: kept.extend(state.kept.values()))
        found.append(kept)
    assert found[0] and all(map(torch.equal, *found))


@pytest.mark.parametrize("budget", [0.7, 0.4, 0.2])
def test_a_budget_is_met(budget: float) -> None:
    plan = make_plan(tiny_pipeline(), "ldpruning", SCHEDULE, budget=budget)
    assert isinstance(plan, SparsityPlan) and plan.predicted is not None
    assert budget - 0.1 <= plan.predicted.flop_share <= budget
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize("wrong", [
    {"grid": (4, 4), "keep": (8,), "rule": "change", "per": "sublayer"},
    {"grid": (4, 4), "keep": (8,), "rule": "change", "rows": "separate"},
])
def test_once_a_scale_for_both_rows(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="rule 'change' looks at an image's codes"):
        ScalePlan.model_validate(wrong)


def test_the_first_scale_has_nothing_to_choose_by() -> None:
    plan = plan_to_json(ldpruning_plan(tiny_pipeline().transformer.shape, SCHEDULE))
    plan["scales"][0] = {"grid": [1, 1], "keep": [0] * len(plan["scales"][0]["keep"]),
                         "rule": "change"}
    with pytest.raises(ValueError, match="scale 0: no scale before it"):
        plan_from_json(plan)
