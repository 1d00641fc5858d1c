"""Traces with known contents."""

from __future__ import annotations

import math
from typing import Any

import torch

from toprovar.entropy.trace import EntropyTrace, TraceRecorder
from toprovar.schedules import ScaleSchedule, get_schedule

SCHEDULE = get_schedule("1.0", "0.06M")
DEPTH = 4


def make_trace(images: int = 3, seed: int = 0, heads: bool = False, depth: int = DEPTH,
               schedule: ScaleSchedule = SCHEDULE, **about: Any) -> EntropyTrace:
    """Random maps below log(keys); layer 0 has hardly any structure (Global), later ones more."""
    generator = torch.Generator().manual_seed(seed)
    recorder = TraceRecorder(heads=heads)
    keys = 0
    for scale, (grid, tokens) in enumerate(zip(schedule.grids, schedule.tokens, strict=True)):
        keys += tokens
        for layer in range(depth):
            shape = (images, 2, tokens) if heads else (images, tokens)
            noise = torch.rand(shape, generator=generator) * 0.02 * (0.1 + layer)
            recorder.record(scale, layer, grid, math.log(keys) * (0.9 - noise))
    return recorder.trace(schedule, depth, prompts=[f"prompt {i}" for i in range(images)],
                          seeds=range(seed, seed + images), model="test", params={"cfg": [3.0]},
                          **about)
