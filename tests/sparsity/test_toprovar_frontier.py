"""Plans for a budget from what calibration has tried."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.sparsity.test_toprovar import MODEL, NO_REGIONS, SCHEDULE, SHAPE, calibration
from tests.tiny import random_text
from toprovar.analysis.choices import choice_plan
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.sparsity.cost import Target
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.frontier import worth_lost
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

#: Guided scales, skipped scales, likeness: dense, less guidance, a middle scale skipped, the last.
CHOICES = [(7, (), 1.0), (4, (), 0.95), (4, (5,), 0.9), (4, (6,), 0.7), (4, (5, 6), 0.6)]


def planned(budget: float, **settings: Any) -> SparsityPlan:
    choices = [{"guided": g, "skipped": s, "likeness": q, "ssim": q} for g, s, q in CHOICES]
    own = calibration(choices=choices, dropped="exit")
    return toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(**NO_REGIONS, **settings), own,
                         Target(budget))


def cost(plan: SparsityPlan) -> float:
    return Target(1.0).cost(plan, SHAPE)


def test_the_best_that_the_budget_pays() -> None:
    assert planned(1.0).dense
    less = planned(0.6)
    assert [s.run for s in less.scales] == [True] * 7 and not any(s.sparse for s in less.scales)
    assert [s.unconditional for s in less.scales] == [True] * 4 + [False] * 3
    assert less.parameters["expected_likeness"] == 0.95


def test_between_two_choices_part_of_the_last_scale_runs() -> None:
    whole = planned(0.6)
    plan = planned(0.35)
    assert cost(plan) <= 0.35 < cost(whole)
    last = plan.scales[6]
    assert last.sparse and last.dropped == "exit" and last.rule == "entropy"
    assert last.guide == (2,)  # the Detail layer of the calibration
    skipped = plan.parameters["skipped"]
    low, high = {(): (0.7, 0.95), (5,): (0.6, 0.9)}[tuple(skipped)]
    share = last.keep[0] / last.tokens
    expected = low + (high - low) * share
    assert plan.parameters["expected_likeness"] == pytest.approx(expected, abs=2e-3)
    # Every other way to pay is worth less
    for guided, away, worth in CHOICES:
        bare = planned(1.0).model_copy(update={"scales": tuple(
            s.model_copy(update={"run": i not in away, "unconditional": i < guided})
            for i, s in enumerate(planned(1.0).scales))})
        assert cost(bare) > 0.35 or worth <= expected + 2e-3


def test_controls_change_the_rule_alone() -> None:
    plan, reversed_ = planned(0.35), planned(0.35, rule="entropy_reversed")
    assert reversed_.scales[6].rule == "entropy_reversed" and reversed_.counts == plan.counts


def test_what_is_given_goes_before_the_choices() -> None:
    assert "skipped" not in planned(0.35, unconditional_off=1).parameters
    assert "skipped" not in planned(0.35, dropped="identity").parameters
    deep = planned(0.02)  # below the cheapest choice
    assert "skipped" not in deep.parameters and any("safe" in note for note in deep.notes)


def test_a_plan_that_leaves_out_a_scale_in_the_middle_runs() -> None:
    plan = planned(0.3)
    assert not plan.scales[5].run and plan.scales[6].sparse
    run = SamplingRun(MODEL, random_text(1), SamplingParams(SCHEDULE), plan=plan,
                      generators=torch.Generator().manual_seed(1))
    assert [state.index for state in run] == [0, 1, 2, 3, 4, 6]


def test_without_a_budget_the_cheapest_unharmed_choice() -> None:
    choices = [{"guided": g, "skipped": s, "likeness": q, "ssim": q} for g, s, q in CHOICES]

    def planned_for(ssim: float, **settings: Any) -> SparsityPlan:
        own = calibration(choices=choices, dropped="exit", target_ssim=ssim)
        return toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(**NO_REGIONS, **settings), own)

    assert planned_for(0.92).parameters["guided_scales"] == 4
    assert [s.run for s in planned_for(0.85).scales] == [True] * 5 + [False, True]
    assert planned_for(0.96).dense
    nothing = planned_for(0.85, alpha_max=0.0)
    assert all(s.run and not s.sparse for s in nothing.scales)
    assert "guided_scales" not in nothing.parameters


def with_shortcuts(budget: float, gain: float = 0.0, **settings: Any) -> SparsityPlan:
    """Between these choices: the last scale in full, and with shortcuts of 1 and 2 layers."""
    states = [(7, (), (), 1.0), (4, (), (), 0.95), (4, (), ((6, 1),), 0.94),
              (4, (), ((6, 2),), 0.8), (4, (6,), (), 0.5)]
    choices = [{"guided": g, "skipped": s, "shortcuts": n, "likeness": q, "ssim": q}
               for g, s, n, q in states]
    own = calibration(choices=choices, dropped="exit", shortcuts="abc", mixing_gain=gain)
    return toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(**NO_REGIONS, **settings), own,
                         Target(budget))


def test_choices_with_shortcuts() -> None:
    costs = {n: cost(choice_plan(SHAPE, SCHEDULE, 4, (), ((6, n),) if n else (), identity="abc"))
             for n in (0, 1, 2)}
    plan = with_shortcuts(costs[1])
    assert plan.scales[6].shortcut == 1 and plan.scales[6].keep == (0, 256, 256)
    assert plan.shortcuts == "abc" and plan.parameters["shortcut_layers"] == [[6, 1]]
    assert not any(with_shortcuts(b, shortcuts=False).scales[6].shortcut for b in (0.3, 0.5))
    assert with_shortcuts(costs[1], shortcuts=False).shortcuts is None
    # In between, tokens of high entropy take the longer way
    middle = (costs[1] + costs[2]) / 2
    plan = with_shortcuts(middle)
    step = plan.scales[6]
    assert step.dropped == "shortcut" and step.shortcut == 1 and step.rejoin == 2
    assert step.guide == (2,) and 64 <= step.keep[1] <= 192 and step.keep[2] == 256
    assert cost(plan) <= middle and 0.8 < plan.parameters["expected_likeness"] < 0.94
    better = with_shortcuts(middle, gain=0.2)
    assert better.counts == plan.counts
    assert better.parameters["expected_likeness"] > plan.parameters["expected_likeness"]
    # From the full scale they rejoin without a shortcut for the others
    plan = with_shortcuts((costs[0] + costs[1]) / 2)
    assert plan.scales[6].shortcut == 0 and plan.scales[6].rejoin == 1
    assert [s.unconditional for s in plan.scales] == [True] * 4 + [False] * 3


def test_what_a_part_of_the_tokens_loses() -> None:
    assert [worth_lost(u, 0.2, 0.0) for u in (0, 0.5, 1)] == [0, 0.1, 0.2]
    assert worth_lost(0.5, 0.2, 0.3) == pytest.approx(0.1 - 0.3 * 0.2)
    assert worth_lost(0, 0.2, 0.3) == 0 and worth_lost(1, 0.2, 0.3) == 0.2


@pytest.mark.parametrize("target", [None, Target(0.4)])
def test_a_size_at_which_the_calibration_was_cut_short_is_planned_by_the_prior(
    target: Target | None,
) -> None:
    choices = [{"guided": g, "skipped": s, "likeness": q, "ssim": q} for g, s, q in CHOICES]
    whole = calibration(choices=choices, dropped="exit")
    bare = whole.entries["0.06M"].model_copy(update={"choices": ()})
    other = whole.entries["0.06M"].model_copy(update={"pn": "0.25M"})
    begun = whole.model_copy(update={"entries": {"0.06M": bare, "0.25M": other}})
    settings = ToProVarSettings(**NO_REGIONS)
    plan = toprovar_plan(SHAPE, SCHEDULE, settings, begun, target)
    prior = toprovar_plan(SHAPE, SCHEDULE, settings, None, target)
    assert plan.scales == prior.scales and plan.provenance == prior.provenance
    assert plan.notes[0].startswith("the calibration ended before anything was measured at 0.06M")
    # What is asked for beyond the prior's reach is planned from what was measured.
    given = ToProVarSettings(start_scale=5, **NO_REGIONS)
    assert toprovar_plan(SHAPE, SCHEDULE, given, begun, target).provenance["start"] == "given"
