"""Guidance that ends in the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import random_text, tiny_pipeline, tiny_transformer
from toprovar.planning import make_plan
from toprovar.sampling.head import guidance_distance
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun, ScaleState
from toprovar.schedules import get_schedule
from toprovar.sparsity.guidance_stop import GuidanceState, GuidanceStop
from toprovar.sparsity.plan import dense_plan
from toprovar.sparsity.strategies.ldpruning import LdPruningSettings
from toprovar.sparsity.strategies.registry import get_strategy

SCHEDULE = get_schedule("1.0", "0.06M")


def run(below: float, cfg: float = 3.0) -> tuple[list[ScaleState], SamplingRun]:
    model = tiny_transformer()
    planner = GuidanceStop(dense_plan(model.shape, SCHEDULE), below)
    own = SamplingRun(model, random_text(5), SamplingParams(SCHEDULE, cfg, 0.7), plan=planner,
                      generators=torch.Generator().manual_seed(1))
    return list(own), own


def test_distance_is_of_probabilities() -> None:
    logits = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(1))
    expected = []
    for image in range(2):
        for token in range(3):
            for bit in range(4):
                a, b = ((logits[row, token, 2 * bit : 2 * bit + 2].double() / 0.5).softmax(0)[1]
                        for row in (image, image + 2))
                expected.append(abs(float(a - b)))
    assert guidance_distance(logits, 0.5, 2) == pytest.approx(sum(expected) / 24, rel=1e-5)
    assert guidance_distance(torch.cat([logits[:2]] * 2), 0.5, 2) == 0


def test_later_scales_run_without_guidance_once_the_rows_agree() -> None:
    _, guided = run(0.0)
    assert isinstance(guided.plan_state, GuidanceState)
    distances = guided.plan_state.distances
    assert list(distances) == list(range(6))  # the last scale's comes too late
    assert [report.rows for report in guided.scale_reports] == [2] * 7
    ordered = sorted(distances.values())
    below = (ordered[0] + ordered[1]) / 2
    first = next(s for s, distance in distances.items() if distance < below)
    states, stopped = run(below)
    assert [r.rows for r in stopped.scale_reports] == [2] * (first + 1) + [1] * (6 - first)
    used = stopped.report().used_plan
    assert used is not None and used.predicted is not None and used.predicted.flop_share < 1
    assert used.parameters["guidance_stopped_after"] == first
    assert any(f"after scale {first} the rows'" in note for note in used.notes)
    # The plan that was used gives the same picture again.
    again = SamplingRun(tiny_transformer(), random_text(5), SamplingParams(SCHEDULE, 3.0, 0.7),
                        plan=used, generators=torch.Generator().manual_seed(1))
    assert torch.equal(list(again)[-1].bits, states[-1].bits)


def test_at_once_and_never() -> None:
    assert [r.rows for r in run(1.0)[1].scale_reports] == [2] + [1] * 6
    _, unguided = run(0.5, cfg=1.0)
    assert isinstance(unguided.plan_state, GuidanceState) and not unguided.plan_state.distances


def test_ldpruning_can_end_guidance_so(tmp_path: Path) -> None:
    pipeline = tiny_pipeline()
    planner = make_plan(pipeline, "ldpruning", SCHEDULE, guidance_below=0.5, unguided=0)
    assert isinstance(planner, GuidanceStop) and planner.adaptive and planner.name == "ldpruning"
    result: Any = pipeline("a red cat", schedule=SCHEDULE, plan=planner, seed=1)
    assert result.report.used_plan.parameters["guidance_stopped_after"] == 0
    json.dumps(result.report.to_json())
    with pytest.raises(ValueError, match="inside the run"):
        get_strategy("ldpruning").for_file(LdPruningSettings(guidance_below=0.1), False)
