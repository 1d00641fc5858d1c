"""Fits a model's linear shortcuts (``sparsity.shortcuts``) to dense runs of it: least squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..models.fingerprint import model_fingerprint
from ..ops.resize_tokens import resize_tokens
from ..pipeline import InfinityPipeline
from ..pipeline_inputs import make_generators
from ..sampling.params import EngineOptions, SamplingParams
from ..sampling.run import LayerProbe, SamplingRun
from ..schedules import ScaleSchedule
from ..sparsity.shortcuts import Shortcuts, predict
from .measure import FEWEST_TOKENS, OnImage, batches

SHARES = (0.5, 0.6, 0.7, 0.8)
"""Of the layers, that shortcuts are fitted for."""
RIDGE = 1e-4
"""Of each input's mean square, added to it: keeps the solution small where inputs are alike."""
MOST_TOKENS = 1024
"""Of a row at a scale that take part, evenly spread."""
HELD_OUT = 1 / 8
"""Of the pictures: they say how well the maps predict, and are not fitted to."""


def shortcut_lengths(depth: int) -> tuple[int, ...]:
    """Numbers of layers to leave out, ascending."""
    return tuple(sorted({min(max(round(share * depth), 1), depth - 1) for share in SHARES}))


def fit_shortcuts(
    pipeline: InfinityPipeline, jobs: Sequence[tuple[str, int]],
    schedules: Sequence[ScaleSchedule], *, fewest_tokens: int = FEWEST_TOKENS, batch: int = 1,
    on_images: OnImage | None = None, guidance_scale: Any = None, tau: Any = None,
    options: EngineOptions | None = None,
) -> Shortcuts | None:
    """Maps for one model.

    Args:
        jobs: prompts and seeds, drawn on every schedule.
        fewest_tokens: scales with fewer are not fitted to: they never take a shortcut.
        guidance_scale, tau, options: as of the pipeline's call.

    Returns:
        None for a model of one layer, or a schedule whose scales are all small.
    """
    shape, transformer = pipeline.transformer.shape, pipeline.transformer
    lengths = shortcut_lengths(shape.depth)
    wide = [s for s in schedules if any(n >= fewest_tokens for n in s.tokens[1:])]
    if not lengths or not lengths[0] or not wide:
        return None
    sums = _Sums(lengths, shape.width)
    batch = min(batch, max(1, int(len(jobs) * HELD_OUT)))
    held = range(len(jobs) - int(len(jobs) * HELD_OUT), len(jobs))
    kept: list[_Looking] = []
    for schedule in wide:
        params = SamplingParams(
            schedule, pipeline.config["default_cfg"] if guidance_scale is None else guidance_scale,
            pipeline.config["default_tau"] if tau is None else tau,
        )
        for part in batches(range(len(jobs)), batch):
            found = _Looking(schedule, lengths, fewest_tokens, None if part[-1] in held else sums)
            features = pipeline.encode_prompt([jobs[i][0] for i in part])
            run = SamplingRun(
                transformer, features, params, options=options, probe=found,
                generators=make_generators(None, [jobs[i][1] for i in part], len(part)),
            )
            for _ in run:
                pass
            if part[-1] in held:
                kept.append(found)
            if on_images:
                on_images(len(part))
    maps = sums.solve()
    shortcuts = Shortcuts(model_fingerprint(transformer), maps)
    told = {n: _explained(kept, shortcuts, n) for n in lengths} if kept else {}
    return Shortcuts(shortcuts.model, maps, {
        "pictures": len(jobs), "sizes": [s.pn for s in wide], "ridge": RIDGE,
        "explained": {str(n): round(share, 4) for n, share in told.items()},
    })


class _Sums:
    """Normal equations of every map, in float64."""

    def __init__(self, lengths: Sequence[int], width: int) -> None:
        self.width = width
        self.squares: dict[int, Tensor] = {}
        self.products: dict[int, Tensor] = {}
        self.lengths = lengths

    def add(self, length: int, x: Tensor, before: Tensor, after: Tensor) -> None:
        """Tokens [..., C]: inputs and outcome."""
        inputs = torch.cat([x, before, torch.ones_like(x[..., :1])], -1)
        inputs = inputs.flatten(0, -2).double()
        outcome = after.flatten(0, -2).double()
        squares, products = inputs.T @ inputs, inputs.T @ outcome
        if length in self.squares:
            self.squares[length] += squares
            self.products[length] += products
        else:
            self.squares[length], self.products[length] = squares, products

    def solve(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Weight [C, 2 C] and bias [C] of each length, on the CPU."""
        found = {}
        for length in self.lengths:
            squares = self.squares[length]
            ridge = RIDGE * squares.diagonal()
            ridge[-1] = 0  # the constant is free
            solved = torch.linalg.solve(squares + ridge.diag(), self.products[length]).T.cpu()
            found[length] = solved[:, :-1].float(), solved[:, -1].float()
        return found


class _Looking(LayerProbe):
    """Takes a run's residuals: into sums, or kept for later (``samples``)."""

    def __init__(self, schedule: ScaleSchedule, lengths: Sequence[int], fewest_tokens: int,
                 sums: _Sums | None) -> None:
        self.schedule, self.lengths, self.sums = schedule, lengths, sums
        self.first = next(s for s, n in enumerate(schedule.tokens) if s and n >= fewest_tokens)
        self.samples: list[tuple[int, Tensor, Tensor, Tensor]] = []
        self._input: Tensor | None = None
        self._before: dict[int, Tensor] = {}

    def block_input(self, scale: int, layer: int, x: Tensor) -> None:
        if layer == 0 and scale >= self.first:
            self._input = self._thinned(scale, x.float())

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        length, grids = layer + 1, self.schedule.grids
        if length not in self.lengths or scale < self.first - 1:
            return
        if scale >= self.first and self._input is not None:
            before = resize_tokens(self._before[length], grids[scale - 1], grids[scale])
            before, after = self._thinned(scale, before), self._thinned(scale, x.float())
            if self.sums is None:
                self.samples.append((length, self._input.cpu(), before.cpu(), after.cpu()))
            else:
                self.sums.add(length, self._input, before, after)
        self._before[length] = x.float().clone()

    def _thinned(self, scale: int, x: Tensor) -> Tensor:
        """[R, n, C]: every k-th token, so that no scale outweighs the others by far."""
        return x[:, :: max(1, -(-self.schedule.tokens[scale] // MOST_TOKENS))].clone()


def _explained(kept: Sequence[_Looking], shortcuts: Shortcuts, length: int) -> float:
    """Share of what the layers change, from the upsampled residual on, that a map predicts."""
    weight, bias = shortcuts.at(length, torch.device("cpu"), torch.float32)
    missed = whole = 0.0
    for found in kept:
        for own, x, before, after in found.samples:
            if own == length:
                missed += float((predict(x, before, weight, bias) - after).square().sum())
                whole += float((before - after).square().sum())
    return 1 - missed / whole if whole else 0.0
