"""ToProVAR planned before the run, from a calibration of the model: one plan for all prompts."""

from __future__ import annotations

from ...entropy.calibration import Calibration, ScheduleEntry
from ...entropy.statistics import classify, layer_score
from ...models.config import TransformerConfig
from ...schedules import ScaleSchedule
from ..cost import Target
from ..plan import SparsityPlan
from ..solve import solve_from
from .toprovar import ToProVarSettings, build_plan, effective_scores, plain_share, with_strength


def toprovar_plan(
    shape: TransformerConfig, schedule: ScaleSchedule, settings: ToProVarSettings,
    calibration: Calibration | None = None, target: Target | None = None, guided: bool = True,
) -> SparsityPlan:
    """Plan every run of a model alike.

    Args:
        calibration: of the model; without one, ``settings.start_scale`` must be given and all
            layers count as Detail.
        target: solve alpha for this cost; if alpha alone does not reach it, pruning starts
            earlier, as far as need be.

    Raises:
        ValueError: neither a calibration nor a start scale.
    """
    depth, last = shape.depth, len(schedule) - 1
    notes: list[str] = []
    if calibration is None:
        if settings.start_scale is None:
            raise ValueError(
                "a ToProVAR plan made before the run needs a calibration of the model (make one "
                "with 'toprovar analyze --calibrate FILE'), or a start_scale"
            )
        start, scores, fingerprint = settings.start_scale, (1.0,) * depth, None
        notes.append("no calibration: all layers are treated as Detail layers")
        provenance = {}
    else:
        entry, fit = calibration.entry(schedule)
        notes += fit
        start = settings.start_scale or entry.start_scale
        scores = effective_scores(settings, *_scores(settings, entry))
        fingerprint = calibration.model
        provenance = {"calibration": calibration.name or calibration.model,
                      "start": "given" if settings.start_scale else entry.start_reason}
    if start is None and target is None:
        notes.append("nothing is pruned: calibration found no scale from which pruning is safe")
    if start is not None and start > last:
        raise ValueError(f"start_scale is {start}, but the schedule's last scale is {last}")

    def build(own: ToProVarSettings, first: int | None) -> SparsityPlan:
        return build_plan(
            own, shape, schedule, first, plain_share(own, scores, last), fingerprint=fingerprint,
            parameters={"layer_scores": [round(r, 4) for r in scores]}, provenance=provenance,
            notes=notes,
        )

    if target is None or settings.exits:
        return build(settings, start)
    wanted = last if start is None else start
    plan, first, reached = solve_from(
        range(wanted, 0, -1), lambda s, u: build(with_strength(settings, u), s),
        lambda p: target.cost(p, shape, guided), target.share,
    )
    extra: tuple[str, ...] = ()
    if first != start:
        extra += (f"the target needs pruning from scale {first} on; calibration found it safe "
                  + (f"from scale {start} on" if start is not None else "at no scale"),)
    if not reached:
        extra += (f"the target of {target.share:.2f} is out of reach: this plan comes to "
                  f"{target.cost(plan, shape, guided):.2f}",)
    return plan.model_copy(update={"notes": plan.notes + extra})


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
