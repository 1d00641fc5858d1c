"""The automatic choice."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.tiny import tiny_pipeline, tiny_transformer
from toprovar.devices import least_saving
from toprovar.models.variants import get_variant
from toprovar.planning import make_plan
from toprovar.sampling import run
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import Target
from toprovar.sparsity.planner import Planner, RunContext
from toprovar.sparsity.strategies.toprovar.auto import Auto
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

SHAPE = get_variant("2b").config
SCHEDULE = get_schedule("1.0", "1M")


def setting(**more: Any) -> RunContext:
    return RunContext(SHAPE, SCHEDULE, **more)


def test_it_is_the_prior_where_there_is_no_calibration() -> None:
    choice = Auto()
    plan = choice.start(setting()).plan
    assert plan.scales == toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings()).scales
    assert choice.start(setting(batch=4)).plan is plan and not choice.adaptive
    assert plan.predicted and plan.predicted.flop_share < 0.6
    cheaper = Auto(target=Target(0.3)).start(setting()).plan
    assert cheaper.predicted and cheaper.predicted.flop_share <= 0.3


def test_dense_where_the_plan_was_slower() -> None:
    asked = []

    def slower(plan: Any) -> tuple[float, float]:
        asked.append(plan)
        return 1.5, 1.0

    plan = Auto().start(setting(slower=slower)).plan
    assert plan.dense and plan.notes == (
        "dense: the accelerated plan took 1.5 s here, dense 1 s",)
    assert asked and not asked[0].dense
    assert not Auto().start(setting(slower=lambda plan: None)).plan.dense


def test_dense_where_there_is_nothing_to_gain() -> None:
    """At small sizes of small models; several images save more than one."""
    small, schedule = tiny_transformer().shape, get_schedule("1.0", "0.06M")
    needed = least_saving(torch.device("cpu"))
    plan = Auto().start(RunContext(small, schedule, least_saving=needed)).plan
    assert plan.dense and "could be saved" in plan.notes[0] and "GFLOPs" in plan.notes[0]
    assert not Auto().start(RunContext(small, schedule, batch=16, least_saving=needed)).plan.dense


def test_by_name_from_a_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole picture: accelerated, or the dense one bit by bit."""
    pipe, schedule = tiny_pipeline(), get_schedule("1.0", "0.06M")
    dense = pipe("a dog", seed=1, schedule=schedule, output_type="latent")
    found = make_plan(pipe, "auto", schedule)
    assert isinstance(found, Planner) and make_plan(pipe, "auto", schedule) is found
    same = pipe("a dog", seed=1, schedule=schedule, plan=found, output_type="latent")
    assert (same.images == dense.images).all() and same.report.plan == "auto"
    monkeypatch.setattr(run, "least_saving", lambda device: 0.0)
    other = pipe("a dog", seed=1, schedule=schedule, plan=found, output_type="latent")
    assert other.report.plan == "toprovar"
    assert other.report.token_layers < dense.report.token_layers
    with pytest.raises(ValueError, match="unknown strategy 'autos'"):
        make_plan(pipe, "autos", schedule)
