"""SkipVAR: the last scales, or their guidance, are left out where a picture does not need them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from ..base import Fit, Option, PlanContext, Recordings, Resource, Settings, Shorthand, Strategy
from .decision import CLASSES, FEATURES, TARGET, DecisionModel, DecisionModels, find_decisions

if TYPE_CHECKING:
    from ....models.config import TransformerConfig
    from ....schedules import ScaleSchedule
    from ...plan import SparsityPlan
    from ...planner import Planner

UNDECIDED = (
    "SkipVAR decides by a model fitted to the transformer, and none is at hand for these weights: "
    "its fixed policy without the last scale is used; fit one with 'toprovar fit-skipvar', or "
    "choose skip or uncond"
)
WHY_BELOW = "SkipVAR has seven fixed policies, and none lies nearer"


class SkipVarSettings(Settings):
    """SkipVAR's knobs. ``skip=N`` and ``uncond=N`` are taken as well, for a fixed policy.

    Attributes:
        policy: "adaptive" = decided inside the run, by a model fitted to the transformer; "skip" =
            the last ``scales`` scales are not run; "uncond" = they run without guidance.
        scales: 0 to 3.
    """

    policy: Annotated[Literal["skip", "uncond", "adaptive"], Option(
        "which scales are left out, or lose guidance", flag=None, node_default="skip",
        labels={"skip": "skip last scales", "uncond": "last scales without guidance"},
        decided=True,
        tooltip="What is left out at the end. adaptive decides during the run, by a model fitted "
                "to these weights with 'toprovar fit-skipvar'. If there is none, the last scale is "
                "not run.",
    )] = "adaptive"
    scales: Annotated[int, Option(
        "how many scales at the end a fixed policy is about", flag=None, decided=True,
        tooltip="How many scales at the end are left out or run without guidance. adaptive does "
                "not use it.",
    )] = Field(default=1, ge=0, le=CLASSES[-1])

    @model_validator(mode="before")
    @classmethod
    def _short(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        skip, uncond = values.pop("skip", None), values.pop("uncond", None)
        for name, value in (("skip", skip), ("uncond", uncond)):
            if value is not None and value not in CLASSES:
                raise ValueError(f"{name} must be 0, 1, 2 or 3, got {value!r}")
        if skip and uncond:
            raise ValueError(f"SkipVAR either skips scales or drops guidance: give skip ({skip}) "
                             f"or uncond ({uncond}), not both")
        if uncond or (uncond is not None and skip is None):
            return values | {"policy": "uncond", "scales": uncond}
        return values if skip is None else values | {"policy": "skip", "scales": skip}


class FitSettings(Settings):
    """Of ``toprovar fit-skipvar``."""

    model_config = ConfigDict(allow_inf_nan=True)  # told in the same words as other faults

    target: Annotated[float, Option(
        "SSIM to the dense picture to be kept", metavar="TARGET")] = TARGET

    @field_validator("target")
    @classmethod
    def _share(cls, target: float) -> float:
        if not 0 < target <= 1:
            raise ValueError("must be above 0 and at most 1")
        return target


def _decisions(content: Mapping[str, Any]) -> bool:
    """Whether a file of this content holds decision models by name."""
    return all(isinstance(model, dict) and "skip" in model for model in content.values())


def _recorded(run: Mapping[str, Any], shape: TransformerConfig, schedule: ScaleSchedule,
              vae: Callable[[], Any]) -> Planner:
    """Decided inside the run, too, by a model that always answers as the recording was forced to:
    so the features are taken."""
    from .features import vae_decoder
    from .policies import SkipVar

    model = DecisionModel.always(run["skip_label"], run["uncond_label"])
    return SkipVar(model, vae_decoder(vae()))


def _known(run: Mapping[str, Any], goldens: Collection[str]) -> bool:
    return "skip_label" in run or "uncond_label" in run


def _values(plan: SparsityPlan) -> Mapping[str, Sequence[float]]:
    if "diff_hf" not in plan.parameters:  # the run was too short to decide
        return {}
    return {"features": [plan.parameters[name] for name in FEATURES]}


class SkipVar(Strategy[SkipVarSettings]):
    """As published, with its fixed policies for targets."""

    name: ClassVar[str] = "skipvar"
    summary: ClassVar[str] = "leaves out the last scales, or guidance on them"
    settings: ClassVar[type[Settings]] = SkipVarSettings
    rank: ClassVar[int] = 3
    since: ClassVar[int] = 1
    shorthands: ClassVar[tuple[Shorthand, ...]] = (
        Shorthand("skip", "--skip", "fixed policy: scales at the end that are not run", 0, 3),
        Shorthand("uncond", "--uncond", "fixed policy: scales at the end without guidance", 0, 3),
    )
    resources: ClassVar[tuple[Resource, ...]] = (Resource(
        "decisions", "--decisions", "decision model of 'toprovar fit-skipvar' (default: the one in "
        "the box)", DecisionModels.load, decided=True),)
    fit: ClassVar[Fit | None] = Fit(
        "fit SkipVAR's decision models to a model's own pictures", "decision models", _decisions,
        FitSettings)
    recordings: ClassVar[Recordings | None] = Recordings(
        _recorded, _known, _values, bits_from="greedy")  # theirs begin where they leave that run

    def check(self, settings: SkipVarSettings, given: Mapping[str, str], target: bool) -> None:
        if "decisions" in given and settings.policy != "adaptive":
            raise ValueError("--skip and --uncond fix the policy that --decisions would take: give "
                             "one or the other")

    def for_file(self, settings: SkipVarSettings, target: bool) -> SkipVarSettings:
        if settings.policy == "adaptive" and not target:
            raise ValueError("a file holds one of SkipVAR's fixed policies: give --skip, --uncond, "
                             "--speedup or --budget; 'toprovar generate --plan skipvar' decides "
                             "inside the run")
        return settings

    def plan(self, settings: SkipVarSettings, context: PlanContext) -> Planner:
        from . import policies

        shape, schedule = context.shape, context.schedule
        if context.target is not None:
            plans = [policies.skipvar_plan(shape, schedule, skip, uncond)
                     for skip in CLASSES for uncond in CLASSES if not (skip and uncond)]
            return context.finished(context.dearest(plans), WHY_BELOW)
        if settings.policy == "adaptive":
            found = context.given.get("decisions") or find_decisions(context.fingerprint())
            if found is not None:
                from .features import vae_decoder

                return policies.SkipVar(found, vae_decoder(context.vae),
                                        cost_model=context.cost_model)
            plan = policies.skipvar_plan(shape, schedule, skip=1)
            return context.priced(plan.model_copy(update={"notes": (*plan.notes, UNDECIDED)}))
        return context.priced(policies.skipvar_plan(
            shape, schedule, **{settings.policy: settings.scales}))


STRATEGIES = (SkipVar(),)
