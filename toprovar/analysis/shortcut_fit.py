"""Fits a model's linear shortcuts (``sparsity.shortcuts``) to runs of it: least squares.

A shortcut from one scale to the next is fitted to dense runs. One over a scale that is left out is
fitted to runs without it, for what it starts from differs. All runs of a picture are branches of
one (``sampling.branches``), and what they leave behind for shortcuts is what is fitted to. More
pictures can be added at any time; the maps so far can be had at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.config import TransformerConfig
from ..models.fingerprint import model_fingerprint
from ..ops.resize_tokens import resize_tokens
from ..pipeline import InfinityPipeline
from ..sampling.branches import BranchingRun
from ..schedules import ScaleSchedule
from ..sparsity.cost import count
from ..sparsity.linear_shortcut import INPUT, LinearShortcut
from ..sparsity.plan import SparsityPlan
from ..sparsity.shortcut_inputs import Sizes, shortcut_inputs
from ..sparsity.shortcut_maps import ShortcutMap, quantized
from ..sparsity.shortcuts import CODES, Shortcuts
from .choices import LEAST_SAVED, choice_plan, skippable
from .drawing import Drawing, Job
from .measure import FEWEST_TOKENS
from .shortcut_sums import UNTRIED, Moments, Spread

SHARES = (0.5, 0.6, 0.7, 0.8)
"""Of the layers, that shortcuts are fitted for."""
MOST_LEFT_OUT = 1
"""Scales that a shortcut passes over at most."""
MOST_TOKENS = 1024
"""Of a row at a scale that take part, evenly spread."""
LEFT_OUT_WORTH = 0.6
"""Of a shortcut over a scale that is left out, against one from the scale before."""
HELD_OUT = 8
"""One picture in so many says how well the maps predict, and is not fitted to."""
HELD_TOKENS = 256
"""Of a row at a scale of such pictures."""
LOOKED_AT = 32
"""Pictures at most that say in which directions residuals differ most."""
MOST_BYTES = 768 << 20
"""Of sums at once; where more are needed, the rest is fitted after them, in as much again."""
MOST_PORTIONS = 4
"""Of sums one after the other; shortcuts beyond, which save least, are not fitted."""


def shortcut_lengths(depth: int) -> tuple[int, ...]:
    """Numbers of layers to leave out, ascending."""
    return tuple(sorted({min(max(round(share * depth), 1), depth - 1) for share in SHARES})) \
        if depth > 1 else ()


@dataclass(frozen=True)
class Route:
    """A run of one schedule without ``skipped``, and the shortcuts that are fitted to it."""

    schedule: ScaleSchedule
    skipped: tuple[int, ...]
    linear_shortcuts: tuple[LinearShortcut, ...]

    def plan(self, shape: TransformerConfig) -> SparsityPlan:
        """Nothing is run behind the last scale that is fitted to."""
        last = max(one.scale for one in self.linear_shortcuts)
        behind = range(last + 1, len(self.schedule))
        return choice_plan(shape, self.schedule, len(self.schedule), (*self.skipped, *behind))


def portions(shape: TransformerConfig, schedules: Sequence[ScaleSchedule],
             fewest_tokens: int = FEWEST_TOKENS, most_bytes: int = MOST_BYTES
             ) -> list[list[Route]]:
    """The shortcuts that plans may take, and the runs that they are fitted to: in portions whose
    sums lie in memory together, those that save most in the first.

    Args:
        fewest_tokens: scales with fewer never take a shortcut.
        most_bytes: of a portion's sums.
    """
    sizes = Sizes.of(shape)
    found = _routes(shape, schedules, fewest_tokens)
    worth: dict[LinearShortcut, float] = {}
    for (schedule, between), own in found.items():
        for one in own:
            tokens = schedule.tokens[one.scale] / sum(schedule.tokens)
            worth[one] = max(worth.get(one, 0.0), tokens * LEFT_OUT_WORTH ** len(between))
    wanted = sorted(worth, key=lambda one: (-worth[one], one))
    size = max(1, most_bytes // Moments.nbytes(sizes.inputs, sizes.width))
    parts: list[list[Route]] = []
    for first in range(0, len(wanted), size)[:MOST_PORTIONS]:
        part = set(wanted[first : first + size])
        ways = [Route(*key, tuple(one for one in own if one in part))
                for key, own in found.items()]
        parts.append([way for way in ways if way.linear_shortcuts])
    return parts


def _routes(shape: TransformerConfig, schedules: Sequence[ScaleSchedule], fewest_tokens: int
            ) -> dict[tuple[ScaleSchedule, tuple[int, ...]], list[LinearShortcut]]:
    """By schedule and the scales that are left out: shortcuts that are fitted to such runs."""
    lengths = shortcut_lengths(shape.depth)
    found: dict[tuple[ScaleSchedule, tuple[int, ...]], list[LinearShortcut]] = {}
    for schedule in schedules if lengths else ():
        free = skippable(schedule, fewest_tokens)
        for scale in range(2, len(schedule)):
            if schedule.tokens[scale] < fewest_tokens \
                    or _saved(shape, schedule, scale, lengths[-1]) < LEAST_SAVED:
                continue
            for left_out in range(MOST_LEFT_OUT + 1):
                source = scale - 1 - left_out
                between = tuple(range(source + 1, scale))
                if source > 0 and all(s in free for s in between):
                    found.setdefault((schedule, between), []).extend(
                        LinearShortcut(source, scale, n) for n in lengths)
    return found


class ShortcutFit:
    """A fit that goes on for as long as pictures are added.

    Args:
        drawings: one for each schedule; their jobs are drawn.
        ways: what is fitted, to which runs.
        fewest_tokens: see ``portions``.
        directions: of another portion's fit; None = they are found by :meth:`look`.

    Attributes:
        pictures: that were added, those held out included.
        directions: [C, k] by number of layers, and of ``CODES``, once pictures were added.
    """

    def __init__(self, drawings: Sequence[Drawing], ways: Sequence[Route],
                 fewest_tokens: int = FEWEST_TOKENS,
                 directions: dict[int, Tensor] | None = None) -> None:
        self.drawings = {drawing.schedule: drawing for drawing in drawings}
        self.transformer = drawings[0].pipeline.transformer
        self.shape = self.transformer.shape
        self.sizes = Sizes.of(self.shape)
        self.routes = list(ways)
        self.fewest_tokens = fewest_tokens
        self.pictures = self.looked_at = 0
        self._spreads = {n: Spread() for n in shortcut_lengths(self.shape.depth)}
        self.directions: dict[int, Tensor] = directions or {}
        self._sums: dict[LinearShortcut, Moments] = {}
        self._held: dict[LinearShortcut, list[tuple[Tensor, Tensor]]] = {}

    def look(self, number: int) -> None:
        """See in which directions the residuals of a job differ most; before any is added."""
        for schedule in dict.fromkeys(way.schedule for way in self.routes):
            scales = [s for s, n in enumerate(schedule.tokens) if n >= self.fewest_tokens]
            drawing = self.drawings[schedule]
            leaves = {(s, n - 1) for s in scales for n in self._spreads}
            with drawing.running(number, leaves) as run:
                for _ in run.draw([drawing.dense_plan]):
                    for scale in scales:
                        for length, spread in self._spreads.items():
                            spread.add(_thinned(run.residual(scale, length - 1)[0].float()))
        self.looked_at += 1

    def add(self, number: int) -> None:
        """Take a job's pictures into the sums, or hold them out."""
        if not self.directions:
            self._find_directions()
        held = self.pictures % HELD_OUT == 1
        for schedule in dict.fromkeys(way.schedule for way in self.routes):
            ways = [way for way in self.routes if way.schedule == schedule]
            drawing = self.drawings[schedule]
            leaves = {place for way in ways for one in way.linear_shortcuts
                      for scale in (one.source, one.scale)
                      for place in ((scale, INPUT), (scale, one.length - 1))}
            with drawing.running(number, leaves) as run:
                for i, _ in run.draw([way.plan(self.shape) for way in ways]):
                    for one in ways[i].linear_shortcuts:
                        self._take(run, one, held)
        self.pictures += 1

    def shortcuts(self) -> Shortcuts | None:
        """The maps so far; None where there is nothing to fit, or nothing was added."""
        if not self._sums:
            return None
        maps: dict[LinearShortcut, ShortcutMap] = {}
        told: dict[str, float] = {}
        ridges: dict[tuple[int, int], float] = {}  # alike for all lengths, near enough
        for one in sorted(self._sums):
            sums, held = self._sums[one], self._held.get(one)
            z, y = (torch.cat(parts) for parts in zip(*held, strict=True)) if held else (None, None)
            if one[:2] not in ridges:
                ridges[one[:2]] = UNTRIED if z is None or y is None else sums.best_ridge(z, y)
            maps[one] = quantized(sums.solve(self.sizes.rank, ridges[one[:2]]),
                                  sums.input_scale, sums.input_mean)
            if z is not None and y is not None:
                told[str(one)] = round(Moments.explained_of(z, y, maps[one]), 4)
        return Shortcuts(model_fingerprint(self.transformer), self.directions, maps, {
            "pictures": self.pictures, "sizes": [s.pn for s in self.drawings],
            "ridges": {f"{source}-{scale}": ridge
                       for (source, scale), ridge in sorted(ridges.items())},
            "explained": told,
        })

    def _find_directions(self) -> None:
        found = {n: spread.directions(self.sizes.directions)
                 for n, spread in self._spreads.items()}
        embedding = self.transformer.token_embed.weight.detach().float()
        found[CODES] = torch.linalg.pinv(embedding.cpu()).T[:, : self.sizes.codes]
        device = self.transformer.null_text.device
        self.directions = {n: x.half().float().to(device) for n, x in found.items()}
        self._spreads = {}

    def _take(self, run: BranchingRun, one: LinearShortcut, held: bool) -> None:
        (x, grid), (outcome, _) = (run.residual(one.scale, layer)
                                   for layer in (INPUT, one.length - 1))
        (given, old), (before, _) = (run.residual(one.source, layer)
                                     for layer in (INPUT, one.length - 1))
        for parts in zip(x.split(1), outcome.split(1), given.split(1), before.split(1),
                         strict=True):  # row by row: what is seen around tokens is much
            here, after, first, then = (part.float() for part in parts)
            first, then = (resize_tokens(part, old, grid) for part in (first, then))
            inputs = shortcut_inputs(here, first, then, grid, self.directions[CODES],
                                     self.directions[one.length])
            z, y = (_thinned(part, HELD_TOKENS if held else MOST_TOKENS)[0]
                    for part in (inputs.transpose(1, 2), after - then))
            if held:
                self._held.setdefault(one, []).append((z.cpu(), y.cpu()))
            else:
                self._sums.setdefault(one, Moments()).add(z, y)


