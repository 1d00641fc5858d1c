"""The sparsity plan: what a sampling run leaves out, as a value that can be saved and shared.

A plan says, before a run begins, how many tokens every block works on at every scale, by which
rule they are chosen, what the others get instead, which scales are not run and from which scale on
guidance is dropped. It holds no prompt, seed or batch, so it serves all of them. Which tokens are
kept is decided inside the run (``selection``).
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator
from typing_extensions import Self

from ..models.config import TransformerConfig
from ..printable import one_line
from ..schedules import ScaleSchedule
from .leap import INPUT, Leap
from .scale_plan import FROZEN, MOST_LAYERS, Dropped, Resize, Rule, ScalePlan, Way

PLAN_VERSION = 1
MOST_SCALES = 64
"""Infinity runs 13 at most; checking a plan takes time that grows with their square."""

__all__ = ["FROZEN", "PLAN_VERSION", "Dropped", "ModelTag", "PredictedCost", "Resize", "Rule",
           "ScalePlan", "SparsityPlan", "Way", "dense_plan", "dense_scales", "schedule_name"]


class ModelTag(BaseModel):
    """The model that a plan was made for.

    Attributes:
        fingerprint: of the weights, or None when the plan does not depend on them.
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
    """What a plan is expected to cost; shares are of a dense run of one image with guidance.

    Attributes:
        token_layers: (row, token, layer) products processed.
        flops: of all blocks and the head; kv_bytes: KV cache at 16 bits a value.
        seconds, dense_seconds: from a cost model of a device, if there was one.
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
        """Of the scale loop."""
        if self.seconds is None or self.dense_seconds is None:
            return None
        return self.dense_seconds / self.seconds


class SparsityPlan(BaseModel):
    """A whole run's plan.

    Attributes:
        strategy: who made it.
        parameters: with which settings.
        model: for which model.
        schedule: name of the schedule ("0.25M 1.000"), for the reader; the grids decide.
        shortcuts: identity of the maps that scales with a shortcut use.
        scales: one entry for every scale of the schedule.
        seed: of the rule "random".
        provenance: where the settings come from (calibration, prompts, versions).
        notes: why something is not as one might expect, in words.
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

    @cached_property
    def counts(self) -> tuple[tuple[int, ...], ...]:
        """Tokens processed, [scale][layer]; zeros where a scale is not run."""
        return tuple(s.keep if s.run else (0,) * len(s.keep) for s in self.scales)

    @cached_property
    def last_run(self) -> int:
        """The last scale that is run."""
        return max(i for i, s in enumerate(self.scales) if s.run)

    @cached_property
    def by_change(self) -> bool:
        """Whether some scale chooses tokens by how much the scale before changed the codes."""
        return any(s.sparse and s.rule == "change" for s in self.scales)

    @property
    def dense(self) -> bool:
        return all(s.run and s.guided and not s.sparse for s in self.scales)

    @cached_property
    def sources(self) -> tuple[tuple[int | None, ...], ...]:
        """[scale][layer]: the scale whose update stands in for dropped tokens, None = nothing does.

        A fixed source is used as it is. Otherwise it is the latest scale run before, whose updates
        are whole: its own dropped tokens carry the updates that stood in for them.
        """
        rows, latest = [], None
        for s, step in enumerate(self.scales):
            source = latest if step.source is None else step.source
            cached = step.run and step.dropped == "cached"
            rows.append(tuple(source if cached and n < step.tokens else None for n in step.keep))
            latest = s if step.run else latest
        return tuple(rows)

    @cached_property
    def shortcut_sources(self) -> tuple[int | None, ...]:
        """The scale whose residual each scale's shortcuts read, None = it has none."""
        found, latest = [], None
        for s, step in enumerate(self.scales):
            found.append(latest if step.run and (step.shortcut or step.rejoin) else None)
            latest = s if step.run else latest
        return tuple(found)

    @cached_property
    def passed_on(self) -> frozenset[tuple[int, int]]:
        """(scale, layer) after which some later scale's shortcuts or mixtures need the residual;
        layer ``INPUT``: before the first."""
        return frozenset(
            (leap.source, layer) for leap in self.leaps for layer in (INPUT, leap.length - 1)
        ) | self.restored

    @cached_property
    def special_sources(self) -> tuple[int | None, ...]:
        """The scale whose residuals stand in for what each scale's mixtures do not restore, None =
        it has none."""
        found, latest = [], None
        for s, step in enumerate(self.scales):
            found.append(latest if step.run and step.special else None)
            latest = s if step.run else latest
        return tuple(found)

    @cached_property
    def restored(self) -> frozenset[tuple[int, int]]:
        """(scale, layer) after which the residual becomes part of some later scale's."""
        return frozenset(
            (source, layer) for source, step in zip(self.special_sources, self.scales, strict=True)
            if source is not None and step.special for layer in step.special.ends)

    @cached_property
    def leaps(self) -> frozenset[Leap]:
        """The shortcuts that are taken."""
        return frozenset(
            Leap(source, s, length)
            for s, (source, step) in enumerate(zip(self.shortcut_sources, self.scales, strict=True))
            if source is not None for length in (step.shortcut, step.rejoin) if length)

    @cached_property
    def stored(self) -> frozenset[tuple[int, int]]:
        """(scale, layer) whose update some later scale needs."""
        return frozenset((source, layer) for row in self.sources
                         for layer, source in enumerate(row) if source is not None)

    @cached_property
    def measured(self) -> frozenset[tuple[int, int]]:
        """(scale, layer) whose entropy some later scale chooses tokens by: the latest before it
        that has a map (mixtures have none)."""
        found, latest = set(), [-1] * self.model.depth
        for s, step in enumerate(self.scales):
            for layer in range(self.model.depth):
                if step.guided_by(layer):
                    found.add((latest[layer], layer))
                if self.counts[s][layer] and not step.special:
                    latest[layer] = s
        return frozenset(found)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.scales or not self.scales[0].run:
            raise ValueError("the first scale must be run")
        rows = {"conditional", "unconditional"}
        for i, scale in enumerate(self.scales):
            where = f"scale {i}"
            if len(scale.keep) != self.model.depth:
                raise ValueError(f"{where}: keep has {len(scale.keep)} entries, the model "
                                 f"{self.model.depth} layers")
            if not scale.run:
                continue
            own = {name for name in ("conditional", "unconditional") if getattr(scale, name)}
            if own - rows:
                raise ValueError(f"{where}: guidance cannot come back once it was dropped (the "
                                 f"{', '.join(own - rows)} row has no keys of the scales between)")
            rows = own
            if i == 0 and scale.sparse and scale.rule == "change":
                raise ValueError("scale 0: no scale before it has changed anything to choose by")
            self._check_sources(i)
            self._check_shortcut(i)
            self._check_special(i)
            for layer in range(self.model.depth):
                if scale.guided_by(layer) and not any(
                    s.run and s.keep[layer] == s.tokens for s in self.scales[:i]
                ):
                    raise ValueError(
                        f"{where}, layer {layer}: no scale before ran this layer in full, so "
                        "there is no entropy map to choose tokens by"
                    )
        return self

    def _check_sources(self, i: int) -> None:
        scale, source = self.scales[i], self.scales[i].source
        if source is None:
            if scale.dropped == "cached" and scale.sparse and i == 0:
                raise ValueError("scale 0: there is no earlier scale to take updates from")
            return
        if scale.dropped != "cached":
            raise ValueError(f"scale {i}: source is given, but dropped is {scale.dropped!r}")
        if not 0 <= source < i or not self.scales[source].run:
            raise ValueError(f"scale {i}: source {source} is not an earlier scale that is run")
        if any(scale.keep[layer] < scale.tokens and self.scales[source].keep[layer] == 0
               for layer in range(len(scale.keep))):
            raise ValueError(f"scale {i}: source {source} does not run a layer whose updates are "
                             "needed")

    def _check_shortcut(self, i: int) -> None:
        lengths = [n for n in (self.scales[i].shortcut, self.scales[i].rejoin) if n]
        if not lengths:
            return
        if self.shortcuts is None:
            raise ValueError(f"scale {i} has a shortcut, but the plan does not say of which maps "
                             "(shortcuts)")
        source = self.shortcut_sources[i]
        if source is None:
            raise ValueError(f"scale {i}: there is no earlier scale for its shortcut to start from")
        before = self.scales[source]
        if before.special:
            raise ValueError(f"scale {i} has a shortcut from scale {source}, which works on "
                             "mixtures: the residual to start from is not known there")
        if before.shortcut > min(lengths) or before.rejoin > min(lengths):
            raise ValueError(
                f"scale {i} has a shortcut through {min(lengths)} layers, scale {source} before it "
                f"one through {max(before.shortcut, before.rejoin)}: the residual to start from is "
                "not known there")

    def _check_special(self, i: int) -> None:
        special = self.scales[i].special
        if special:
            if i == 0:
                raise ValueError("scale 0: there is no earlier scale to restore tokens from")
            before = next(s for s in reversed(self.scales[:i]) if s.run)
            if before.shortcut or before.together or (
                    before.special and set(special.ends) - set(before.special.ends)):
                raise ValueError(f"scale {i} restores tokens from the scale before it, which must "
                                 "have all of them after every group of layers")
        for source in {s for s in self.sources[i] if s is not None}:
            if self.scales[source].special:
                raise ValueError(f"scale {i}: the updates of scale {source}, which works on "
                                 "mixtures, cannot stand in for dropped tokens")

    def check_fits(self, shape: TransformerConfig, schedule: ScaleSchedule,
                   fingerprint: str | None = None) -> tuple[str, ...]:
        """Refuse a model or schedule that the plan was not made for.

        Returns:
            Notes on what fits but is worth knowing.
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
