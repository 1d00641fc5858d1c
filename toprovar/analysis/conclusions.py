"""A calibration out of what was measured so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ..entropy.calibration import Calibration
from ..entropy.schedule_entry import Choice, ScheduleEntry, SelectionWorth
from ..entropy.summary import spread_of
from ..models.config import TransformerConfig
from ..schedules import get_schedule
from ..sparsity.plan import Way
from .choices import State
from .findings import Findings, ScheduleFindings, Tried, state_of
from .intervals import half_width, paired
from .probes import WAYS, gain_at_half
from .threshold import fit_threshold

NO_WORSE = 0.001
"""Likeness up to which random tokens count as as good as those of least entropy."""


def way_of(findings: Findings) -> Way:
    """What dropped tokens get: "exit", unless pictures stay more like the dense ones with another
    way, by more than chance would give (95 %). All that is measured later builds on "exit", and a
    few pictures can be wrong about the order."""
    found = [f.ways for f in findings.schedules.values() if f.ways.get("exit")]
    best: Way = "exit"
    gain = 0.0
    for way in WAYS:
        differences = [a - b for ways in found
                       for a, b in zip(ways.get(way, ()), ways["exit"], strict=False)]
        if differences and (mean := fmean(differences)) > gain \
                and mean > half_width(differences):
            best, gain = way, mean
    return best


def unconditional_off(found: ScheduleFindings, target: float) -> int:
    """The most scales without guidance that leave half of what the target allows."""
    off = 0
    for similarities in zip(*found.unguided, strict=True):
        if fmean(similarities) < (1 + target) / 2:
            break
        off += 1
    return off


def conclude(
    findings: Findings, shape: TransformerConfig, *, target_ssim: float, way: Way | None = None,
    name: str = "",
    alpha_min: float = 0.0, alpha_max: float = 0.9, prompts: int = 1, seeds: int = 1,
    provenance: dict[str, Any] | None = None,
) -> Calibration | None:
    """The calibration, None as long as there is too little for one.

    Args:
        target_ssim: pictures at least this similar to the dense one count as unharmed.
        way: what dropped tokens get; None = ``way_of``.
        prompts, seeds: how many were given; the rest as of ``Calibration``.
    """
    done = {pn: found for pn, found in findings.schedules.items()
            if found.layers is not None and found.ways}
    if not done:
        return None
    way = way or way_of(findings)
    rhos = [torch.tensor([[math.nan if x is None else x for x in row] for row in found.rho],
                         dtype=torch.float64) for found in done.values()]
    pruned = [_pruned(found) for found in done.values()]
    common = [min(len(r), len(p)) for r, p in zip(rhos, pruned, strict=True)]
    crossing = fit_threshold(
        [r[:n] for r, n in zip(rhos, common, strict=True)],
        [p[:n] >= target_ssim for p, n in zip(pruned, common, strict=True)],
        [_tried(p) if n else [] for p, n in zip(pruned, common, strict=True)],
    )
    longest = max(done.values(), key=lambda found: len(found.scales)).layers
    assert longest is not None
    informative, reason = longest.rho_informative, longest.rho_reason
    if informative and not (crossing.accuracy is not None
                            and crossing.accuracy >= max(0.7, (crossing.by_scale or 0) - 0.05)):
        informative = False
        reason = "its crossing predicts what may be pruned no better than the scale's number does"
    entries = {pn: _entry(found, p, way, target_ssim)
               for (pn, found), p in zip(done.items(), pruned, strict=True)}
    uses = any(c.shortcuts for entry in entries.values() for c in entry.choices)
    return Calibration(
        model=findings.model, name=name, depth=shape.depth, entries=entries, tau=crossing.tau,
        crossing=crossing.direction, rho_informative=informative, rho_reason=reason,
        rho_accuracy=crossing.accuracy, scale_accuracy=crossing.by_scale,
        target_ssim=target_ssim, shortcuts=findings.shortcuts if uses else None, dropped=way,
        alpha_min=alpha_min, alpha_max=alpha_max, prompts=prompts, seeds=seeds,
        provenance={
            "made": datetime.now(timezone.utc).date().isoformat(),
            "seconds": round(findings.seconds, 1), "pictures": findings.pictures,
            "probe": {"rule": "entropy", "ssim": {
                pn: {w: round(fmean(v), 4) for w, v in found.ways.items() if v}
                for pn, found in done.items()
            }, "unguided_ssim": {
                pn: [round(fmean(x), 4) for x in zip(*found.unguided, strict=True)]
                for pn, found in done.items()
            }},
            **(provenance or {}),
        },
    )


def choices_of(found: ScheduleFindings) -> tuple[Choice, ...]:
    """What was tried on a whole round of pictures, by these pictures; the likest first."""
    if not found.complete:
        return ()
    tried = [t for t in found.tried if len(t.likeness) >= found.complete]
    dense = Choice(guided=len(found.scales), likeness=1.0, ssim=1.0)
    return tuple(sorted([dense, *(_choice(t, found.complete) for t in tried)],
                        key=lambda c: -c.likeness))


def selection_of(found: ScheduleFindings) -> SelectionWorth | None:
    """What choosing tokens by entropy is worth there; None where nothing was compared."""
    entropy, chance = (found.rules.get(rule, []) for rule in ("entropy", "random"))
    if not entropy or not chance or found.spared is None:
        return None
    gain, half = paired(entropy, chance)
    count = min(len(entropy), len(chance))
    useless = gain + half < NO_WORSE
    return SelectionWorth(
        rule="random" if useless else "entropy", gain=round(gain, 5),
        half_width=round(half, 5) if math.isfinite(half) else None, pictures=count,
        share=found.spared[2], decided=useless or gain - half > 0)


def _choice(tried: Tried, pictures: int) -> Choice:
    own = tried.likeness[:pictures]
    half = half_width(own)
    return Choice(
        guided=tried.guided, skipped=tried.skipped, shortcuts=tried.shortcuts,
        likeness=round(fmean(own), 5), ssim=round(fmean(tried.ssim[:pictures]), 5),
        pictures=pictures, half_width=round(half, 5) if math.isfinite(half) else None,
        time=tried.time)


def _entry(found: ScheduleFindings, pruned: Tensor, way: Way, target: float) -> ScheduleEntry:
    schedule = get_schedule(found.template, found.pn)
    layers = found.layers
    assert layers is not None
    start, reason = None, f"no scale can be pruned and keep a mean SSIM of {target:g}"
    tried = _tried(pruned)
    if not tried:
        reason = "not measured from which scale on tokens can be dropped"
    for scale in reversed(tried):
        mean = float(pruned[:, scale].mean())
        if mean < target:
            break
        start = scale
        reason = (f"the first scale from which on pruning keeps a mean SSIM of at least "
                  f"{target:g} (here {mean:.3f})")
    exits = torch.tensor([[math.nan if x is None else x for x in row] for row in found.exit_ssim],
                         dtype=torch.float64)
    scales = tuple(
        one.model_copy(update={"exit_ssim": spread_of(exits[:, s]) if len(exits) else None,
                               "pruned_ssim": spread_of(pruned[:, s])})
        for s, one in enumerate(found.scales))
    return ScheduleEntry.model_validate({
        **layers.fit, "pn": schedule.pn, "template": schedule.template, "scales": scales,
        "start_scale": start, "start_reason": reason,
        "representative_scale": layers.representative_scale,
        "order_stability": layers.order_stability, "choices": choices_of(found),
        "mixing_gain": _mixing_gain(found), "selection": selection_of(found),
        "unconditional_off": unconditional_off(found, target) if way == "exit" else 0,
    })


def _mixing_gain(found: ScheduleFindings) -> float:
    """Of half the tokens on the longer shortcut, where that was measured."""
    values = found.rules.get("entropy", [])
    if not values or found.spared is None:
        return 0.0
    above, below, share = found.spared
    if share != 0.5 or below[1] != above[1]:  # they exit: that is reckoned without a gain
        return 0.0
    own = {State(t.guided, t.skipped, t.shortcuts): t.likeness for t in found.tried}
    count = min(len(values), *(len(own.get(state_of(s), [])) for s in (above, below)))
    if not count:
        return 0.0
    return gain_at_half(*(fmean(v[:count]) for v in (values, own[state_of(above)],
                                                     own[state_of(below)])))


def _pruned(found: ScheduleFindings) -> Tensor:
    """[n, S], NaN where it was not tried."""
    count = min((len(v) for v in found.pruned.values()), default=0)
    table = torch.full((count, len(found.scales)), math.nan, dtype=torch.float64)
    for scale, values in found.pruned.items():
        table[:, scale] = torch.tensor(values[:count], dtype=torch.float64)
    return table


def _tried(pruned: Tensor) -> list[int]:
    """Scales that were tried as the first pruned one, of [n, S]."""
    return [s for s in range(pruned.shape[1])
            if len(pruned) and not pruned[:, s].isnan().any()]


def layers_json(fit: Any, fields: Sequence[str]) -> dict[str, object]:
    """Of a ``LayerFit``, as JSON knows them."""
    def plain(value: Any) -> object:
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        return value.model_dump() if hasattr(value, "model_dump") else value
    return {name: plain(getattr(fit, name)) for name in fields}
