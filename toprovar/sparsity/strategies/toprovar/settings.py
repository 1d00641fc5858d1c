"""ToProVAR (arXiv 2602.22948): attention entropy says which tokens, in which layers, from which
scale on, need no work.

Three dimensions. Scale: pruning starts where the share of low-entropy tokens says that the picture
stands. Layer: the ratio of an entropy map's singular values tells Global layers, which must stay
whole, from Detail layers. Token: the higher its entropy, the sooner a token is dropped.

    P_keep = 1 - clip(alpha_min + (alpha_max - alpha_min) phi(s) R_l H^_i, 0, 1), phi(s) = s / S_max

How many tokens a layer keeps is fixed before the scale runs; which, its latest entropies decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from ....entropy.calibration import Calibration
from ....entropy.kinds import Normalization
from ....entropy.schedule_entry import ScheduleEntry
from ....models.config import TransformerConfig
from ....ops.minimum import feasible_minimum
from ....schedules import ScaleSchedule
from ...plan import ModelTag, Resize, Rule, ScalePlan, SparsityPlan, Way, schedule_name
from ...scale_plan import MOST_SIDE
from ..base import Option, Settings

MOST = 0.95
"""Largest share dropped to meet a target: the bits of a scale need some block to come from. Tokens
that exit need none."""

PRIOR_DROPPED = "exit"
"""What dropped tokens get in a model that was not calibrated."""

Dimensions = Literal["all", "scale+token", "scale+layer", "scale", "fixed_exit"]


class ToProVarSettings(Settings):
    """The knobs of the method.

    Attributes:
        planned: "run" = inside each run, where that leaves something to decide; "before" = one
            plan for all prompts.
        alpha_min, alpha_max: bounds of the share dropped: of Global layers, and of Detail layers
            at the last scale.
        start_scale: D, the first scale that is pruned; None = found by calibration or in the run.
        tau, crossing: where rho decides D; None = the calibration's, else 0.4 rising.
        beta: strength of the layer score; None = the calibration's, else so that scores span
            0.05 to 1.
        representative_scale: whose maps decide which layers are Global; None = the calibration's,
            else 6 of 13 scales in proportion.
        dimensions: "all", or an ablation: "scale+token" (all layers alike), "scale+layer" (the
            same counts, tokens at random), "scale" (scales from D on not run), "fixed_exit"
            (scales from ``start_scale`` on not run, whatever the prompt).
        normalization: of H; "sum" is the published form, which ranks nothing.
        rule: see ScalePlan. None = "entropy", or "random" where tokens leave the last scale alone
            (``frontier``) and the calibration found that to be as good.
        dropped, resize: see ScalePlan; None = the calibration's, else "exit", which holds on models
            that it was not measured on. The published form is "identity". With "exit" the picture
            is finished from the end: tokens leave the start scale, and later scales are not run.
        unconditional_off: scales at the end that run without guidance's second row; None = with
            "exit" the calibration's or, where that is to decide all, the prior's; else 0.
        shortcuts: whether choices of the calibration may leave out the first layers of a scale
            (``sparsity.shortcuts``).
        ladder: whether a plan made inside the run is one of a few prepared ones
            (``ladder``), which later pictures share; False = the prompt's own counts.
        tile: keep counts are rounded up to a multiple of this.
        region, min_share: every region x region tokens keep at least this share of what they
            would keep by an even spread.
        seed: of the rule "random".
    """

    planned: Annotated[Literal["run", "before"], Option(
        "when the plan is made: run = for each prompt during its run (only with --dropped identity "
        "or cached); before = one plan for all prompts, from the model's calibration or the prior",
        "When the plan is made. Usually both values give one plan for all pictures, by the model's "
        "calibration or the defaults. If dropped tokens get identity or cached, in the run plans "
        "each picture by its own entropies on its early scales. before the run can also use a "
        "trace.",
        flag="--planned", labels={"run": "in the run", "before": "before the run"},
    )] = Field(default="run", exclude=True)
    alpha_min: Annotated[float, Option(
        "share of tokens dropped in Global layers",
        "Share of tokens dropped in Global layers, which shape the whole picture.",
        flag="--alpha-min", step=0.05, decided=True,
    )] = Field(default=0.0, ge=0, le=1)
    alpha_max: Annotated[float, Option(
        "share of tokens dropped in Detail layers at the last scale",
        "Share of tokens dropped at the last scale in Detail layers, which shape small parts.",
        flag="--alpha-max", step=0.05, decided=True,
    )] = Field(default=0.9, ge=0, le=1)
    start_scale: Annotated[int | None, Option(
        "first scale on which tokens are dropped",
        "First scale on which tokens are dropped, counted from 0. 0 = decided by the calibration, "
        "by the defaults, or during the run.",
        flag="--start-scale", metavar="N", unset="calibrated, or found in the run", node_unset=0,
    )] = Field(default=None, ge=1)
    dropped: Annotated[Way | None, Option(
        "what happens to dropped tokens: they skip the layer, get its update of an earlier scale, "
        "or leave the scale (exit)",
        "What happens to dropped tokens. identity: they skip the layer, as published. cached: they "
        "get the layer's update from an earlier scale, resized. exit: they leave the scale and add "
        "nothing more to the picture there. by calibration: what suits the model, or exit without "
        "a calibration.",
        flag="--dropped", unset="calibrated, else exit; published: identity", advanced=True,
        node_unset="by calibration",
    )] = None
    resize: Annotated[Resize, Option(
        "how cached updates of an earlier scale are resized",
        "How cached updates of an earlier scale are resized.", flag="--resize",
        advanced=True)] = "bilinear"
    rule: Annotated[Rule | None, Option(
        "which tokens are kept",
        "Which tokens are kept. entropy is the method itself; the others are for comparison. by "
        "calibration: random if the calibration measured it to be as good, because it costs "
        "nothing; otherwise "
        "entropy.", flag="--rule", unset="calibrated, else entropy", advanced=True,
        node_unset="by calibration")] = None
    dimensions: Annotated[Dimensions, Option(
        "leave out parts of the method, to see what each of them gives",
        "Leaves out parts of the method, to see what each of them gives.", flag="--dimensions",
        advanced=True)] = "all"
    region: Annotated[int, Option(
        "side, in tokens, of the regions that keep a minimum; 0 = none",
        "Side of a region, in tokens. Every region keeps a minimum number of tokens. 0 = no "
        "minimum.", flag="--region",
        metavar="N", advanced=True)] = Field(default=8, ge=0, le=MOST_SIDE)
    min_share: Annotated[float, Option(
        "that minimum, as a share of what the region would keep if kept tokens were spread evenly",
        "The minimum of a region, as a share of what it would keep if kept tokens were spread "
        "evenly.", flag="--min-share", advanced=True,
        step=0.05)] = Field(default=0.25, ge=0, le=1)
    tile: Annotated[int, Option(
        "the number of kept tokens is rounded up to a multiple of this",
        "The number of kept tokens is rounded up to a multiple of "
        "this.", flag="--tile", metavar="N",
        advanced=True)] = Field(default=16, ge=1)
    unconditional_off: Annotated[int | None, Option(
        "how many scales at the end run without guidance",
        "How many scales at the end run without guidance. -1 = decided by the calibration or the "
        "defaults.",
        flag="--unconditional-off", metavar="N", advanced=True, node_unset=-1,
        unset="with exit as calibrated, or by the prior")] = Field(default=None, ge=0)
    seed: Annotated[int, Option(
        "seed of --rule random", "Seed of the rule random.", flag="--rule-seed",
        advanced=True)] = Field(default=0, ge=-(1 << 63), lt=1 << 64)
    shortcuts: Annotated[bool, Option(
        "whether the calibration's shortcuts through the first layers may be used",
        flag="--shortcuts", advanced=True, node=False)] = True
    ladder: Annotated[bool, Option(
        "whether a plan made inside the run is one of a few prepared ones, which later pictures "
        "share", flag="--ladder", advanced=True, node=False)] = True
    tau: Annotated[float | None, Option(
        "rho at which pruning starts", flag="--rho-tau", unset="calibrated, else 0.4",
        advanced=True, node=False)] = Field(default=None, ge=0, le=1)
    crossing: Annotated[Literal["rising", "falling"] | None, Option(
        "in which direction rho crosses --rho-tau", flag="--crossing",
        unset="calibrated, else rising", advanced=True, node=False)] = None
    beta: Annotated[float | None, Option(
        "strength of the layer score", flag="--beta", unset="calibrated", advanced=True,
        node=False)] = Field(default=None, ge=0)
    representative_scale: Annotated[int | None, Option(
        "the scale whose maps tell Global layers from Detail layers", flag="--representative-scale",
        metavar="N", unset="calibrated, else the 7th of 13, in proportion", advanced=True,
        node=False)] = Field(default=None, ge=1)
    normalization: Annotated[Normalization, Option(
        "normalization of the entropies; sum is the published form, which does not rank tokens",
        flag="--normalization", advanced=True, node=False)] = "mean"

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.alpha_min > self.alpha_max:
            raise ValueError(f"alpha_min {self.alpha_min} is above alpha_max {self.alpha_max}: "
                             "lower the one or raise the other")
        if self.dimensions == "fixed_exit" and self.start_scale is None:
            raise ValueError("dimensions 'fixed_exit' needs a start_scale: the first scale that is "
                             "not run")
        return self

    @property
    def exits(self) -> bool:
        """Whether scales are left out whole."""
        return self.dimensions in ("scale", "fixed_exit")

    @property
    def scales_open(self) -> bool:
        """Whether it is open which scales are run, and which in part."""
        return not self.exits and self.start_scale is None and self.alpha_max > 0


def settled(settings: ToProVarSettings, calibration: Calibration | None,
            entry: ScheduleEntry | None) -> ToProVarSettings:
    """Settings with what the calibration, or without one the prior, decides filled in."""
    dropped = settings.dropped or (calibration.dropped if calibration else PRIOR_DROPPED)
    off, rule = settings.unconditional_off, settings.rule
    if off is None:
        off = entry.unconditional_off if entry and dropped == "exit" else 0
    if rule is None:
        worth = entry.selection if entry and by_choices(settings, calibration) else None
        rule = worth.used if worth else "entropy"
    return settings.model_copy(update={"dropped": dropped, "unconditional_off": off, "rule": rule})


def by_choices(settings: ToProVarSettings, calibration: Calibration | None) -> bool:
    """Whether settings, not settled yet, leave it to the calibration's choices which scales are
    run, and let tokens leave the last of them alone (``frontier``)."""
    return (calibration is not None and (settings.dropped or calibration.dropped) == "exit"
            and settings.scales_open and settings.unconditional_off is None)


KeepShare = Callable[[int, int], float]
"""(scale, layer) -> mean of P_keep over the scale's tokens."""


