"""Everything of fixed address that recorded scales read and write, kept from one run to the next.

A run borrows a workspace for as long as it samples. The workspace owns the KV cache, the text's
share, summed codes and what scales leave behind for later ones, and the graphs recorded on them.
Nothing in it outlives the weights: it is dropped when the model goes, moves or changes its dtype.
"""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..graphs import GraphPool
from ..models.replay import Weights, when_moved
from ..models.text import PackedText
from ..models.transformer import InfinityTransformer
from ..ops.fp8 import E4M3
from ..rooms import spread
from ..schedules import ScaleSchedule
from .bounded_cache import BoundedCache, BoundedLayout
from .cache import CacheLayout, KVCache, RerunCache
from .device_text import DeviceText
from .hosted_cache import HostedCache
from .memory import Memory
from .params import EngineOptions
from .scratch import recorded_bytes, scale_bytes
from .source import rotations_of, source_tokens
from .source_cache import AnyCache, SourceCache, with_source
from .sparse import SparseBlocks

logger = logging.getLogger(__name__)

MOST_GRAPHS = 512
"""Recorded scales that a workspace keeps, the latest used. A dense run has 13 at 1M pixels."""
IDLE_SHARE = 1 / 8
"""Of the device's memory: what idle workspaces beside the latest may hold."""


@dataclass
class Recorded:
    """A scale that was recorded.

    Attributes:
        graph: to be replayed; result: what it computes; after: what it leaves behind.
    """

    graph: Any
    result: Tensor
    after: Memory


class Workspace:
    """Fixed addresses for runs of one model, schedule and number of rows.

    Args:
        batch: images; rows: twice as many with guidance.
        room: longest prompt in text tokens.
        bounded: where layers may not hold all their keys; None = they may.
        runs_again: see ``SamplingRun``.
    """

    def __init__(self, transformer: InfinityTransformer, schedule: ScaleSchedule, batch: int,
                 rows: int, room: int, options: EngineOptions,
                 bounded: BoundedLayout | None = None, runs_again: bool = False) -> None:
        shape, self.device = transformer.shape, transformer.null_text.device
        self.room = room
        self.text = DeviceText(transformer, rows, room)
        about = (rows, shape.num_heads, shape.head_dim,
                 options.cache_dtype or transformer.compute_dtype, self.device)
        # A dense run's: any plan's keys fit in, and a scale that two plans begin with alike is
        # recorded once.
        source = source_tokens(shape, schedule)
        counts = with_source([(n,) * shape.depth for n in schedule.tokens], source)
        self.cache: AnyCache
        if bounded is not None:
            self.cache = BoundedCache(bounded, *about)
        elif options.hosted_layers:
            hosted = spread(min(options.hosted_layers, shape.depth), shape.depth)
            self.cache = HostedCache(counts, hosted, *about, runs_again=runs_again)
        elif runs_again:
            self.cache = RerunCache(counts, *about)
        else:
            self.cache = KVCache(CacheLayout.plan(counts), *about)
        grid = schedule.grids[-1]
        #: [B, d, h, w] of a picture to edit
        self.source: Tensor | None = None
        if source:
            wide = transformer.compute_dtype if about[3] == E4M3 else about[3]
            self.cache = SourceCache(self.cache, grid, *about[:3], wide, self.device)
            self.source = torch.zeros(batch, shape.bits_per_token, *grid, device=self.device)
        height, width = (side * shape.patch for side in grid)
        self.codes = torch.zeros(batch, shape.latent_channels, height, width, device=self.device)
        self.source_rotation, self.rotations = rotations_of(shape, schedule, self.device)
        self.pool = GraphPool(self.device)
        self.pool.reserve(recorded_bytes(scale_bytes(
            shape, transformer.compute_dtype, rows, max(schedule.tokens),
            source + sum(schedule.tokens) if options.cache_dtype == E4M3 else 0)))
        self.busy = False
        self.refused = False
        self.replays = self.records = 0
        #: what recorded scales read but never change
        self.constants: dict[Hashable, Any] = {}
        self._held: dict[Hashable, Tensor] = {}
        self._graphs: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._seen: set[int] = set()

    @property
    def nbytes(self) -> int:
        held = sum(tensor.nbytes for tensor in self._held.values())
        return self.cache.nbytes + self.text.nbytes + held

    @property
    def recorded(self) -> int:
        """Graphs at hand."""
        return len(self._graphs)

    def place(self, name: Hashable, like: Tensor, dtype: torch.dtype) -> Tensor:
        """The room of ``name`` for a tensor of this shape; see ``memory.Room``."""
        name = (name, like.shape, dtype)
        if name not in self._held:
            self._held[name] = torch.empty(like.shape, dtype=dtype, device=like.device)
        return self._held[name]

    def load(self, transformer: InfinityTransformer, text: PackedText) -> None:
        """Prepare the text of a new run, and forget the last run's keys."""
        self.cache.lengths = [0] * len(self.cache.lengths)
        bucket = self.text.load(text)
        self.run(("text", bucket), lambda: self.text.prepare(transformer, bucket))

    def run(self, key: Hashable, work: Callable[[], Tensor], blocks: SparseBlocks | None = None,
            at_once: bool = True) -> Tensor:
        """The result of ``work``, computed or replayed.

        Args:
            key: of all that decides what ``work`` does, beside the contents of fixed addresses.
            blocks: whose memory ``work`` changes.
            at_once: record at the first call, not at the second: for what is sure to come again.
        """
        known = self._graphs.get(key)
        if known is not None:
            self._graphs.move_to_end(key)
            known.graph.replay()
            self.replays += 1
            if blocks is not None:
                blocks.restore(known.after)
            return known.result
        before = None if blocks is None else blocks.memory()
        result = work()
        number = hash(key)
        if at_once or number in self._seen:
            self._record(key, work, blocks, before)
        self._seen.add(number)
        return result

    def _record(self, key: Hashable, work: Callable[[], Tensor], blocks: SparseBlocks | None,
                before: Memory | None) -> None:
        if self.refused:
            return
        now = None if blocks is None else blocks.memory()
        try:
            if blocks is not None and before is not None:
                blocks.restore(before)
            graph, result = self.pool.record(work)
        except RuntimeError as error:  # out of memory, or something in it waits for the device
            self.refused = True
            logger.warning("scales cannot be recorded as CUDA graphs and run step by step: %s",
                           str(error).partition("\n")[0])
        else:
            after = NOTHING if blocks is None else blocks.memory()
            self._graphs[key] = Recorded(graph, result, after)
            self.records += 1
        if blocks is not None and now is not None:
            blocks.restore(now)
        while len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)


