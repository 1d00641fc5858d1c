"""ToProVAR planned before the run, from a calibration of the model or the family's prior: one plan
for all prompts."""

from __future__ import annotations

from ....entropy.calibration import Calibration
from ....entropy.schedule_entry import ScheduleEntry, SelectionWorth
from ....entropy.statistics import classify, layer_score
from ....models.config import TransformerConfig
from ....schedules import ScaleSchedule
from ...cost import Target
from ...plan import SparsityPlan
from ...solve import solve_from
from .by_prior import prior_plan, serves
from .frontier import frontier_plan, safe_plan
from .settings import (
    ToProVarSettings,
    build_plan,
    by_choices,
    effective_scores,
    plain_share,
    settled,
    with_strength,
)


def toprovar_plan(
    shape: TransformerConfig, schedule: ScaleSchedule, settings: ToProVarSettings,
    calibration: Calibration | None = None, target: Target | None = None, guided: bool = True,
) -> SparsityPlan:
    """Plan every run of a model alike.

    Args:
        calibration: of the model; without one, the prior decides (``by_prior``), or
            ``settings.start_scale`` must be given and all layers count as Detail.
        target: solve alpha for this cost; if alpha alone does not reach it, pruning starts
            earlier, as far as need be. Where tokens exit: the best of the calibration's choices
            (``frontier``); without any, late scales lose their guidance first, then tokens
            leave from the last scale on backwards. None = the cheapest of these choices that keeps
            the calibration's SSIM; without any, pruning from the start scale on.

    Raises:
        ValueError: neither a calibration nor a start scale.
    """
    depth, last = shape.depth, len(schedule) - 1
    notes: list[str] = []
    given, entry = settings, None
    if calibration is None:
        if serves(settings):
            return prior_plan(settings, shape, schedule, target, guided)
        settings = settled(settings, None, None)
        if settings.start_scale is None and (target is None or settings.dropped != "exit"):
            raise ValueError(
                "a ToProVAR plan made before the run with these settings needs a calibration of "
                "the model (make one with 'toprovar calibrate'), or a start_scale"
            )
        start, scores, fingerprint = settings.start_scale, (1.0,) * depth, None
        guide: tuple[int, ...] = ()
        notes.append("no calibration: all layers are treated as Detail layers")
        provenance = {}
    else:
        entry, fit = calibration.entry(schedule)
        settings = settled(settings, calibration, entry)
        notes += fit
        start = settings.start_scale or entry.start_scale
        plain, classes = _scores(settings, entry)
        scores, guide = effective_scores(settings, plain, classes), ()
        if settings.dimensions != "scale+token":
            guide = tuple(i for i, kind in enumerate(classes) if kind == "detail")
        fingerprint = calibration.model
        provenance = {"calibration": calibration.name or calibration.model,
                      "start": "given" if settings.start_scale else entry.start_reason}
    exit_mode = settings.dropped == "exit" and not settings.exits
    if exit_mode:
        scores = (1.0,) * depth  # a token that exits does so in all layers
        if settings.alpha_max == 0:
            start = None
    if calibration and entry and by_choices(given, calibration):
        if calibration.cut_short(schedule.pn) and serves(given):
            return prior_plan(given, shape, schedule, target, guided, (
                f"the calibration ended before anything was measured at {schedule.pn}: planned by "
                "the prior; the same 'toprovar calibrate' goes on where it stopped",))
        about = {"guide": guide, "fingerprint": fingerprint, "provenance": provenance,
                 "notes": notes, "shortcuts": calibration.shortcuts}
        plan = safe_plan(
            settings, shape, schedule, entry.choices, calibration.target_ssim, guided, **about,
        ) if target is None else frontier_plan(
            settings, shape, schedule, entry.choices, target, guided,
            mixing_gain=entry.mixing_gain, **about)
        if plan is not None:
            by_itself = given.rule is None and given.dimensions != "scale+layer"
            return _with_reason(plan, entry.selection) if by_itself else plan
        settings = settings.model_copy(update={"rule": given.rule or "entropy"})
    if start is None and target is None:
        notes.append("nothing is pruned: " + (
            "alpha_max is 0" if settings.alpha_max == 0
            else "calibration found no scale from which pruning is safe"))
    if start is not None and start > last:
        raise ValueError(f"start_scale is {start}, but the schedule's last scale is {last}")

    def build(own: ToProVarSettings, first: int | None) -> SparsityPlan:
        return build_plan(
            own, shape, schedule, first, plain_share(own, scores, last), guide=guide,
            fingerprint=fingerprint, parameters={"layer_scores": [round(r, 4) for r in scores]},
            provenance=provenance, notes=notes,
        )

    def cost(plan: SparsityPlan) -> float:
        return target.cost(plan, shape, guided) if target else 0.0

    if target is None or settings.exits:
        return build(settings, start)
    wanted = last if start is None else start
    if exit_mode:
        wanted = last
        free = given.unconditional_off is None
        for off in range(settings.unconditional_off or 0) if free else ():
            plan = build(settings.model_copy(update={"unconditional_off": off}), None)
            if cost(plan) <= target.share:
                return plan
    plan, first, reached = solve_from(
        range(wanted, 0, -1), lambda s, u: build(with_strength(settings, u), s), cost,
        target.share,
    )
    extra: tuple[str, ...] = ()
    safe = last + 1 if start is None else start
    if first < safe and (start is not None or calibration is not None):
        extra += (f"the target needs pruning from scale {first} on; calibration found it safe "
                  + (f"from scale {start} on" if start is not None else "at no scale"),)
    if not reached:
        extra += (f"the target of {target.share:.2f} is out of reach: this plan comes to "
                  f"{cost(plan):.2f}",)
    return plan.model_copy(update={"notes": plan.notes + extra})


def _with_reason(plan: SparsityPlan, worth: SelectionWorth | None) -> SparsityPlan:
    """A plan with a note where the calibration has its tokens chosen at random."""
    if worth is None or worth.used != "random" or not any(
            step.rule == "random" and any(map(step.partial, range(plan.model.depth)))
            for step in plan.scales):
        return plan
    gain = f"{round(worth.gain, 4) + 0.0:.4f}"  # never -0.0000
    if worth.half_width is not None:
        gain += f" ± {worth.half_width:.4f}"
    pictures = "1 picture" if worth.pictures == 1 else f"{worth.pictures} pictures"
    note = ("tokens are chosen at random: on this model and size that is as good as by entropy "
            f"(gain {gain} of likeness on {pictures}), and costs nothing")
    return plan.model_copy(update={"notes": (*plan.notes, note)})


def _scores(settings: ToProVarSettings, entry: ScheduleEntry
            ) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Layer scores and classes, those of another beta if one is given."""
    if settings.beta is None:
        return entry.layer_scores, entry.layer_classes
    scores = tuple(
        float(layer_score(r.mean, settings.beta, entry.ratio_scale, entry.ratio_reference))
        for r in entry.principal_ratios
    )
    return scores, classify(scores, entry.class_low, entry.class_high)
