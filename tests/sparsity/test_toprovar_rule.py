"""Which tokens are kept: by the user's word, else by the calibration's, else by entropy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.sparsity.test_toprovar import MODEL, NO_REGIONS, SCHEDULE, SHAPE, calibration
from tests.sparsity.test_toprovar_frontier import CHOICES
from tests.tiny import random_text
from toprovar.bundled import bundled_model
from toprovar.entropy.calibration import Calibration
from toprovar.entropy.schedule_entry import SelectionWorth
from toprovar.files import DATA
from toprovar.models.config import TransformerConfig
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import Target
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.plan_file import load_plan, plan_to_json, save_plan
from toprovar.sparsity.planner import RunContext
from toprovar.sparsity.strategies.options import options_of, settings_of
from toprovar.sparsity.strategies.registry import get_strategy
from toprovar.sparsity.strategies.toprovar.auto import Auto
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings, settled

RANDOM = SelectionWorth(rule="random", gain=0.0003, half_width=0.0008, pictures=24, share=0.5,
                        decided=True)
ENTROPY = RANDOM.model_copy(update={"rule": "entropy", "gain": 0.02})
OPEN = RANDOM.model_copy(update={"decided": False})
NOTE = ("tokens are chosen at random: on this model and size that is as good as by entropy (gain "
        "0.0003 ± 0.0008 of likeness on 24 pictures), and costs nothing")
PART = 0.35
"""A budget that spares a part of the last scale's tokens."""


def known(worth: SelectionWorth | None, **changes: Any) -> Calibration:
    """The tiny model's calibration, with choices."""
    choices = [{"guided": g, "skipped": s, "likeness": q, "ssim": q} for g, s, q in CHOICES]
    own = calibration(**{"choices": choices, "dropped": "exit", **changes})
    return own.model_copy(update={"entries": {
        pn: entry.model_copy(update={"selection": worth}) for pn, entry in own.entries.items()}})


def planned(worth: SelectionWorth | None, budget: float | None = PART, **settings: Any
            ) -> SparsityPlan:
    return toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(**NO_REGIONS, **settings), known(worth),
                         Target(budget) if budget else None)


def at_random(plan: SparsityPlan) -> bool:
    """Whether some tokens are, which needs no entropies, and says so."""
    rules = {step.rule for step in plan.scales for n in range(SHAPE.depth) if step.partial(n)}
    assert len(rules) == 1 and bool(plan.compiled.where("measured")) == (rules == {"entropy"})
    return rules == {"random"}


@pytest.mark.parametrize(("worth", "rule"), [
    (None, "entropy"), (ENTROPY, "entropy"), (OPEN, "entropy"), (RANDOM, "random")])
def test_the_calibration_decides(worth: SelectionWorth | None, rule: str) -> None:
    own = known(worth)
    assert settled(ToProVarSettings(), own, own.main).rule == rule
    plan = planned(worth)
    assert at_random(plan) == (rule == "random") == (NOTE in plan.notes)
    assert plan.parameters["rule"] == rule and plan.counts == planned(None).counts
    assert plan.parameters["expected_likeness"] == planned(None).parameters["expected_likeness"]


@pytest.mark.parametrize("rule", ["entropy", "random", "change", "entropy_reversed"])
def test_who_asks_for_a_rule_gets_it(rule: Any) -> None:
    for worth in (RANDOM, ENTROPY, None):
        plan = planned(worth, rule=rule)
        assert plan.scales[6].rule == rule and NOTE not in plan.notes


def test_without_a_calibration_it_is_entropy() -> None:
    assert settled(ToProVarSettings(), None, None).rule == "entropy"
    plan = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(), None, Target(PART))
    assert plan.provenance["prior"] and not at_random(plan)


@pytest.mark.parametrize("settings", [
    {"start_scale": 5}, {"unconditional_off": 1}, {"dropped": "identity"}, {"dropped": "cached"},
    {"dimensions": "scale+token", "start_scale": 4}, {"dropped": "identity", "planned": "before"},
])
def test_only_where_tokens_leave_the_last_scale_alone(settings: dict[str, Any]) -> None:
    """What was measured says nothing of earlier scales, or of tokens that skip layers."""
    own = known(RANDOM)
    assert settled(ToProVarSettings(**settings), own, own.main).rule == "entropy"
    plan = planned(RANDOM, **settings)
    assert not at_random(plan) and NOTE not in plan.notes


def test_nor_where_no_choice_is_cheap_enough() -> None:
    plan = planned(RANDOM, 0.02)
    assert "skipped" not in plan.parameters and plan.parameters["rule"] == "entropy"
    assert plan.scales == planned(None, 0.02).scales and NOTE not in plan.notes