def fit_shortcuts(
    pipeline: InfinityPipeline, jobs: Sequence[Job], schedules: Sequence[ScaleSchedule], *,
    fewest_tokens: int = FEWEST_TOKENS, deadline: float | None = None,
    on_picture: Callable[[int], object] | None = None, drawings: Sequence[Drawing] = (),
    most_bytes: int = MOST_BYTES,
) -> Shortcuts | None:
    """Maps for one model.

    Args:
        jobs: prompts and seeds, drawn on every schedule.
        fewest_tokens, most_bytes: see ``portions``.
        deadline: of ``time.monotonic``: no further job is begun behind it.
        on_picture: told of every job that is done, by its number.
        drawings: how; default: by the pipeline's defaults.

    Returns:
        None for a model of one layer, or schedules whose scales are all small.
    """
    drawings = drawings or [Drawing(pipeline, s, jobs) for s in schedules]
    parts = portions(pipeline.transformer.shape, schedules, fewest_tokens, most_bytes)
    found: list[Shortcuts] = []
    directions: dict[int, Tensor] | None = None
    for left, ways in zip(reversed(range(len(parts))), parts if jobs else (), strict=False):
        fit = ShortcutFit(drawings, ways, fewest_tokens, directions)
        now = time.monotonic()
        if found and deadline is not None and now > deadline:
            break
        _fit(fit, jobs, None if deadline is None else now + (deadline - now) / (left + 1),
             on_picture)
        directions = fit.directions
        maps = fit.shortcuts()
        found += [maps] if maps is not None else []
    return _joined(found) if found else None


