"""Endless batches of freshly drawn scenes, composed one step ahead of the training.

Batch number n is a function of (seed, n) alone, so a resumed run sees what an uninterrupted one
would have seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from training import parallel
from training.data.atlas import SpriteAtlas
from training.data.captions import caption_words
from training.data.compose import compose
from training.data.scene_batch import SceneBatch
from training.data.scenes import Odds, sample_scenes
from training.data.tokenizer import CaptionEncoder
from training.settings import View

_AHEAD = 2
_STEPS_PER_SEED = 10**8
_RANKS_APART = 1000


@dataclass(frozen=True)
class Batch:
    """Pictures and captions of one step, on the training device.

    Attributes:
        images: uint8 [B, 3, S, S].
        ids: int64 [B, L] caption tokens, padded.
        lengths: int64 [B], tokens of each caption.
        slot: place in the view's bank, None without one. The pictures of a slot that came before
            are left out (B is 0 there).
    """

    view: View
    images: Tensor
    ids: Tensor
    lengths: Tensor
    slot: int | None = field(default=None, kw_only=True)


def view_at(views: Sequence[View], seed: int, step: int) -> View:
    """The view that a step trains."""
    share = np.array([view.share for view in views])
    rng = np.random.default_rng([seed, step, 1])
    return views[int(rng.choice(len(views), p=share / share.sum()))]


def scenes_at(view: View, seed: int, step: int) -> SceneBatch:
    """The scenes that a step trains; those of a bank come again, under captions of their own."""
    drawn = seed * _STEPS_PER_SEED + (step % view.bank if view.bank else step)
    scenes = sample_scenes(
        view.batch, drawn, tasks=dict(view.tasks) or None, odds=Odds(placed_single=view.placed),
        salt=view.salt,
    )
    if view.bank:
        rng = np.random.default_rng([seed, step, 2])
        scenes = replace(
            scenes, caption_seed=torch.from_numpy(rng.integers(0, 2**31, view.batch))
        )
    return scenes


def make_batch(
    scenes: SceneBatch, view: View, atlas: SpriteAtlas, encoder: CaptionEncoder,
    slot: int | None = None, draw: bool = True,
) -> Batch:
    """Compose the scenes, if ``draw``, and encode their captions."""
    ids, lengths = encoder.encode_words(caption_words(scenes))
    if draw:
        images = compose(scenes, atlas, view.size)
    else:
        images = torch.empty(0, 3, view.size, view.size, dtype=torch.uint8, device=atlas.device)
    return Batch(view, images, ids.to(atlas.device), lengths.to(atlas.device), slot=slot)


class SceneStream:
    """Iterator of batches from ``first_step`` on. Of several processes each has scenes of its own,
    of the same view at the same step.

    On a GPU the composing runs on a stream of its own: it waits for results on the host, which
    on the training's stream would drain the queue at every step.
    """

    def __init__(
        self,
        views: Sequence[View],
        seed: int,
        atlas: SpriteAtlas,
        encoder: CaptionEncoder,
        first_step: int = 0,
    ) -> None:
        self._views, self._seed, self._atlas, self._encoder = tuple(views), seed, atlas, encoder
        self._own = seed + _RANKS_APART * parallel.rank()
        self._next = first_step
        self._drawn: set[tuple[View, int]] = set()
        self._cuda = atlas.device.type == "cuda"
        self._side = torch.cuda.Stream(atlas.device) if self._cuda else None
        if self._side is not None:  # the atlas may still be in the making
            self._side.wait_stream(torch.cuda.current_stream(atlas.device))
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        while len(self._waiting) < _AHEAD:
            self._waiting.append(self._pool.submit(self._make, self._next))
            self._next += 1
        batch, ready = self._waiting.popleft().result()
        if ready is not None:
            current = torch.cuda.current_stream(self._atlas.device)
            current.wait_event(ready)
            for tensor in (batch.images, batch.ids, batch.lengths):
                tensor.record_stream(current)
        return batch

    def _make(self, step: int) -> tuple[Batch, torch.cuda.Event | None]:
        view = view_at(self._views, self._seed, step)
        if self._side is None:
            return self.composed(view, step), None
        with torch.no_grad(), torch.cuda.stream(self._side):
            batch = self.composed(view, step)
            ready = torch.cuda.Event()
            ready.record(self._side)
        return batch, ready

    def composed(self, view: View, step: int) -> Batch:
        """The batch of a step."""
        scenes = scenes_at(view, self._own, step)
        slot = step % view.bank if view.bank else None
        draw = slot is None or (view, slot) not in self._drawn
        if slot is not None:
            self._drawn.add((view, slot))
        return make_batch(scenes, view, self._atlas, self._encoder, slot, draw)

    def close(self) -> None:
        """Stop composing ahead."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def to_unit(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1
