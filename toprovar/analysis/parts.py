"""The measurements of one schedule that a calibration is made of, beside the race of choices.

Each goes on from what is known, picture by picture, for as long as ``more`` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..entropy.statistics import RatioScale, order_stability, rho_informative
from ..entropy.summary import (
    fit_layers,
    ratio_table,
    representative_scale,
    rho_table,
    scale_statistics,
)
from ..entropy.trace import EntropyTrace, TraceRecorder
from ..sampling.branches import step_keys
from ..sparsity.plan import Rule, SparsityPlan, Way
from .choices import State
from .conclusions import choices_of, layers_json
from .drawing import Drawing
from .findings import Layers, ScheduleFindings, Tried, key_of, state_of
from .measure import FEWEST_TOKENS
from .probes import (
    WAYS,
    detail_layers,
    may_start,
    probe_plan,
    sparing_pair,
    sparing_plan,
    unguided_scales,
)
from .race import Race

RULES: tuple[Rule, Rule] = ("entropy", "random")
"""That are compared."""
SPARED = 0.5
"""Share of the last scale's tokens that is worked on meanwhile."""

More = Callable[[int], bool]
"""Whether a picture of this number is to be drawn; asked before each, which takes a while."""


def look(drawing: Drawing, found: ScheduleFindings, most: int, more: More,
         ratio_scale: RatioScale) -> None:
    """Entropies and unfinished pictures of up to ``most`` pictures. Maps are not kept, so that all
    are drawn again where more are wanted than were looked at; fewer than then change nothing."""
    if found.looked_at >= most:
        return
    traces: list[EntropyTrace] = []
    exits: list[list[float | None]] = []
    for number in range(most):
        if number and not more(number):
            break
        trace, unfinished = drawing.look(number, TraceRecorder())
        traces.append(trace)
        exits.append(unfinished)
    if len(traces) > found.looked_at:
        _conclude_trace(found, EntropyTrace.join(traces), ratio_scale)
        found.exit_ssim = exits


def try_ways(drawing: Drawing, found: ScheduleFindings, keep: float, more: More) -> None:
    """Ways to drop tokens, and scales without guidance, on the pictures that were looked at.

    Args:
        keep: share of tokens that the last scale works on.
    """
    shape, schedule = drawing.pipeline.transformer.shape, drawing.schedule
    last = len(schedule) - 1
    plans = [probe_plan(shape, schedule, last, keep, way) for way in WAYS]
    plans += [probe_plan(shape, schedule, last + 1, keep, "identity", off)
              for off in range(1, unguided_scales(schedule) + 1)]
    for number in range(len(found.unguided), max(found.looked_at, 1)):
        if number and not more(number):
            break
        values = [value for _, value in drawing.compared(plans, number)]
        for way, value in zip(WAYS, values, strict=False):
            found.ways.setdefault(way, []).append(value)
        found.unguided.append(values[len(WAYS) :])


def try_starts(drawing: Drawing, found: ScheduleFindings, way: Way, keep: float, off: int,
               most: int, more: More) -> None:
    """Pruning from each scale on, on up to ``most`` pictures.

    Args:
        way, off: what dropped tokens get, and scales at the end without guidance, as plans of this
            model will have them.
    """
    shape, schedule = drawing.pipeline.transformer.shape, drawing.schedule
    starts = may_start(schedule, FEWEST_TOKENS)
    plans = [probe_plan(shape, schedule, s, keep, way, off, _guide(found)) for s in starts]
    for number in range(min(map(len, found.pruned.values()), default=0), most):
        if number and not more(number):
            break
        for s, (_, value) in zip(starts, drawing.compared(plans, number), strict=True):
            found.pruned.setdefault(s, []).append(value)


def try_rules(drawing: Drawing, found: ScheduleFindings, most: int, more: More,
              identity: str | None, leaves: frozenset[tuple[int, int]]) -> None:
    """Tokens by entropy against tokens at random, where choices leave a part of them to choose.

    Args:
        identity: of the shortcuts that choices take; leaves: what scales leave for these.
    """
    shape, schedule = drawing.pipeline.transformer.shape, drawing.schedule
    if found.spared is None:
        pair = sparing_pair(choices_of(found), len(schedule))
        if pair is None:
            return
        found.spared, found.rules = (key_of(pair[0]), key_of(pair[1]), SPARED), {}
    above, below, share = found.spared
    plans = [sparing_plan(shape, schedule, (state_of(above), state_of(below)), share, rule,
                          _guide(found), identity) for rule in RULES]
    for number in range(min(map(len, found.rules.values()), default=0), most):
        if number > 1 and not more(number):
            break
        values = drawing.compared(plans, number, leaves)
        for rule, (value, _) in zip(RULES, values, strict=True):
            found.rules.setdefault(rule, []).append(value)


def note_tried(drawing: Drawing, found: ScheduleFindings, race: Race,
               leaves: frozenset[tuple[int, int]]) -> None:
    """What a race knows of its choices, into the findings: with the time that their scales took
    here, as a share of the dense run's.

    Args:
        leaves: what scales leave for shortcuts.
    """
    dense = _time_of(drawing, drawing.dense_plan, leaves)
    known = {State(t.guided, t.skipped, t.shortcuts): t.time for t in found.tried}
    found.tried = []
    for state, values in race.tried.items():
        taken = _time_of(drawing, race.plan(state), leaves)
        share = round(taken / dense, 4) if taken and dense else known.get(state)
        found.tried.append(Tried(
            **state._asdict(), likeness=[round(v[0], 5) for v in values],
            ssim=[round(v[1], 5) for v in values], time=share))


def _time_of(drawing: Drawing, plan: SparsityPlan, leaves: frozenset[tuple[int, int]]
             ) -> float | None:
    """Seconds of a plan's scales, None where one of them was never run."""
    found = [drawing.times.get(key) for key in step_keys(plan, leaves)]
    return None if None in found else math.fsum(t for t in found if t is not None)


def _guide(found: ScheduleFindings) -> tuple[int, ...]:
    return () if found.layers is None else detail_layers(found.layers.classes)


def _conclude_trace(found: ScheduleFindings, trace: EntropyTrace, ratio_scale: RatioScale) -> None:
    scale = representative_scale(trace)
    ratios = ratio_table(trace, scale)
    fit, stability, rho = fit_layers(ratios, ratio_scale), order_stability(ratios), rho_table(trace)
    told = rho_informative(rho)
    found.scales = scale_statistics(trace)
    found.layers = Layers(
        fit=layers_json(fit, list(fit.__dataclass_fields__)), classes=fit.layer_classes,
        representative_scale=scale,
        order_stability=None if math.isnan(stability) else stability,
        rho_informative=told.informative, rho_reason=told.reason)
    found.rho = [[None if math.isnan(x) else x for x in row] for row in rho.tolist()]
    found.looked_at = trace.images
