"""Endless batches for teaching the judge, composed ahead of the training.

Batch number n is a function of (seed, n) alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from training.data.compose import compose
from training.data.scene_batch import SceneBatch
from training.data.scenes import sample_scenes
from training.judge.free_scenes import sample_free_scenes
from training.judge.labels import Labels, labels_of
from training.judge.spoilt import SpoiltAtlas
from training.settings import View
from training.stream import Batch

_AHEAD = 2
_SEEDS = 10**8
_FRESH = 8
"""Batches between two redrawings of the spoilt sprites."""


@dataclass(frozen=True)
class Mixture:
    """Shares of a batch: captioned scenes, those held out from the generator, the rest free.

    Attributes:
        junk: share of the objects of free scenes that are spoilt sprites.
    """

    captioned: float = 0.45
    heldout: float = 0.15
    junk: float = 0.25

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 0 or self.captioned + self.heldout > 1 or self.junk > 1:
            raise ValueError(f"shares must lie in 0-1 and leave the rest to free scenes: {self}")


@dataclass(frozen=True)
class JudgeBatch(Batch):
    """Pictures and what they hold; ``ids`` and ``lengths`` are empty."""

    labels: Labels


def mixed_scenes(count: int, seed: int, mixture: Mixture, spoilt: int) -> SceneBatch:
    """Scenes of all kinds in random order."""
    captioned, heldout = round(count * mixture.captioned), round(count * mixture.heldout)
    parts = []
    if captioned:
        parts.append(sample_scenes(captioned, seed))
    if heldout:
        parts.append(sample_scenes(heldout, seed, "heldout"))
    if free := count - captioned - heldout:
        parts.append(sample_free_scenes(free, seed, spoilt, mixture.junk))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return SceneBatch.concatenate(parts)[order]


class JudgeStream:
    """Iterator of batches from ``first_step`` on, composed in a thread and stream of its own."""

    def __init__(
        self, view: View, seed: int, sprites: SpoiltAtlas, mixture: Mixture, first_step: int = 0
    ) -> None:
        self._view, self._seed, self._sprites, self._mixture = view, seed, sprites, mixture
        self._next, self._drawn = first_step, -1
        self._device = sprites.atlas.device
        self._side = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        if self._side is not None:  # the sprites may still be in the making
            self._side.wait_stream(torch.cuda.current_stream(self._device))
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[tuple[JudgeBatch, torch.cuda.Event | None]]] = deque()

    def __iter__(self) -> Iterator[JudgeBatch]:
        return self

    def __next__(self) -> JudgeBatch:
        while len(self._waiting) < _AHEAD:
            self._waiting.append(self._pool.submit(self._make, self._next))
            self._next += 1
        batch, ready = self._waiting.popleft().result()
        if ready is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(ready)
            for tensor in (batch.images, *batch.labels.tensors()):
                tensor.record_stream(current)
        return batch

    @torch.no_grad()
    def _make(self, step: int) -> tuple[JudgeBatch, torch.cuda.Event | None]:
        seed = self._seed * _SEEDS + step
        scenes = mixed_scenes(self._view.batch, seed, self._mixture, self._sprites.count)
        if self._side is None:
            return self._composed(scenes, step), None
        with torch.cuda.stream(self._side):
            batch = self._composed(scenes, step)
            ready = torch.cuda.Event()
            ready.record(self._side)
        return batch, ready

    def _composed(self, scenes: SceneBatch, step: int) -> JudgeBatch:
        if step // _FRESH != self._drawn:
            self._drawn = step // _FRESH
            self._sprites.redraw(self._seed * _SEEDS + self._drawn)
        atlas = self._sprites.atlas
        images = compose(scenes, atlas, self._view.size)
        nothing = torch.zeros(0, dtype=torch.long)
        labels = labels_of(scenes, atlas.extent)
        return JudgeBatch(self._view, images, nothing, nothing, labels)

    def close(self) -> None:
        """Stop composing ahead."""
        self._pool.shutdown(wait=True, cancel_futures=True)
