"""What a recorded run leaves out, as a plan or a strategy for the engine."""

from __future__ import annotations

from collections.abc import Callable

from ..schedules import ScaleSchedule
from ..sparsity.plan import SparsityPlan
from ..sparsity.planner import Planner
from ..sparsity.strategies.fastervar import fastervar_plan
from ..sparsity.strategies.fastvar import OFFICIAL_LAYERS, fastvar_plan
from ..sparsity.strategies.skipvar.decision import DecisionModel
from ..sparsity.strategies.skipvar.features import vae_decoder
from ..sparsity.strategies.skipvar.policies import SkipVar
from .family import Family, RunFolder


def plan_for(family: Family, run: RunFolder, schedule: ScaleSchedule
             ) -> Planner | None:
    """The plan or strategy that a run was recorded with; None = dense."""
    make = METHODS[run.method]
    return make(family, run, schedule) if make else None


def _skipvar(family: Family, run: RunFolder, schedule: ScaleSchedule) -> Planner:
    """The adaptive strategy with a model that always answers as the recording was forced to: it
    takes the features, too."""
    model = DecisionModel.always(run.settings["skip_label"], run.settings["uncond_label"])
    return SkipVar(model, vae_decoder(family.vae))


def _fastvar(family: Family, run: RunFolder, schedule: ScaleSchedule) -> SparsityPlan:
    """The fork's hard-coded layers, also on a model of six."""
    return fastvar_plan(family.transformer.shape, schedule, layers=OFFICIAL_LAYERS)


def _fastervar(family: Family, run: RunFolder, schedule: ScaleSchedule) -> SparsityPlan:
    """The fork's groups, which are chunks. Guidance of exactly 0 leaves the unconditional row."""
    mixed = run.settings["executed_scales"][-1]
    return fastervar_plan(family.transformer.shape, schedule, run.settings["alpha"], by_chunk=True,
                          guided=run.settings["cfg_list"][mixed] != 0)


METHODS: dict[str, Callable[[Family, RunFolder, ScaleSchedule],
                            Planner] | None] = {
    "dense": None,
    "fastvar": _fastvar,
    "fastervar": _fastervar,
    "skipvar": _skipvar,
}
"""By ``RunFolder.method``; runs of methods that are not here are reported as not supported."""
GUESTS = {"fastervar": "infinity_1m"}
"""Folders of runs without weights of their own, and the family beside them whose they are."""