def _fit(fit: ShortcutFit, jobs: Sequence[Job], deadline: float | None,
         on_picture: Callable[[int], object] | None) -> None:
    begun = time.monotonic()
    looking = None if deadline is None else begun + (deadline - begun) / 8
    for number in range(0 if fit.directions else min(LOOKED_AT, len(jobs))):
        if number and looking is not None and time.monotonic() > looking:
            break
        fit.look(number)
    for number in range(len(jobs)):
        if number and deadline is not None and time.monotonic() > deadline:
            break
        fit.add(number)
        if on_picture:
            on_picture(number)


def _joined(parts: Sequence[Shortcuts]) -> Shortcuts:
    """The maps of several portions."""
    about = dict(parts[0].about)
    about["pictures"] = min(part.about["pictures"] for part in parts)
    for name in ("ridges", "explained"):
        about[name] = {key: value for part in parts for key, value in part.about[name].items()}
    return Shortcuts(parts[0].model, {n: x for part in parts for n, x in part.directions.items()},
                     {one: own for part in parts for one, own in part.maps.items()}, about)


def _saved(shape: TransformerConfig, schedule: ScaleSchedule, scale: int, length: int) -> float:
    """Share of the dense FLOPs that a shortcut saves."""
    plan = choice_plan(shape, schedule, len(schedule), shortcuts=((scale, length),), identity="")
    return 1 - count(plan, shape).flop_share


def _thinned(x: Tensor, most: int = MOST_TOKENS) -> Tensor:
    """[R, n, C]: every k-th token, so that no scale outweighs the others by far."""
    return x[:, :: max(1, -(-x.shape[1] // most))]
