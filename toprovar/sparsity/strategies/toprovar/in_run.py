"""ToProVAR planned inside the run, from the prompt's own entropies: no second pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....entropy.calibration import Calibration
from ....entropy.schedule_entry import ScheduleEntry
from ....entropy.statistics import (
    Crossing,
    classify,
    layer_score,
    low_entropy_ratio,
    normalised_entropy,
    principal_ratio,
    start_scale,
)
from ...cost import CostModel, Target, predict
from ...plan import SparsityPlan, dense_plan
from ...planner import PlanState, RunContext
from ...solve import solve_from
from .before import toprovar_plan
from .ladder import Profile, Rung, coarse, nearest, nearest_profile, profiles
from .settings import (
    KeepShare,
    ToProVarSettings,
    build_plan,
    effective_scores,
    plain_share,
    settled,
    with_strength,
)

PAPER_TAU, PAPER_REPRESENTATIVE = 0.4, 6
LOWEST_SCORE = 0.05
"""Score of the most Global layer where no calibration gives beta."""


@dataclass(frozen=True)
class ToProVar:
    """Plans each image by itself, on its early scales.

    Attributes:
        calibration: of the model, None = the paper's figures.
        target: what the whole run is to come down to.
        cost_model: for the report.
    """

    settings: ToProVarSettings = field(default_factory=ToProVarSettings)
    calibration: Calibration | None = None
    target: Target | None = None
    cost_model: CostModel | None = None
    name: str = "toprovar"
    _made: dict[Any, SparsityPlan] = field(default_factory=dict, compare=False, repr=False)
    _rungs: dict[Any, list[Rung]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def adaptive(self) -> bool:
        """Whether images need plans of their own. Where tokens exit they do not: how many is known
        beforehand, and which is always decided inside the run."""
        return settled(self.settings, self.calibration, None).dropped != "exit"

    def start(self, context: RunContext) -> PlanState:
        if self.adaptive:
            return ToProVarState(self, context)
        settings = self.settings
        key = context.shape, context.schedule, context.guided
        if key not in self._made:  # pictures alike share a plan: to solve for one takes a while
            plan = toprovar_plan(context.shape, context.schedule, settings, self.calibration,
                                 self.target, context.guided)
            self._made[key] = predict(plan, context.shape, self.cost_model, context.guided)
        return PlanState(self._made[key])

    def rungs(self, key: Hashable, make: Callable[[], list[Rung]]) -> list[Rung]:
        """What ``make`` gives, made once for each ``key``: pictures alike share their rungs."""
        if key not in self._rungs:
            self._rungs[key] = make()
        return self._rungs[key]


class ToProVarState(PlanState):
    """One image: looks at every scale until the scale dimension is decided.

    The representative scale must have run before anything is planned; after it, pruning begins
    behind the first scale whose rho crosses tau, or at the calibrated start scale where rho is
    known to say nothing.
    """

    def __init__(self, planner: ToProVar, context: RunContext) -> None:
        super().__init__(dense_plan(context.shape, context.schedule, "toprovar"))
        self.planner, self.context = planner, context
        self.recurs = planner.settings.ladder
        self.settings = settled(planner.settings, planner.calibration, None)
        #: [layers, h, w] of each scale that was looked at, on the CPU: copied in one go
        self.maps: dict[int, Tensor] = {}
        self._rhos: dict[int, float] = {}
        self._latest: dict[int, Tensor] = {}
        self.decided = False
        settings, calibration = self.settings, planner.calibration
        self.last = len(context.schedule) - 1
        self.entry: ScheduleEntry | None = None
        self.notes: list[str] = []
        if calibration is not None:
            self.entry, fit = calibration.entry(context.schedule)
            self.notes += fit
        else:
            self.notes.append("no calibration of this model: the paper's tau, and scores spread "
                              "over the layers' own range")
        representative = settings.representative_scale or (
            self.entry.representative_scale if self.entry
            else round(PAPER_REPRESENTATIVE * (self.last + 1) / 13)
        )
        self.representative = min(max(representative, 1), self.last)
        self.tau = settings.tau if settings.tau is not None else (
            calibration.tau if calibration else PAPER_TAU)
        self.crossing: Crossing = settings.crossing or (
            calibration.crossing if calibration else "rising")
        #: D where it is known beforehand; else rho decides.
        self.fixed_start = settings.start_scale
        if self.fixed_start is None and self.entry and calibration \
                and not calibration.rho_informative:
            self.fixed_start = self.entry.start_scale
            self.decided = self.fixed_start is None and planner.target is None
            reason = self.entry.start_reason or "rho tells scales apart too little"
            self.notes.append(f"start scale by calibration: {reason}")
            if self.decided:
                self.plan = self.plan.model_copy(update={"notes": tuple(self.notes)})

    def horizon(self, scale: int) -> int:
        return self.last if self.decided else max(scale, min(self._earliest, self.last))

    @property
    def _earliest(self) -> int:
        """The first scale after which a decision can fall."""
        if self.fixed_start is not None and self.planner.target is None:
            return max(self.representative, self.fixed_start - 1)
        return self.representative

    def wants(self, scale: int, layer: int) -> bool:
        if self.decided or scale == 0:
            return False
        if self.fixed_start is not None:
            return scale in (self.representative, self._earliest)
        return True

    def stores(self, scale: int, layer: int) -> bool:
        cached = self.settings.dropped == "cached" and not self.settings.exits
        return cached and not self.decided and scale >= self._earliest

    def entropy(self, scale: int, layer: int, grid: tuple[int, int], entropy: Tensor) -> None:
        self._latest[layer] = entropy[0].unflatten(0, grid)

    def after(self, scale: int, codes: Tensor) -> None:
        if self._latest:
            layers = sorted(self._latest)
            self.maps[scale] = torch.stack([self._latest[n] for n in layers]).cpu()
            self._latest.clear()
        if self.decided or scale < self._earliest:
            return
        start = self.fixed_start
        if start is None and self._crossed(scale):
            start = scale + 1
        if start is None and self.planner.target is None:
            if scale < self.last - 1:
                return
            self.notes.append(f"nothing is pruned: rho never crossed {self.tau:g} "
                              f"({self.crossing}) in time")
            self.plan = self.plan.model_copy(update={"notes": tuple(self.notes)})
        elif scale < self.last:
            self.plan = self._planned(scale, max(start or self.last, scale + 1))
        self.decided = True
        self.maps.clear()

    def _crossed(self, scale: int) -> bool:
        """Whether rho, averaged over layers, has crossed tau by now."""
        for known, maps in self.maps.items():
            if known not in self._rhos:
                self._rhos[known] = float(low_entropy_ratio(maps).nanmean())
        rhos = [math.nan] + [self._rhos[s] for s in range(1, scale + 1) if s in self._rhos]
        return start_scale(rhos, self.tau, self.crossing, first=1) is not None

    def _planned(self, scale: int, start: int) -> SparsityPlan:
        """The plan from scale ``start`` on (or earlier, for a target), made after ``scale``."""
        settings, target = self.settings, self.planner.target
        scores = self._scores()
        solving = target is not None and not settings.exits
        if settings.exits:
            plan = self._build(settings, start, lambda s, layer: 1.0)
        elif not settings.ladder:
            share = self._own_share(scale, scores)
            plan = self._solved(scale, start, share) if solving else self._build(
                settings, start, share(settings))
        else:
            rungs = self.planner.rungs(
                (self.context.shape, self.context.schedule, self.context.guided, scale, start),
                lambda: self._ladder(scale, start, solving))
            plan = (nearest_profile(rungs, scores) if solving else nearest(
                rungs, self._asked(start, self._own_share(scale, scores)(settings)))).plan
        if plan.predicted is None:
            plan = predict(plan, self.context.shape, self.planner.cost_model,
                           self.context.guided)
        return plan.model_copy(update={
            "parameters": plan.parameters | {"prompt_scores": [round(r, 4) for r in scores]},
            "provenance": {"planned_after_scale": scale}, "notes": (*self.notes, *plan.notes)})

    def _asked(self, start: int, share: KeepShare) -> NDArray[np.float64]:
        """[S, L] tokens that this prompt's own figures would keep."""
        tokens = self.context.schedule.tokens
        return np.array([[n if s < start else n * share(s, layer)
                          for layer in range(self.context.shape.depth)]
                         for s, n in enumerate(tokens)])

    def _ladder(self, scale: int, start: int, solving: bool) -> list[Rung]:
        found = []
        for profile in profiles(self.context.shape.depth, self.settings, self.entry,
                                solving):
            def share(own: ToProVarSettings, profile: Profile = profile) -> KeepShare:
                return coarse(plain_share(own, profile, self.last))

            plan = self._solved(scale, start, share) if solving else predict(
                self._build(self.settings, start, share(self.settings)), self.context.shape,
                self.planner.cost_model, self.context.guided)
            found.append(Rung.of(profile, plan.model_copy(update={
                "parameters": plan.parameters | {"layer_scores": list(profile)}})))
        return found

    def _solved(self, scale: int, start: int, share: Callable[[ToProVarSettings], KeepShare]
                ) -> SparsityPlan:
        """The mildest plan that meets the target."""
        target, shape, guided = self.planner.target, self.context.shape, self.context.guided
        assert target is not None
        plan, _, reached = solve_from(
            range(start, scale, -1),
            lambda s, u: self._build(with_strength(self.settings, u), s,
                                     share(with_strength(self.settings, u))),
            lambda p: target.cost(p, shape, guided), target.share,
        )
        if not reached:
            note = (f"the target of {target.share:.2f} is out of reach: this plan, made after "
                    f"scale {scale}, comes to {target.cost(plan, shape, guided):.2f}")
            plan = plan.model_copy(update={"notes": (*plan.notes, note)})
        return predict(plan, shape, self.planner.cost_model, guided)

    def _build(self, settings: ToProVarSettings, start: int, share: KeepShare) -> SparsityPlan:
        return build_plan(settings, self.context.shape, self.context.schedule, start, share,
                          fingerprint=self.context.fingerprint)

    def _own_share(self, scale: int, scores: Sequence[float]
                   ) -> Callable[[ToProVarSettings], KeepShare]:
        """Settings -> shares by this prompt's scores and the entropies of ``scale``."""
        latest = normalised_entropy(
            self.maps[scale], self.settings.normalization).flatten(1).numpy()

        def of(own: ToProVarSettings) -> KeepShare:
            gap = own.alpha_max - own.alpha_min

            def share(s: int, layer: int) -> float:
                # Mean of P_keep (statistics.keep_probability) over the latest map.
                drop = own.alpha_min + gap * (s / self.last) * scores[layer] * latest[layer]
                return 1 - float(np.clip(drop, 0, 1).mean())

            return share

        return of

    def _scores(self) -> tuple[float, ...]:
        """R of each layer from this prompt's maps at the representative scale."""
        settings, depth = self.settings, self.context.shape.depth
        ratios = principal_ratio(self.maps[self.representative])
        if self.entry is not None:
            beta = self.entry.beta if settings.beta is None else settings.beta
            scores = layer_score(ratios, beta, self.entry.ratio_scale, self.entry.ratio_reference)
            low, high = self.entry.class_low, self.entry.class_high
            return effective_scores(settings, scores.tolist(),
                                    classify(scores.tolist(), low, high))
        finite = ratios[ratios.isfinite()]
        reference = float(finite.min()) if len(finite) else 1.0
        span = math.log(float(finite.max()) / reference) if len(finite) else 0.0
        beta = settings.beta
        if beta is None:
            beta = -math.log(LOWEST_SCORE) / span if span > 0 else 0.0
        scores = layer_score(ratios, beta, "log", reference).tolist()
        return effective_scores(settings, scores, ["detail"] * depth)
