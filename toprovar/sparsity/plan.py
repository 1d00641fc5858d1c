"""The sparsity plan: what a sampling run leaves out, as a value that can be saved and shared.

A plan says, before a run begins, how many tokens every block works on at every scale, by which
rule they are chosen, what the others get instead, which scales are not run and from which scale on
guidance is dropped. It holds no prompt, seed or batch, so it serves all of them. Which tokens are
kept is decided inside the run (``selection``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator
from typing_extensions import Self

from ..models.config import TransformerConfig
from ..printable import one_line
from ..schedules import ScaleSchedule, find_schedule
from .compiled import CompiledPlan, compile_scales
from .plan_checks import check_scales
from .plan_state import PlanState, RunContext
from .scale_plan import FROZEN, MOST_LAYERS, Dropped, Resize, Rule, ScalePlan, Way

PLAN_VERSION = 1
MOST_SCALES = 64
"""Infinity runs 13 at most; checking a plan takes time that grows with their square."""

__all__ = ["FROZEN", "PLAN_VERSION", "Dropped", "ModelTag", "PredictedCost", "Resize", "Rule",
           "ScalePlan", "SparsityPlan", "Way", "dense_plan", "dense_scales", "schedule_name",
           "size_of_plan"]


class ModelTag(BaseModel):
    """The model that a plan was made for. A model of another shape is refused. Other weights of the
    same shape are accepted with a note.

    Attributes:
        depth: the number of layers.
        width: the number of channels of the residual.
        num_heads: the number of attention heads.
        fingerprint: the fingerprint of the weights. None = the plan does not depend on them.
    """

    model_config = FROZEN

    depth: int = Field(ge=1, le=MOST_LAYERS)
    width: int = Field(ge=1, le=1 << 20)
    num_heads: int = Field(ge=1, le=1 << 20)
    fingerprint: str | None = None

    @staticmethod
    def of(shape: TransformerConfig, fingerprint: str | None = None) -> ModelTag:
        return ModelTag(depth=shape.depth, width=shape.width, num_heads=shape.num_heads,
                        fingerprint=fingerprint)


class PredictedCost(BaseModel):
    """What a plan is expected to cost. A share compares it with a dense run of one image with
    guidance.

    Attributes:
        token_layers: the number of (row, token, layer) triples that are processed.
        token_layer_share: the same as a share of the dense run's.
        flops: the floating-point operations of all blocks and of the head.
        flop_share: the same as a share of the dense run's.
        kv_bytes: the size of the KV cache in bytes, at 16 bits a value.
        kv_share: the same as a share of the dense run's.
        seconds: the time of the scale loop by a cost model of a device. None = there was none.
        dense_seconds: the time of the dense run's scale loop by the same cost model.
        device: the name of that device.
    """

    model_config = FROZEN

    token_layers: int = Field(ge=0, lt=1 << 63)
    token_layer_share: float = Field(ge=0)
    flops: float = Field(ge=0)
    flop_share: float = Field(ge=0)
    kv_bytes: int = Field(ge=0, lt=1 << 63)
    kv_share: float = Field(ge=0)
    seconds: float | None = Field(default=None, gt=0)
    dense_seconds: float | None = Field(default=None, gt=0)
    device: str | None = None

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the dense run the scale loop is; None without a cost model."""
        if self.seconds is None or self.dense_seconds is None:
            return None
        return self.dense_seconds / self.seconds


