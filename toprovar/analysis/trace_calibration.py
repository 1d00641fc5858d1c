"""A calibration from a trace alone, for plans that are to suit its prompts."""

from __future__ import annotations

from ..entropy.calibration import Calibration, find_calibration
from ..entropy.schedule_entry import ScheduleEntry
from ..entropy.statistics import start_scale
from ..entropy.summary import Summary, rho_table
from ..entropy.trace import EntropyTrace
from ..schedules import find_schedule
from ..sparsity.strategies.toprovar.in_run import PAPER_TAU

LONGEST_NAME = 200
"""Characters of the prompts that the calibration is named after."""


def trace_calibration(trace: EntropyTrace, summary: Summary) -> Calibration:
    """Layer scores of the trace's prompts, as the calibration of its model and its size.

    What a trace cannot tell is the model's own calibration's, where there is one: the start scale,
    tau, what dropped tokens get, and how many scales can do without guidance. Without one, pruning
    starts where rho first reaches the published threshold.

    Raises:
        ValueError: the trace's size is not a listed one.
    """
    about = trace.about
    schedule = find_schedule(about.grids)
    known = find_calibration(about.model, pn=schedule.pn)
    own = known.entry(schedule)[0] if known else None
    if own is not None:
        start, reason = own.start_scale, own.start_reason
    else:
        start = start_scale(rho_table(trace).nanmean(0).tolist(), PAPER_TAU, "rising", first=1)
        reason = f"the first scale whose rho reaches {PAPER_TAU}"
    fit = summary.fit
    entry = ScheduleEntry(
        pn=schedule.pn, template=schedule.template, scales=tuple(summary.scales.values()),
        start_scale=start, start_reason=reason,
        unconditional_off=own.unconditional_off if own else 0,
        representative_scale=summary.representative,
        **{name: getattr(fit, name) for name in fit.__dataclass_fields__},
    )
    return Calibration(
        model=about.model, name="trace of " + ", ".join(about.prompts)[:LONGEST_NAME],
        depth=about.depth, entries={schedule.pn: entry},
        tau=known.tau if known else PAPER_TAU, crossing=known.crossing if known else "rising",
        dropped=known.dropped if known else "identity",
        rho_informative=summary.rho.informative, prompts=trace.images,
    )
