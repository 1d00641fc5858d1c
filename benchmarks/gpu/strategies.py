"""The plans that are compared: each published strategy, each dimension of ToProVAR alone, presets.

Weights are random, so keep counts are given instead of calibrated: what is measured is the time
that a plan's shapes take. Pruning starts at the fourth scale from the end (side 32 at 1M pixels);
a quarter of the layers, half of them first and half last, stay whole, as Global layers do.
Shortcuts lead through three quarters of the layers, by random maps.
"""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.models import Subject
from benchmarks.random_shortcuts import random_shortcuts
from toprovar.analysis.choices import State, choice_plan
from toprovar.models.config import TransformerConfig
from toprovar.models.fingerprint import model_fingerprint
from toprovar.schedules import ScaleSchedule
from toprovar.sparsity.plan import SparsityPlan, dense_plan
from toprovar.sparsity.shortcuts import register_shortcuts
from toprovar.sparsity.strategies.fastvar import fastvar_plan
from toprovar.sparsity.strategies.skipvar.policies import skipvar_plan
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings, build_plan

PRUNED_SCALES = 4
PRUNED_LAYERS = 0.75
UNGUIDED = 2
"""Scales at the end without the unconditional row, where it is dropped."""
PRESET = "preset 20 %, cached"
PRESET_UNGUIDED = "preset 20 %, cached, late guidance off"
SHORTCUT = "shortcut through 3 of 4 layers"


def plans(subject: Subject) -> dict[str, SparsityPlan]:
    """Every plan but the dense one, by name."""
    shape, schedule = subject.shape, subject.schedule
    found = {
        "FastVAR": fastvar_plan(shape, schedule),
        "SkipVAR, last scale not run": skipvar_plan(shape, schedule, skip=1),
        "SkipVAR, last 3 without guidance": skipvar_plan(shape, schedule, uncond=3),
        "scale alone: last 2 not run": pruned(
            shape, schedule, 1.0, dimensions="scale", start=len(schedule) - 2),
        "token alone: 20 % in all layers": pruned(shape, schedule, 0.2, layers=1.0),
        "layer alone: 3 of 4 not run": pruned(shape, schedule, 0.0),
        "guidance alone: last 2 without": pruned(shape, schedule, 1.0, unconditional_off=UNGUIDED),
        "preset 40 %, cached": pruned(shape, schedule, 0.4),
        PRESET: pruned(shape, schedule, 0.2),
        "preset 20 %, identity": pruned(shape, schedule, 0.2, dropped="identity"),
        "preset 10 %, cached": pruned(shape, schedule, 0.1),
        PRESET_UNGUIDED: pruned(shape, schedule, 0.2, unconditional_off=UNGUIDED),
        "preset 20 %, identity, late guidance off": pruned(
            shape, schedule, 0.2, dropped="identity", unconditional_off=UNGUIDED),
        "exit: 20 % stay, one scale early": pruned(
            shape, schedule, 0.2, layers=1.0, dropped="exit", start=len(schedule) - 2),
        SHORTCUT: shortened(subject),
        f"{SHORTCUT}, late guidance off": shortened(subject, unguided=UNGUIDED),
        f"{SHORTCUT}, late guidance off, a scale skipped": shortened(
            subject, unguided=UNGUIDED, skipped=(len(schedule) - 3,)),
    }
    return found


def shortened(subject: Subject, unguided: int = 0, skipped: tuple[int, ...] = ()) -> SparsityPlan:
    """The pruned scales begin with a shortcut through the layers that are pruned otherwise."""
    shape, schedule = subject.shape, subject.schedule
    length, count = round(shape.depth * PRUNED_LAYERS), len(schedule)
    state = State(count - unguided, skipped, tuple(
        (s, length) for s in range(count - PRUNED_SCALES, count) if s not in skipped))
    shortcuts = random_shortcuts(model_fingerprint(subject.pipeline.transformer), shape,
                                 state.linear_shortcuts)
    register_shortcuts(shortcuts)
    return choice_plan(shape, schedule, *state, identity=shortcuts.identity)


def pruned(
    shape: TransformerConfig, schedule: ScaleSchedule, share: float, *,
    layers: float = PRUNED_LAYERS, start: int | None = None, **settings: Any,
) -> SparsityPlan:
    """ToProVAR's plan in which some layers keep a share of their tokens.

    Args:
        share: of the tokens that a pruned layer keeps from scale ``start`` on; 0 = not run.
        layers: share of the layers that are pruned.
        start: None = ``PRUNED_SCALES`` from the end.
        settings: of ToProVAR; dropped tokens get the "cached" update unless said otherwise.
    """
    whole = shape.depth - round(shape.depth * layers)
    first, last = whole - whole // 2, shape.depth - whole // 2

    def keep(scale: int, layer: int) -> float:
        return share if first <= layer < last else 1.0

    given = ToProVarSettings(**({"dropped": "cached", "unconditional_off": 0} | settings))
    return build_plan(given, shape, schedule,
                      len(schedule) - PRUNED_SCALES if start is None else start, keep)


def dense(subject: Subject) -> SparsityPlan:
    return dense_plan(subject.shape, subject.schedule)