class SparsityPlan(BaseModel):
    """What a sampling run leaves out: for every scale and layer, how many tokens it works on.

    A plan holds no prompt, seed of a picture or batch size, so one plan serves all of them. It
    cannot be changed; ``model_copy(update={...})`` makes a changed copy. A run accepts it only for
    a model of the same shape and a schedule of the same grids (:meth:`check_fits`).

    Attributes:
        version: the version of the file format.
        strategy: the name of the strategy that made the plan, or a text of your own.
        parameters: the settings of that strategy.
        model: the model that the plan is for.
        schedule: the pixel budget and the aspect ("0.25M 1.0"), for the reader. The grids of the
            scales decide.
        scales: one entry for every scale of the schedule, from the coarsest to the finest.
        shortcuts: the identity of the linear maps that scales with a shortcut use. The maps lie in
            the file beside the model's calibration. None = no scale has a shortcut.
        seed: the seed of the rule "random". All pictures of the plan keep the same tokens, on every
            device.
        predicted: the expected cost.
        provenance: where the settings come from: calibration, prompts, versions.
        notes: remarks for the reader, such as a budget that could not be met.

    Raises:
        ValueError: the fields do not go together, such as more kept tokens than a scale has. It is
            pydantic's ``ValidationError``, and names the place.
    """

    model_config = FROZEN

    version: Literal[1] = PLAN_VERSION
    strategy: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    model: ModelTag
    schedule: str
    scales: tuple[ScalePlan, ...] = Field(max_length=MOST_SCALES)
    shortcuts: str | None = None
    seed: int = Field(default=0, ge=-(1 << 63), lt=1 << 64)
    predicted: PredictedCost | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, as pydantic makes it. ``compiled`` and ``counts`` of the
        copy follow its own scales."""
        copied = super().model_copy(update=update, deep=deep)
        if update and "scales" in update:
            for worked_out in ("compiled", "counts"):
                vars(copied).pop(worked_out, None)
        return copied

    @cached_property
    def compiled(self) -> CompiledPlan:
        """One step for every scale and layer, as the run executes them."""
        return compile_scales(self.scales)

    @cached_property
    def counts(self) -> tuple[tuple[int, ...], ...]:
        """How many tokens are processed, [scale][layer]; zeros where a scale is not run."""
        return tuple(s.keep if s.run else (0,) * len(s.keep) for s in self.scales)

    @property
    def dense(self) -> bool:
        """Whether the plan leaves nothing out."""
        return all(s.run and s.guided and not s.sparse for s in self.scales)

    # A plan made beforehand is a planner, too: that of a run which depends on nothing.

    @property
    def name(self) -> str:
        """The strategy's name."""
        return self.strategy

    @property
    def adaptive(self) -> bool:
        """Always False: a plan was made before the run and does not depend on it."""
        return False

    def start(self, context: RunContext) -> PlanState:
        """The state of one run that follows this plan; the sampling loop calls it."""
        return PlanState(self)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_scales(self.scales, self.model.depth, self.shortcuts is not None)
        return self

    def check_fits(self, shape: TransformerConfig, schedule: ScaleSchedule,
                   fingerprint: str | None = None) -> tuple[str, ...]:
        """Refuse a model or a schedule that the plan was not made for.

        Args:
            shape: the shape of the model that is to run.
            schedule: the scales of the run.
            fingerprint: of the model's weights; None = they are not compared.

        Returns:
            Notes for the report, such as that the weights are others than the plan's.

        Raises:
            ValueError: the model's shape or the schedule's grids differ from the plan's.
        """
        own, strategy = self.model, one_line(self.strategy)  # out of a file
        for name, mine, theirs in (
            ("layers", own.depth, shape.depth), ("width", own.width, shape.width),
            ("heads", own.num_heads, shape.num_heads),
        ):
            if mine != theirs:
                raise ValueError(
                    f"the plan ({strategy}) was made for a model with {name} = {mine}, this "
                    f"one has {theirs}: make a plan for this model"
                )
        grids = tuple(s.grid for s in self.scales)
        if grids != schedule.grids:
            raise ValueError(
                f"the plan ({strategy}) was made for the schedule {one_line(self.schedule)} "
                f"({len(grids)} scales up to {grids[-1][0]} x {grids[-1][1]} tokens), the run has "
                f"{len(schedule)} scales up to {schedule.grids[-1][0]} x {schedule.grids[-1][1]}: "
                "use the plan's size, or make a plan for this one"
            )
        if own.fingerprint and fingerprint and own.fingerprint != fingerprint:
            return (f"the plan was made for other weights of this shape "
                    f"({one_line(own.fingerprint)}, these are {fingerprint}): check the picture",)
        return ()


def dense_scales(schedule: ScaleSchedule, depth: int) -> tuple[ScalePlan, ...]:
    """Every scale in full."""
    return tuple(ScalePlan(grid=g, keep=(g[0] * g[1],) * depth) for g in schedule.grids)


@lru_cache(maxsize=64)
def dense_plan(shape: TransformerConfig, schedule: ScaleSchedule, strategy: str = "dense",
               notes: tuple[str, ...] = ()) -> SparsityPlan:
    """The plan that leaves nothing out. Plans are values, so runs share it."""
    return SparsityPlan(
        strategy=strategy, model=ModelTag.of(shape), schedule=schedule_name(schedule),
        scales=dense_scales(schedule, shape.depth), notes=tuple(notes),
    )


def schedule_name(schedule: ScaleSchedule) -> str:
    return f"{schedule.pn} {schedule.template}"


def size_of_plan(plan: Any) -> ScaleSchedule | None:
    """The listed size that a plan was made for. None of a planner that decides inside the run, of
    None, and of a size that is not listed."""
    if not isinstance(plan, SparsityPlan):
        return None
    try:
        return find_schedule([step.grid for step in plan.scales])
    except ValueError:
        return None
