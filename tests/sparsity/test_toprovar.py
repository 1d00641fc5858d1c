"""The method's formulas in its plans."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.tiny import random_text, tiny_transformer
from toprovar.entropy.calibration import Calibration
from toprovar.entropy.schedule_entry import ScheduleEntry
from toprovar.entropy.statistics import (
    keep_probability,
    layer_score,
    normalised_entropy,
    principal_ratio,
)
from toprovar.models.fingerprint import model_fingerprint
from toprovar.models.variants import get_variant
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import Target
from toprovar.sparsity.planner import RunContext
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

MODEL = tiny_transformer()
SHAPE = MODEL.shape
SCHEDULE = get_schedule("1.0", "0.06M")
NO_REGIONS: Any = {"region": 0, "tile": 1}


def calibration(**changes: Any) -> Calibration:
    statistics = {"entropy": {"mean": 1, "sd": 0}, "relative": {"mean": 1, "sd": 0}}
    entry = {
        "pn": "0.06M", "template": "1.0", "start_scale": 4, "representative_scale": 3,
        "scales": [{"grid": g, **statistics} for g in SCHEDULE.grids],
        "beta": 0.5, "ratio_scale": "log", "ratio_reference": 2.0,
        "class_low": 0.2, "class_high": 0.5,
        "principal_ratios": [{"mean": r, "sd": 0.1} for r in (200.0, 10.0, 2.0)],
        "layer_scores": [0.1, 0.4, 1.0], "layer_classes": ["global", "ambiguous", "detail"],
    }
    entry |= {k: v for k, v in changes.items() if k in ScheduleEntry.model_fields}
    rest = {k: v for k, v in changes.items() if k not in entry}
    return Calibration.from_json({
        "model": model_fingerprint(MODEL), "depth": 3, "entries": {"0.06M": entry}, "tau": 0.45,
        "crossing": "falling", "rho_informative": False, "prompts": 4, **rest,
    })


def test_counts_before_the_run() -> None:
    """P_keep = 1 - clip(amin + (amax - amin) phi R, 0, 1) at H^ = 1; ambiguous = Global (R = 0)."""
    settings = ToProVarSettings(alpha_min=0.1, alpha_max=0.9, **NO_REGIONS)
    plan = toprovar_plan(SHAPE, SCHEDULE, settings, calibration())
    for s, step in enumerate(plan.scales):
        for layer, score in enumerate((0.1, 0.0, 1.0)):
            dropped = 0.1 + 0.8 * (s / 6) * score if s >= 4 else 0.0
            assert step.keep[layer] == math.ceil(round((1 - dropped) * step.tokens, 6))
    assert plan.model.fingerprint == model_fingerprint(MODEL)


def test_rounding_to_tiles_and_regions() -> None:
    plan = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(tile=16, region=4, min_share=0.5),
                         calibration())
    last = plan.scales[6]
    assert last.keep == (240, 256, 32)  # 233.. up to 240; all; 25.6 up to 32
    assert (last.region, last.min_per_region) == (4, 1)  # half of 32 / 256 * 16
    assert plan.scales[3].region == 0


@pytest.mark.parametrize(("dimensions", "expected"), [
    ("scale+token", (26, 26, 26)), ("scale+layer", (233, 256, 26)), ("all", (233, 256, 26)),
])
def test_ablations(dimensions: Any, expected: tuple[int, ...]) -> None:
    settings = ToProVarSettings(dimensions=dimensions, **NO_REGIONS)
    plan = toprovar_plan(SHAPE, SCHEDULE, settings, calibration())
    assert plan.scales[6].keep == expected
    assert plan.scales[6].rule == ("random" if dimensions == "scale+layer" else "entropy")


def test_exits() -> None:
    plan = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(dimensions="scale"), calibration())
    assert [s.run for s in plan.scales] == [True] * 4 + [False] * 3
    plan = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(dimensions="fixed_exit", start_scale=5))
    assert [s.run for s in plan.scales] == [True] * 5 + [False] * 2
    with pytest.raises(ValidationError, match="needs a start_scale"):
        ToProVarSettings(dimensions="fixed_exit")


def test_without_calibration() -> None:
    """The published form needs a start; what the prior serves is in test_prior."""
    with pytest.raises(ValueError, match="needs a calibration of the model"):
        toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(dropped="identity"))
    plan = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(start_scale=6))
    assert plan.scales[6].sparse and not plan.scales[5].sparse
    assert any("no calibration" in note for note in plan.notes)
    with pytest.raises(ValueError, match="start_scale is 9, but the schedule's last scale is 6"):
        toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(start_scale=9))


def test_no_safe_scale_means_no_pruning() -> None:
    none = calibration(start_scale=None)
    plan = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(), none)
    assert plan.dense and any("nothing is pruned" in note for note in plan.notes)
    # asked for a budget, it does what it can, from the end
    plan = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(), none, Target(0.9))
    assert plan.scales[6].sparse and any("at no scale" in note for note in plan.notes)


@pytest.mark.parametrize("share", [0.8, 0.5, 0.3])
def test_budgets_are_met_closely(share: float) -> None:
    shape, schedule = get_variant("2b").config, get_schedule("1.0", "1M")
    settings = ToProVarSettings(start_scale=9, dropped="identity")
    target = Target(share)
    plan = toprovar_plan(shape, schedule, settings, None, target)
    assert share - 0.03 < target.cost(plan, shape) <= share


def test_a_budget_out_of_reach_says_so() -> None:
    plan = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(), calibration(), Target(0.01))
    assert any("out of reach" in note for note in plan.notes)
    assert plan.scales[3].sparse  # before it a tile holds the whole scale


class Recorder:
    """Keeps every map."""

    heads = False

    def __init__(self) -> None:
        self.maps: dict[tuple[int, int], Tensor] = {}

    def wants(self, scale: int, layer: int) -> bool:
        return True

    def record(self, scale: int, layer: int, grid: tuple[int, int], entropy: Tensor) -> None:
        self.maps[scale, layer] = entropy.unflatten(1, grid)


def run_with(strategy: ToProVar) -> tuple[SamplingRun, Recorder]:
    recorder = Recorder()
    run = SamplingRun(MODEL, random_text(5), SamplingParams(SCHEDULE, 3.0, 0.7), plan=strategy,
                      generators=torch.Generator().manual_seed(1), watch=recorder)
    for _ in run:
        pass
    return run, recorder


def test_counts_in_the_run_are_sums_of_keep_probabilities() -> None:
    settings = ToProVarSettings(start_scale=5, representative_scale=3, alpha_min=0.1, ladder=False,
                                **NO_REGIONS)
    run, recorder = run_with(ToProVar(settings, calibration()))
    maps = recorder.maps
    for layer in range(3):
        ratio = principal_ratio(maps[3, layer][0])
        score = float(layer_score(ratio, 0.5, "log", 2.0))
        score = 0.0 if 0.2 < score < 0.5 else score
        for s in (5, 6):
            keep = keep_probability(normalised_entropy(maps[4, layer][0]), s / 6, score, 0.1, 0.9)
            expected = math.ceil(round(float(keep.mean()) * SCHEDULE.tokens[s], 4))
            assert abs(run.plan_state.plan.scales[s].keep[layer] - expected) <= 1


@pytest.mark.parametrize(("crossing", "tau", "pruned_from"), [
    ("rising", 0.0, 4), ("falling", 1.0, 4), ("rising", 1.0, None), ("falling", 0.0, None),
])
def test_rho_decides_the_start(crossing: Any, tau: float, pruned_from: int | None) -> None:
    settings = ToProVarSettings(
        crossing=crossing, tau=tau, representative_scale=3, dimensions="scale+token", tile=4
    )
    run, _ = run_with(ToProVar(settings, calibration(rho_informative=True)))
    sparse = [s for s, step in enumerate(run.plan_state.plan.scales) if step.sparse]
    assert sparse == ([] if pruned_from is None else list(range(pruned_from, 7)))
    if pruned_from is None:
        assert any("rho never crossed" in note for note in run.report().notes)


def test_where_rho_says_nothing_the_calibrated_start_holds() -> None:
    run, _ = run_with(ToProVar(ToProVarSettings(), calibration(start_scale=6)))
    assert [s for s, step in enumerate(run.plan_state.plan.scales) if step.sparse] == [6]
    run, _ = run_with(ToProVar(ToProVarSettings(), calibration(start_scale=None)))
    assert run.plan_state.plan.dense


def test_a_target_in_the_run() -> None:
    target = Target(0.6)
    run, _ = run_with(ToProVar(ToProVarSettings(tile=4), calibration(), target))
    assert target.cost(run.plan_state.plan, SHAPE) <= 0.6
    assert run.plan_state.plan.provenance == {"planned_after_scale": 3}


EXIT = ToProVarSettings(dropped="exit", **NO_REGIONS)


def leaving(**changes: Any) -> Calibration:
    """A model whose tokens had better exit, and that needs no guidance on its last two scales."""
    return calibration(unconditional_off=2, dropped="exit", start_scale=5, **changes)


def test_the_calibration_says_what_dropped_tokens_get() -> None:
    plan = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(**NO_REGIONS), leaving())
    assert [s.run for s in plan.scales] == [True] * 6 + [False]
    assert [s.unconditional for s in plan.scales[:6]] == [True] * 5 + [False]
    step = plan.scales[5]
    stay = math.ceil(round((1 - 0.9 * 5 / 6) * 144, 6))
    assert step.dropped == "exit" and step.keep == (stay,) * 3 and step.guide == (2,)
    for own in (ToProVarSettings(dropped="cached"), ToProVarSettings(unconditional_off=0)):
        chosen = toprovar_plan(SHAPE, SCHEDULE, own, leaving())
        assert all(s.unconditional for s in chosen.scales if s.run)
    nothing = toprovar_plan(SHAPE, SCHEDULE, EXIT.model_copy(update={"alpha_max": 0.0}), leaving())
    assert not any(s.sparse or not s.run for s in nothing.scales)


def test_a_budget_is_met_from_the_end() -> None:
    """Guidance goes first, then tokens of the last scale, then the last scale, and so on."""
    costs, before = [], None
    for share in (0.9, 0.75, 0.6, 0.45, 0.3, 0.15, 0.05):
        target = Target(share)
        plan = toprovar_plan(SHAPE, SCHEDULE, EXIT, leaving(), target)
        costs.append(target.cost(plan, SHAPE, True))
        assert costs[-1] <= share
        unguided = sum(not (s.unconditional and s.run) for s in plan.scales)
        pruned = [s for s, step in enumerate(plan.scales) if step.sparse]
        assert len(pruned) <= 1 and (not pruned or unguided >= 2)
        if pruned:
            assert all(not step.run for step in plan.scales[pruned[0] + 1 :])
        work = sum(map(sum, plan.counts))
        assert before is None or work <= before
        before = work
    assert costs == sorted(costs, reverse=True)
    fixed = toprovar_plan(SHAPE, SCHEDULE, EXIT.model_copy(update={"unconditional_off": 0}),
                          leaving(), Target(0.6))
    assert all(s.unconditional for s in fixed.scales)


def test_a_strategy_whose_tokens_exit_plans_nothing_inside_the_run() -> None:
    strategy = ToProVar(ToProVarSettings(**NO_REGIONS), leaving())
    assert not strategy.adaptive and ToProVar(calibration=calibration()).adaptive
    runs = []
    for plan in (strategy, toprovar_plan(SHAPE, SCHEDULE, strategy.settings, leaving())):
        own = SamplingRun(MODEL, random_text(5, 3), SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan,
                          generators=torch.Generator().manual_seed(0))
        runs.append((list(own)[-1].summed_codes, own.report().used_plan))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1].scales == runs[1][1].scales
    setting = RunContext(SHAPE, SCHEDULE)
    first = strategy.start(setting).plan
    assert strategy.start(setting).plan is first  # solved once for pictures alike
    assert strategy.start(RunContext(SHAPE, SCHEDULE, guided=False)).plan is not first
