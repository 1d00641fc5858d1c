"""Fits a model's linear shortcuts (``sparsity.shortcuts``) to runs of it: least squares.

A shortcut from one scale to the next is fitted to dense runs. One over scales that are left out is
fitted to runs without these, for what it starts from differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.config import TransformerConfig
from ..models.fingerprint import model_fingerprint
from ..ops.resize_tokens import resize_tokens
from ..pipeline import InfinityPipeline
from ..pipeline_inputs import make_generators
from ..sampling.params import EngineOptions, SamplingParams
from ..sampling.run import LayerProbe, SamplingRun
from ..schedules import ScaleSchedule
from ..sparsity.linear_shortcut import LinearShortcut
from ..sparsity.shortcut_inputs import Sizes, shortcut_inputs
from ..sparsity.shortcut_maps import ShortcutMap, quantized
from ..sparsity.shortcuts import CODES, Shortcuts
from .choices import choice_plan, skippable
from .measure import FEWEST_TOKENS, OnImage, batches
from .shortcut_sums import RIDGE, Moments, Spread

SHARES = (0.5, 0.6, 0.7, 0.8)
"""Of the layers, that shortcuts are fitted for."""
MOST_LEFT_OUT = 1
"""Scales that a shortcut passes over at most."""
MOST_TOKENS = 1024
"""Of a row at a scale that take part, evenly spread."""
HELD_OUT = 1 / 8
"""Of the pictures: they say how well the maps predict, and are not fitted to."""
LOOKED_AT = 32
"""Pictures that say in which directions residuals differ most."""
MOST_BYTES = 8 << 30
"""Of sums at once; where more are needed, the runs are repeated."""


def shortcut_lengths(depth: int) -> tuple[int, ...]:
    """Numbers of layers to leave out, ascending."""
    return tuple(sorted({min(max(round(share * depth), 1), depth - 1) for share in SHARES}))


@dataclass(frozen=True)
class Route:
    """Runs of one schedule without ``skipped``, and the shortcuts that are fitted to them."""

    schedule: ScaleSchedule
    skipped: tuple[int, ...]
    linear_shortcuts: tuple[LinearShortcut, ...]


def routes(depth: int, schedules: Sequence[ScaleSchedule], fewest_tokens: int = FEWEST_TOKENS
           ) -> list[Route]:
    """All shortcuts that plans may take, and the runs that they are fitted to.

    Args:
        fewest_tokens: scales with fewer never take a shortcut.
    """
    found: dict[tuple[ScaleSchedule, tuple[int, ...]], list[LinearShortcut]] = {}
    lengths = shortcut_lengths(depth) if depth > 1 else ()
    for schedule in schedules:
        free = skippable(schedule, fewest_tokens)
        for scale in range(2, len(schedule)):
            if schedule.tokens[scale] < fewest_tokens:
                continue
            for left_out in range(MOST_LEFT_OUT + 1):
                source = scale - 1 - left_out
                between = tuple(range(source + 1, scale))
                if source > 0 and all(s in free for s in between):
                    found.setdefault((schedule, between), []).extend(
                        LinearShortcut(source, scale, n) for n in lengths)
    return [Route(*key, tuple(own)) for key, own in found.items() if own]


def fitting_runs(shape: TransformerConfig, pictures: int, schedules: Sequence[ScaleSchedule],
                 fewest_tokens: int = FEWEST_TOKENS) -> int:
    """Images that :func:`fit_shortcuts` draws."""
    ways = routes(shape.depth, schedules, fewest_tokens)
    looked_at = len({way.schedule for way in ways}) * min(LOOKED_AT, pictures)
    return looked_at + pictures * sum(len(part) for part in _portions(shape, ways))


def fit_shortcuts(
    pipeline: InfinityPipeline, jobs: Sequence[tuple[str, int]],
    schedules: Sequence[ScaleSchedule], *, fewest_tokens: int = FEWEST_TOKENS, batch: int = 1,
    on_images: OnImage | None = None, guidance_scale: Any = None, tau: Any = None,
    options: EngineOptions | None = None,
) -> Shortcuts | None:
    """Maps for one model.

    Args:
        jobs: prompts and seeds, drawn on every schedule.
        fewest_tokens: see ``routes``.
        guidance_scale, tau, options: as of the pipeline's call.

    Returns:
        None for a model of one layer, or schedules whose scales are all small.
    """
    shape = pipeline.transformer.shape
    ways = routes(shape.depth, schedules, fewest_tokens)
    if not ways:
        return None
    sizes, lengths = Sizes.of(shape), shortcut_lengths(shape.depth)
    draw = _Drawing(pipeline, batch, on_images, options, guidance_scale, tau)
    spreads = {n: Spread() for n in lengths}
    for schedule in dict.fromkeys(way.schedule for way in ways):
        for part in batches(jobs[:LOOKED_AT], batch):
            draw(part, Route(schedule, (), ()), _Looking(schedule, spreads, fewest_tokens))
    directions = {n: spread.directions(sizes.directions) for n, spread in spreads.items()}
    embedding = pipeline.transformer.token_embed.weight.detach().float()
    directions[CODES] = torch.linalg.pinv(embedding.cpu()).T[:, : sizes.codes]
    directions = {n: x.half().float() for n, x in directions.items()}  # as they will be kept
    held_from = len(jobs) - int(len(jobs) * HELD_OUT)
    maps: dict[LinearShortcut, ShortcutMap] = {}
    told: dict[str, float] = {}
    for portion in _portions(shape, ways):
        sums: dict[tuple[LinearShortcut, bool], Moments] = {}
        for way in portion:
            for held, own in ((False, jobs[:held_from]), (True, jobs[held_from:])):
                for part in batches(own, batch) if own else ():
                    draw(part, way, _Summing(way, directions, sums, held))
        for shortcut in sorted({shortcut for way in portion for shortcut in way.linear_shortcuts}):
            fitted_to = sums[shortcut, False]
            maps[shortcut] = quantized(fitted_to.solve(sizes.rank), fitted_to.input_scale,
                                       fitted_to.input_mean)
            if (shortcut, True) in sums:
                told[str(shortcut)] = round(sums[shortcut, True].explained(maps[shortcut]), 4)
    return Shortcuts(model_fingerprint(pipeline.transformer), directions, maps, {
        "pictures": len(jobs), "sizes": [s.pn for s in schedules], "ridge": RIDGE,
        "explained": told,
    })


def _portions(shape: TransformerConfig, ways: Sequence[Route]) -> Iterator[list[Route]]:
    """Routes whose sums fit in memory together; those of one shortcut stay together."""
    sizes = Sizes.of(shape)
    most = max(1, MOST_BYTES // (2 * Moments.nbytes(sizes.inputs, sizes.width)))
    linear_shortcuts = sorted({shortcut for way in ways for shortcut in way.linear_shortcuts})
    for first in range(0, len(linear_shortcuts), most):
        own = set(linear_shortcuts[first : first + most])
        portion = [Route(way.schedule, way.skipped,
                         tuple(x for x in way.linear_shortcuts if x in own))
                   for way in ways]
        yield [way for way in portion if way.linear_shortcuts]


@dataclass(frozen=True)
class _Drawing:
    """Runs a pipeline's transformer, as far as is looked at."""

    pipeline: InfinityPipeline
    batch: int
    on_images: OnImage | None
    options: EngineOptions | None
    guidance_scale: Any
    tau: Any

    def __call__(self, jobs: Sequence[tuple[str, int]], way: Route, probe: LayerProbe) -> None:
        config, transformer = self.pipeline.config, self.pipeline.transformer
        params = SamplingParams(
            way.schedule,
            config["default_cfg"] if self.guidance_scale is None else self.guidance_scale,
            config["default_tau"] if self.tau is None else self.tau,
        )
        plan = choice_plan(transformer.shape, way.schedule, len(way.schedule), way.skipped)
        last = max((one.scale for one in way.linear_shortcuts), default=len(way.schedule) - 1)
        run = SamplingRun(
            transformer, self.pipeline.encode_prompt([text for text, _ in jobs]), params,
            plan=plan, options=self.options, probe=probe,
            generators=make_generators(None, [seed for _, seed in jobs], len(jobs)),
        )
        for state in run:
            if state.index == last:
                break
        if self.on_images:
            self.on_images(len(jobs))