def plain_share(settings: ToProVarSettings, scores: Sequence[float], last: int) -> KeepShare:
    """The mean of P_keep for tokens of mean entropy (H^ = 1), where no map is at hand."""
    def share(scale: int, layer: int) -> float:
        tendency = (scale / last) * scores[layer]
        gap = settings.alpha_max - settings.alpha_min
        return 1 - min(max(settings.alpha_min + gap * tendency, 0.0), 1.0)
    return share


def effective_scores(settings: ToProVarSettings, scores: Sequence[float],
                     classes: Sequence[str]) -> tuple[float, ...]:
    """R of each layer as used: an ambiguous layer counts as Global (0)."""
    if settings.dimensions == "scale+token":
        return (1.0,) * len(scores)
    return tuple(0.0 if kind == "ambiguous" else float(score)
                 for score, kind in zip(scores, classes, strict=True))


def build_plan(
    settings: ToProVarSettings, shape: TransformerConfig, schedule: ScaleSchedule,
    start: int | None, share: KeepShare, *, guide: tuple[int, ...] = (),
    fingerprint: str | None = None, parameters: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None, notes: Sequence[str] = (),
) -> SparsityPlan:
    """The plan that prunes from scale ``start`` on (None: not at all) to the shares given.

    Args:
        settings: with nothing left open (``settled``).
        guide: layers whose maps choose the tokens that exit; empty = all.
    """
    scales = tuple(
        _scale(settings, shape.depth, s, grid, start, share, len(schedule), guide)
        for s, grid in enumerate(schedule.grids)
    )
    return SparsityPlan(
        strategy="toprovar",
        parameters=settings.model_dump(mode="json") | {"used_start_scale": start}
        | (parameters or {}),
        model=ModelTag.of(shape, fingerprint), schedule=schedule_name(schedule), scales=scales,
        seed=settings.seed, provenance=provenance or {}, notes=tuple(notes),
    )