def test_nothing_is_said_where_all_tokens_are_worked_on() -> None:
    for budget in (None, 1.0, 0.6):
        plan = planned(RANDOM, budget)
        assert plan.scales == planned(None, budget).scales and NOTE not in plan.notes
    # A control that takes them at random whatever the calibration says
    assert NOTE not in planned(RANDOM, dimensions="scale+layer").notes


def test_a_size_that_was_not_calibrated_goes_by_entropy() -> None:
    entry, _ = known(RANDOM).entry(get_schedule("1.0", "0.25M"))
    assert entry.selection is None
    assert known(RANDOM).entry(get_schedule("1.5", "0.06M"))[0].selection == RANDOM


@pytest.mark.parametrize(("change", "told"), [
    ({"half_width": None, "pictures": 1}, "(gain 0.0003 of likeness on 1 picture)"),
    ({"gain": -0.00001}, "(gain 0.0000 ± 0.0008 of likeness on 24 pictures)"),
    ({"gain": -0.0012}, "(gain -0.0012 ± 0.0008 of likeness on 24 pictures)"),
])
def test_the_measurement_is_told(change: dict[str, Any], told: str) -> None:
    plan = planned(RANDOM.model_copy(update=change))
    assert sum(told in note for note in plan.notes) == 1


def embedded(worth: SelectionWorth | None) -> tuple[TransformerConfig, Calibration]:
    values = json.loads((bundled_model() / "transformer" / "config.json").read_text())
    shape = TransformerConfig(**{k: v for k, v in values.items() if not k.startswith("_")})
    found = Calibration.load(DATA / "calibrations" / "infinity-emoji.json")
    return shape, found.model_copy(update={"entries": {
        pn: e.model_copy(update={"selection": worth}) for pn, e in found.entries.items()}})


@pytest.mark.parametrize(("pn", "budget", "way"), [
    ("0.06M", 0.5, "shortcut"), ("0.06M", 0.2, "exit"), ("0.25M", 0.9, "shortcut"),
    ("0.25M", 0.7, "exit")])
def test_the_embedded_models_plans(pn: str, budget: float, way: str) -> None:
    """Tokens exit or rejoin; all that changes is which."""
    schedule = get_schedule("1.0", pn)
    plans = [toprovar_plan(shape, schedule, ToProVarSettings(), own, Target(budget))
             for shape, own in map(embedded, (RANDOM, ENTROPY))]
    last = [plan.scales[-1] for plan in plans]
    assert last[0].dropped == way and last[0].rule == "random"
    assert last[1] == last[0].model_copy(update={"rule": "entropy"})
    assert plans[0].scales[:-1] == plans[1].scales[:-1] and plans[0].shortcuts
    assert NOTE in plans[0].notes and NOTE not in plans[1].notes
    assert not plans[0].compiled.where("measured") and plans[1].compiled.where("measured")


def test_every_way_to_ask_for_it() -> None:
    """The automatic choice, and the strategy whose tokens exit."""
    for planner in (Auto(known(RANDOM), Target(PART)),
                    ToProVar(ToProVarSettings(), known(RANDOM), Target(PART))):
        plan = planner.start(RunContext(SHAPE, SCHEDULE)).plan
        assert at_random(plan) and NOTE in plan.notes
    inside = ToProVar(ToProVarSettings(dropped="identity"), known(RANDOM))
    state: Any = inside.start(RunContext(SHAPE, SCHEDULE))
    assert state.settings.rule == "entropy"


def test_the_plans_seed_decides_which_tokens() -> None:
    kept = []
    for prompt, seed in ((1, 0), (2, 0), (1, 5)):
        run = SamplingRun(MODEL, random_text(prompt, 2), SamplingParams(SCHEDULE, 3.0, 0.7),
                          plan=planned(RANDOM, seed=seed),
                          generators=torch.Generator().manual_seed(prompt))
        kept.append(list(run)[-1].kept[0])
    assert torch.equal(kept[0], kept[1]) and kept[0].numel() == planned(RANDOM).scales[6].keep[0]
    assert not torch.equal(kept[0], kept[2])


def test_plans_and_settings_of_before(tmp_path: Path) -> None:
    """Their rule was always written down: it stays what they say."""
    plan = planned(RANDOM, rule="entropy")
    assert plan_to_json(plan)["parameters"]["rule"] == "entropy"
    save_plan(plan, tmp_path / "old.json")
    assert load_plan(tmp_path / "old.json") == plan
    own = ToProVarSettings.model_validate({"rule": "entropy"})
    assert settled(own, known(RANDOM), known(RANDOM).main).rule == "entropy"
    method = get_strategy("toprovar")
    assert settings_of(method, {"rule": "entropy"}) == own
    option = next(o for o in options_of(method) if o.name == "rule")
    assert option.default is None and option.option.node_unset == "by calibration"
    assert "entropy" in option.choices and option.flag == "--rule"
