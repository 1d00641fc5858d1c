"""A picture of what a calibration has found: likeness against time, and the plans that budgets
take."""

from __future__ import annotations

from typing import Any

from PIL import Image

from ..entropy.calibration import Calibration
from ..entropy.schedule_entry import Choice, ScheduleEntry
from ..figures.plot import Plot
from ..figures.sheet import BLUE, ORANGE, RED, SOFT, Sheet
from ..models.config import TransformerConfig
from ..printable import printable
from ..schedules import get_schedule
from ..sparsity.cost import Target, count
from ..sparsity.strategies.toprovar.before import toprovar_plan
from ..sparsity.strategies.toprovar.settings import ToProVarSettings
from .choices import State, cost_of

BUDGETS = (0.5, 0.33, 0.25, 0.15)
"""Shares of the dense work whose plans are shown."""
LEAST_LIKENESS = 0.5
"""Choices below are not shown: they are no plans that anybody wants."""


def calibration_figure(calibration: Calibration, shape: TransformerConfig, pn: str | None = None
                       ) -> Image.Image:
    """Every choice by its share of the dense run's time (of its work, where no time was measured)
    and its likeness to the dense picture, with the intervals that are known; and what plans for
    some budgets come to.

    Args:
        pn: which entry; None = the one with the most scales.
    """
    entry = calibration.entries[pn] if pn else calibration.main
    timed = any(c.time for c in entry.choices)
    shown = [(_place(shape, entry, c, timed), c) for c in entry.choices
             if c.likeness >= LEAST_LIKENESS]
    sheet = Sheet(680, 470)
    sheet.text(20, 16, "What leaving work out costs", size=14, bold=True)
    measured = max((c.pictures or 0 for c in entry.choices), default=0)
    pictures = f", {measured} picture{'s' * (measured > 1)} a choice" if measured else ""
    sheet.text(20, 36, f"{printable(calibration.name or calibration.model)}, {entry.pn}{pictures}",
               colour=SOFT)
    plot = Plot(sheet, (74, 92, 580, 310), (0.0, 1.05), (LEAST_LIKENESS, 1.01))
    plot.axes([(n / 5, f"{20 * n} %") for n in range(6)], [(n / 10, f"{n / 10:g}")
                                                         for n in range(5, 11)],
              "share of the dense run's time" if timed else "share of the dense run's work",
              "likeness to the dense picture")
    if not shown:
        sheet.text(327, 190, "Nothing was measured yet.", size=14, anchor="mm")
        sheet.text(327, 214, "Go on with more minutes: what was done is kept.", colour=SOFT,
                   anchor="mm")
    entries = []
    for marker, colour, name, own in (
        ("disc", BLUE, "fewer scales, less guidance", [x for x in shown if not x[1].shortcuts]),
        ("square", ORANGE, "with shortcuts", [x for x in shown if x[1].shortcuts]),
    ):
        for x, choice in own:
            plot.point(x, choice.likeness, marker, colour, choice.half_width or 0.0)
        if own:
            entries.append((marker, colour, name))
    if _mark_budgets(plot, calibration, shape, entry, timed):
        entries.append(("cross", RED, "plans for a budget of work"))
    plot.legend(entries)
    return sheet.finish()


def found_in_words(calibration: Calibration, shape: TransformerConfig) -> str:
    """The same in a few lines: what plans for budgets keep, and what entropy is worth."""
    lines = [f"dropped tokens: {calibration.dropped}"]
    for pn, entry in calibration.entries.items():
        for budget in BUDGETS:
            plan = _plan(calibration, shape, entry, budget)
            expected = plan.parameters.get("expected_likeness")
            if expected is not None:
                lines.append(f"{pn}: at {budget:.0%} of the work likeness {expected:.3f}")
        worth = entry.selection
        if worth is not None:
            spread = f" ± {worth.half_width:.4f}" if worth.half_width is not None else ""
            said = {True: "pays" if worth.rule == "entropy" else "does not pay: random is used",
                    False: "not decided yet: entropy is used"}[worth.decided]
            lines.append(f"{pn}: choosing tokens by entropy against chance: {worth.gain:+.4f}"
                         f"{spread} of likeness ({said})")
    return "\n".join(lines)


def _place(shape: TransformerConfig, entry: ScheduleEntry, choice: Choice, timed: bool) -> float:
    if timed and choice.time:
        return choice.time
    if timed and choice.likeness == 1.0 and not choice.skipped and not choice.shortcuts:
        return 1.0
    return cost_of(shape, get_schedule(entry.template, entry.pn), State.of(choice))


def _time_at(shape: TransformerConfig, entry: ScheduleEntry, work: float) -> float:
    """Share of the dense time that a share of the work takes, by the choices around it."""
    schedule = get_schedule(entry.template, entry.pn)
    known = sorted({(cost_of(shape, schedule, State.of(c)), c.time) for c in entry.choices
                    if c.time is not None} | {(1.0, 1.0)})
    before = max((x for x in known if x[0] <= work), default=(0.0, 0.0))
    after = min((x for x in known if x[0] >= work), default=(1.0, 1.0))
    between = (work - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    return before[1] + between * (after[1] - before[1])


def _plan(calibration: Calibration, shape: TransformerConfig, entry: ScheduleEntry, budget: float
          ) -> Any:
    schedule = get_schedule(entry.template, entry.pn)
    return toprovar_plan(shape, schedule, ToProVarSettings(), calibration, Target(budget))


def _mark_budgets(plot: Plot, calibration: Calibration, shape: TransformerConfig,
                  entry: ScheduleEntry, timed: bool) -> bool:
    """Whether there was one to mark."""
    marked = False
    for budget in BUDGETS if entry.choices else ():
        plan = _plan(calibration, shape, entry, budget)
        expected = plan.parameters.get("expected_likeness")
        if expected is None or expected < LEAST_LIKENESS:
            continue
        at = count(plan, shape).flop_share
        if timed:
            at = _time_at(shape, entry, at)
        plot.point(at, expected, "cross", RED)
        x, y = plot.at(at, expected)
        plot.sheet.text(x, y - 7, f"{budget:.0%}", size=9.5, colour=RED, anchor="ms", bold=True)
        marked = True
    return marked
