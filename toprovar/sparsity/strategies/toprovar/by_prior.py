"""ToProVAR for a model without a calibration: the family's prior, as one plan for all prompts.

How many scales are guided and run, and how many of the last scale's tokens stay, is fixed before
the run; which tokens stay, their entropies decide inside it.
"""

from __future__ import annotations

from ....models.config import TransformerConfig
from ....schedules import ScaleSchedule
from ...cost import Target
from ...plan import SparsityPlan
from ...prior import family_prior
from .frontier import PartialScale, frontier_plan, plan_of, worth_lost
from .settings import ToProVarSettings, settled


def serves(settings: ToProVarSettings) -> bool:
    """Whether settings leave to the prior what it says."""
    return settings.dropped in (None, "exit") and settings.scales_open


def prior_plan(settings: ToProVarSettings, shape: TransformerConfig, schedule: ScaleSchedule,
               target: Target | None = None, guided: bool = True,
               notes: tuple[str, ...] = ()) -> SparsityPlan:
    """The plan that the prior has for a schedule.

    Args:
        settings: such that the prior ``serves`` them; ``unconditional_off`` is kept if given.
        target: what the run is to come down to; None = what the prior does by default.
        notes: why the prior plans; none = the model has no calibration.
    """
    prior, count = family_prior(), len(schedule)
    about = {
        "guide": () if settings.dimensions == "scale+token" else prior.guiding(shape.depth),
        "provenance": {"prior": prior.name, "measured_on": list(prior.models)},
    }
    better = "the prior was measured on models that draw from text, on none that edits pictures" \
        if shape.edits else "'toprovar calibrate' measures what this model can leave out"
    notes = notes or (
        f"this model has no calibration: planned by the prior for {prior.name}; {better}",)
    choices, (whole, strength) = prior.choices(count), prior.default(count)
    off, settings = settings.unconditional_off, settled(settings, None, None)
    if off is not None:
        guided_scales = max(count - off, 1)
        whole = whole.model_copy(update={"guided": guided_scales})
        # A scale that is not run has no guidance to lose.
        choices = tuple(c.model_copy(update={"guided": guided_scales}) for c in choices
                        if count - c.guided == max(off, len(c.skipped))) or (whole,)
    if target is None:
        below = next((c for c in choices if c.guided == whole.guided and len(c.skipped) == 1),
                     whole)
        return plan_of(
            settings, shape, schedule, whole,
            whole.likeness - worth_lost(strength, whole.likeness - below.likeness, 0.0),
            PartialScale(count - 1, strength), notes=notes, **about)
    plan = frontier_plan(settings, shape, schedule, choices, target, guided, notes=notes, **about)
    if plan is not None:
        return plan
    plans = [plan_of(settings, shape, schedule, c, c.likeness, notes=notes, **about)
             for c in choices]
    least = min(plans, key=lambda plan: target.cost(plan, shape, guided))
    far = (f"the target of {target.share:.2f} is out of reach: this plan comes to "
           f"{target.cost(least, shape, guided):.2f}")
    return least.model_copy(update={"notes": (*least.notes, far)})