class _Looking(LayerProbe):
    """Takes what residuals look like after some numbers of layers."""

    def __init__(self, schedule: ScaleSchedule, spreads: dict[int, Spread], fewest_tokens: int
                 ) -> None:
        self.schedule, self.spreads, self.fewest_tokens = schedule, spreads, fewest_tokens

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        if layer + 1 in self.spreads and self.schedule.tokens[scale] >= self.fewest_tokens:
            self.spreads[layer + 1].add(_thinned(x.float()))


class _Summing(LayerProbe):
    """Takes a run's residuals into the sums of its shortcuts."""

    def __init__(self, way: Route, directions: dict[int, Tensor],
                 sums: dict[tuple[LinearShortcut, bool], Moments], held: bool) -> None:
        self.grids, self.directions = way.schedule.grids, directions
        self.sums, self.held = sums, held
        self.sources = {shortcut.scale: shortcut.source for shortcut in way.linear_shortcuts}
        self.linear_shortcuts = set(way.linear_shortcuts)
        self.known = {0, *(shortcut.length for shortcut in way.linear_shortcuts)}
        self._now: dict[int, Tensor] = {}
        self._before: dict[int, Tensor] = {}

    def block_input(self, scale: int, layer: int, x: Tensor) -> None:
        if layer == 0:
            self._before, self._now = self._now, {0: x.float().clone()}

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        length = layer + 1
        if length not in self.known:
            return
        self._now[length] = x.float().clone()
        shortcut = LinearShortcut(self.sources.get(scale, -1), scale, length)
        if shortcut not in self.linear_shortcuts:
            return
        old, grid = self.grids[shortcut.source], self.grids[scale]
        given, before = (resize_tokens(self._before[n], old, grid) for n in (0, length))
        inputs = shortcut_inputs(
            self._now[0], given, before, grid, *(self.directions[n].to(x.device)
                                                 for n in (CODES, length)))
        self.sums.setdefault((shortcut, self.held), Moments()).add(
            _thinned(inputs.transpose(1, 2)), _thinned(self._now[length] - before))


def _thinned(x: Tensor) -> Tensor:
    """[R, n, C]: every k-th token, so that no scale outweighs the others by far."""
    return x[:, :: max(1, -(-x.shape[1] // MOST_TOKENS))]