NOTHING = Memory((), {}, {}, {}, None, ())

Rooms = OrderedDict[Hashable, list[Workspace]]
_ROOMS: weakref.WeakKeyDictionary[InfinityTransformer, tuple[Weights, Rooms]] = \
    weakref.WeakKeyDictionary()


def borrow(transformer: InfinityTransformer, schedule: ScaleSchedule, batch: int, rows: int,
           longest: int, options: EngineOptions, bounded: BoundedLayout | None = None,
           runs_again: bool = False) -> Workspace:
    """A workspace that nobody else uses, until ``give_back``; see ``Workspace``."""
    key = (schedule.grids, schedule.rope_grid, batch, rows, options, bounded, runs_again)
    weights, rooms = _ROOMS.get(transformer, (None, OrderedDict()))
    if weights is None or not weights.unchanged():
        rooms = OrderedDict()  # recorded scales read the weights where they were
        _ROOMS[transformer] = (Weights(transformer, versions=False), rooms)
        when_moved(transformer, _drop_stale)
    mine = rooms.setdefault(key, [])
    rooms.move_to_end(key)
    for workspace in mine:
        if not workspace.busy and workspace.room >= longest:
            workspace.busy = True
            return workspace
    _make_room(rooms, transformer.null_text.device)
    # Room for any prompt: what was recorded is not lost to a longer one.
    room = max(transformer.shape.text_max_length, longest)
    logger.info("preparing %d x %d pixels, %d at once: scales are recorded as CUDA graphs during "
                "the first picture", *reversed(schedule.image_size), batch)
    workspace = Workspace(transformer, schedule, batch, rows, room, options, bounded,
                          runs_again)
    workspace.busy = True
    mine.append(workspace)
    return workspace


def give_back(workspace: Workspace) -> None:
    workspace.busy = False


def release(transformer: InfinityTransformer) -> None:
    """Free what idle workspaces of a model hold: recorded scales and their memory."""
    _ROOMS.pop(transformer, None)


def held_bytes(transformer: InfinityTransformer) -> int:
    """What the workspaces of a model hold on its device, beside the scratch of graphs."""
    _, rooms = _ROOMS.get(transformer, (None, Rooms()))
    return sum(w.nbytes for own in rooms.values() for w in own)


def _drop_stale(transformer: InfinityTransformer) -> None:
    """The weights have moved: free what was recorded on them where they were."""
    known = _ROOMS.get(transformer)
    if known is not None and not known[0].unchanged():
        release(transformer)


def _make_room(rooms: Rooms, device: torch.device) -> None:
    """Drop idle workspaces, the longest unused first, until the rest is small."""
    allowed = float("inf")
    if device.type == "cuda":
        allowed = torch.cuda.get_device_properties(device).total_memory * IDLE_SHARE
    idle = [(key, w) for key, own in rooms.items() for w in own if not w.busy]
    total = sum(w.nbytes for _, w in idle)
    for key, workspace in idle:
        if total <= allowed:
            return
        total -= workspace.nbytes
        rooms[key].remove(workspace)
