"""SkipVAR as its Infinity fork runs it, on any schedule.

A picture that has its detail early needs fewer scales: after the fourth scale from the end, two
small decodes of the sums before and after it say whether the last one, two or three scales are
left out (nothing replaces them) or, if none is, run without the unconditional row and so without
guidance.

The fork names scales 8 to 12 of the 13 of the 1M schedule. Here they are counted from the end, so
that every schedule of at least ``MIN_SCALES`` scales takes the decision; at 1M both say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ....models.config import TransformerConfig
from ....schedules import ScaleSchedule
from ...cost import CostModel, predict
from ...plan import ModelTag, SparsityPlan, dense_plan, dense_scales, schedule_name
from ...planner import PlanState, RunContext
from .decision import CLASSES, DecisionModel, DecisionModels
from .features import Decode, Features, measure_features, small_codes

OFFICIAL_SCALES = 13
MIN_SCALES = 6
"""With fewer there is next to nothing to decide by when the decision falls due."""
NEW, OLD = 4, 5
"""The scales, from the end, after which the two sums are taken."""
FEATURE_SCALE = 4
"""The scale, from the start, at whose size they are looked at."""


def skipvar_plan(shape: TransformerConfig, schedule: ScaleSchedule, skip: int = 0,
                 uncond: int = 0) -> SparsityPlan:
    """One of SkipVAR's policies for all prompts.

    Args:
        skip: scales at the end that are not run, 0 to 3. Official: stop before scale 12, 11 or 10
            of the 13 of the 1M schedule; on others counted from the end.
        uncond: scales at the end that run without guidance, 0 to 3; not together with ``skip``.
    """
    count = len(schedule)
    for name, value in (("skip", skip), ("uncond", uncond)):
        if value not in CLASSES:
            raise ValueError(f"{name} must be 0, 1, 2 or 3, got {value!r}")
        if value >= count:
            raise ValueError(f"{name} is {value}, but the schedule has only {count} scales")
    if skip and uncond:
        raise ValueError(f"SkipVAR either skips scales or drops guidance: give skip ({skip}) or "
                         f"uncond ({uncond}), not both")
    scales = tuple(
        step.model_copy(update={"run": s < count - skip, "unconditional": s < count - uncond})
        for s, step in enumerate(dense_scales(schedule, shape.depth))
    )
    notes = ()
    if count != OFFICIAL_SCALES and (skip or uncond):
        what = "is not run" if skip else "runs without guidance"
        notes = (f"SkipVAR was published for {OFFICIAL_SCALES} scales: on these {count}, counted "
                 f"from the end, scale {count - (skip or uncond)} is the first that {what}",)
    return SparsityPlan(
        strategy="skipvar", parameters={"skip": skip, "uncond": uncond}, model=ModelTag.of(shape),
        schedule=schedule_name(schedule), scales=scales, notes=notes,
    )


@dataclass(frozen=True)
class SkipVar:
    """Picks the policy inside the run, for one image.

    Attributes:
        models: the decision model, or several, of which the one for the run's schedule is taken.
        decode: the autoencoder's decoder (``features.vae_decoder``).
        which: name of the model to take, if there are several.
        cost_model: for the report.
    """

    models: DecisionModel | DecisionModels
    decode: Decode
    which: str | None = None
    cost_model: CostModel | None = None
    name: str = "skipvar"
    adaptive: bool = True
    decodes: bool = True

    def start(self, context: RunContext) -> PlanState:
        """Begin a run; dense, with a note, where the schedule is too short to decide.

        Raises:
            ValueError: there are several decision models and none is for this schedule.
        """
        shape, schedule = context.shape, context.schedule
        if len(schedule) < MIN_SCALES:
            return PlanState(dense_plan(shape, schedule, "skipvar", (
                f"SkipVAR decides nothing on {len(schedule)} scales, it needs {MIN_SCALES}: all "
                "were run",
            )))
        models = self.models
        if isinstance(models, DecisionModel):
            models = DecisionModels({"": models})
        model, notes = models.pick(schedule, self.which)
        if model.model and context.fingerprint and model.model != context.fingerprint:
            notes += (f"SkipVAR's decision model was fitted to other weights ({model.model}, these "
                      f"are {context.fingerprint}): its target may be missed",)
        return SkipVarState(self, context, model, notes)


class SkipVarState(PlanState):
    """One run: dense until the decision.

    Attributes:
        features: what the decision was taken by, None before.
    """

    def __init__(self, planner: SkipVar, context: RunContext, model: DecisionModel,
                 notes: tuple[str, ...] = ()) -> None:
        super().__init__(dense_plan(context.shape, context.schedule, "skipvar", tuple(notes)))
        self.features: Features | None = None
        self._planner, self._setting = planner, context
        self._model, self._notes = model, notes
        self._size = feature_size(context.shape, context.schedule)
        self._old: Tensor | None = None

    def horizon(self, scale: int) -> int:
        last = len(self.plan.scales) - 1
        return last if self.features else last + 1 - NEW

    def after(self, scale: int, codes: Tensor) -> None:
        count = len(self.plan.scales)
        if scale == count - OLD:
            self._old = small_codes(codes, self._size)
        elif scale == count - NEW:
            assert self._old is not None  # all scales so far were run
            new = small_codes(codes, self._size)
            [self.features] = measure_features(self._old, new, self._planner.decode)
            self._old = None
            self._decide(scale)

    def _decide(self, scale: int) -> None:
        assert self.features is not None
        diff, ratio = self.features.values()
        skip, uncond = self._model.decide((diff, ratio))
        notes = self._notes
        if uncond and not self._setting.guided:
            notes += ("SkipVAR would have dropped guidance, but this run has none",)
            uncond = 0
        told = f"scale {scale} gave diff_hf {diff:.4f}, hf_ratio {ratio:.4f}: "
        last = f"the last {skip or uncond} scale{'s' if (skip or uncond) > 1 else ''}"
        if skip:
            told += f"without {last}"
        elif uncond:
            told += f"{last} without guidance"
        else:
            told += "all scales in full"
        plan = skipvar_plan(self._setting.shape, self._setting.schedule, skip, uncond)
        plan = plan.model_copy(update={
            "parameters": plan.parameters | {
                "adaptive": True, "diff_hf": diff, "hf_ratio": ratio,
                "target_ssim": self._model.target_ssim,
            },
            "provenance": self._model.provenance,
            "notes": (*notes, *plan.notes, f"SkipVAR decided after {told}"),
        })
        self.plan = predict(plan, self._setting.shape, self._planner.cost_model,
                            self._setting.guided)


def feature_size(shape: TransformerConfig, schedule: ScaleSchedule) -> tuple[int, int]:
    """Latent size (h, w) at which the sums are looked at."""
    height, width = schedule.grids[FEATURE_SCALE]
    return height * shape.patch, width * shape.patch
