"""ToProVAR: attention entropy says which tokens, in which layers, from which scale on, need no
work. ``settings`` has the method in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ....entropy.calibration import Calibration, find_calibration
from ..base import PlanContext, Resource, Settings, Strategy
from ..registry import AUTO
from .settings import ToProVarSettings

if TYPE_CHECKING:
    from ...planner import Planner


def adopt_calibration(path: str, found: Calibration, depth: int, fingerprint: str
                      ) -> tuple[str, ...]:
    """Hold a calibration against the model, and let plans find the shortcuts beside it."""
    from ...shortcuts import Shortcuts, register_shortcuts

    if found.depth != depth:
        raise ValueError(f"{path}: calibrates a model of {found.depth} layers, this one has "
                         f"{depth}: make one with 'toprovar calibrate'")
    if found.model != fingerprint:
        raise ValueError(f"{path} calibrates other weights ({found.model}, these are "
                         f"{fingerprint}): make one for these with 'toprovar calibrate'")
    beside = Path(path).with_suffix(".safetensors")
    if found.shortcuts and beside.is_file():
        register_shortcuts(Shortcuts.load(beside))
    return ()


CALIBRATION = Resource(
    "calibration", "--calibration", "of 'toprovar calibrate' (default: the one that was kept, or "
    "the one in the box)",
    Calibration.load, adopt_calibration)


def _calibration(context: PlanContext) -> Calibration | None:
    found = context.given.get("calibration")
    if found is None:
        found = find_calibration(context.fingerprint(), pn=context.schedule.pn)
        return None if found is None or found.unfinished else found
    if found.depth != context.shape.depth:
        raise ValueError(f"the calibration is of a model of {found.depth} layers, this one has "
                         f"{context.shape.depth}")
    return found


class ToProVar(Strategy[ToProVarSettings]):
    """One plan for all prompts, or one for each, inside its run."""

    name: ClassVar[str] = "toprovar"
    summary: ClassVar[str] = "drops tokens by their attention entropy"
    settings: ClassVar[type[Settings]] = ToProVarSettings
    resources: ClassVar[tuple[Resource, ...]] = (CALIBRATION,)
    rank: ClassVar[int] = 1
    since: ClassVar[int] = 1
    default: ClassVar[bool] = True

    def check(self, settings: ToProVarSettings, given: Mapping[str, str], target: bool) -> None:
        if target and settings.exits:
            raise ValueError(f"--dimensions {settings.dimensions} leaves scales out whole: there "
                             "is nothing that --speedup or --budget could decide")

    def for_file(self, settings: ToProVarSettings, target: bool) -> ToProVarSettings:
        if settings.planned == "run" and "planned" in settings.model_fields_set:
            raise ValueError("a file holds a plan made before the run: leave out --planned run, or "
                             "use 'toprovar generate --plan toprovar', which plans inside it (and "
                             "--save-plan, which writes what it planned)")
        return settings.model_copy(update={"planned": "before"})

    def wants_trace(self, settings: ToProVarSettings) -> bool:
        return settings.planned == "before"

    def plan(self, settings: ToProVarSettings, context: PlanContext) -> Planner:
        from . import before, in_run

        calibration = _calibration(context)
        planner = in_run.ToProVar(settings, calibration, context.target, context.cost_model)
        if settings.planned == "run" and planner.adaptive:
            return planner
        plan = before.toprovar_plan(context.shape, context.schedule, settings, calibration,
                                    context.target, context.guided)
        target = context.target
        if target is not None and context.cost(plan) > target.share:  # the plan says so itself
            return context.priced(plan)
        return context.finished(plan)


class Automatic(Strategy[Settings]):
    """ToProVAR where it pays, else dense, decided for each run."""

    name: ClassVar[str] = AUTO
    summary: ClassVar[str] = "toprovar where it is faster, else dense"
    resources: ClassVar[tuple[Resource, ...]] = (CALIBRATION,)
    choice: ClassVar[bool] = True

    def plan(self, settings: Settings, context: PlanContext) -> Planner:
        from .auto import Auto

        found = _calibration(context)
        # Kept: without a planner a sampler asks anew for every picture.
        return context.kept.setdefault(
            (id(found), context.target), Auto(found, context.target, context.cost_model))


STRATEGIES = (ToProVar(), Automatic())