def _scale(settings: ToProVarSettings, depth: int, s: int, grid: tuple[int, int],
           start: int | None, share: KeepShare, count: int, guide: tuple[int, ...]) -> ScalePlan:
    tokens = grid[0] * grid[1]
    unconditional = s < count - (settings.unconditional_off or 0)
    if start is None or s < start:
        return ScalePlan(grid=grid, keep=(tokens,) * depth, unconditional=unconditional)
    keep = tuple(
        _rounded(share(s, layer) * tokens, tokens, settings.tile) for layer in range(depth)
    )
    leaves = settings.dropped == "exit"
    if settings.exits or (leaves and (s > start or not min(keep))):
        return ScalePlan(grid=grid, keep=(tokens,) * depth, run=False)
    region = least = 0
    smallest = min((n for n in keep if 0 < n < tokens), default=0)
    if settings.region and settings.min_share and smallest:
        region = min(settings.region, *grid)
        even = smallest / tokens * region * region * settings.min_share
        least = min(int(even), feasible_minimum(grid, smallest, region))
        region = region if least else 0
    return ScalePlan(
        grid=grid, keep=keep, unconditional=unconditional,
        rule="random" if settings.dimensions == "scale+layer" else settings.rule or "entropy",
        dropped=settings.dropped or "identity", guide=guide if leaves else (),
        resize=settings.resize, region=region, min_per_region=least,
    )


def _rounded(count: float, tokens: int, tile: int) -> int:
    """Rounded up to the tile, all where that is as many; 0 stays 0."""
    tiles = math.ceil(round(count, 6) / tile)
    return min(tiles * tile, tokens)


def with_strength(settings: ToProVarSettings, strength: float) -> ToProVarSettings:
    """Settings between pruning nothing (0) and nearly everything (1).

    Up to 0.5 Detail layers give way (alpha_max rises to MOST), then Global layers as well
    (alpha_min rises to MOST). Of tokens that exit it is simply the share.
    """
    if settings.dropped == "exit":
        return settings.model_copy(update={"alpha_min": strength, "alpha_max": strength})
    return settings.model_copy(update={
        "alpha_max": MOST * min(1.0, 2 * strength), "alpha_min": MOST * max(0.0, 2 * strength - 1),
    })
