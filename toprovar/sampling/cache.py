"""The KV cache of one run: two tensors, allocated once where the plan is known from the start.

Keys of the last scale are needed only while their own layer runs, so no room is set aside for
them: layers lie in memory in falling order, and at the last scale each layer's new keys spill
over into the room of the layers before it, which the run has done with by then. At 1M pixels that
saves 39 % of the cache, at 0.25M 41 %. A plan that is made inside the run lays the cache out anew
when it is made (``relaid``).

    address  0 ...                                                                      end
             | layer L-1 | ... | layer 1 | layer 0 | spare |
                                     last scale of layer 1 -> |===========|
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class CacheLayout:
    """Where each layer's keys lie.

    Attributes:
        starts: first key of each layer.
        size: keys in all.
    """

    starts: tuple[int, ...]
    size: int

    @staticmethod
    def plan(counts: Sequence[Sequence[int]], final: bool = True) -> CacheLayout:
        """Lay out a run that adds ``counts[scale][layer]`` keys.

        Args:
            final: False = scales follow that are not known yet, so nothing may be overlaid.
        """
        table = [tuple(int(n) for n in row) for row in counts]
        if not table or not table[0]:
            raise ValueError("a cache needs at least one scale and one layer")
        while len(table) > 1 and not any(table[-1]):
            table = table[:-1]  # scales that are not run
        kept = [sum(column) for column in zip(*(table[:-1] if final else table), strict=True)]
        if final and len(table) == 1:
            kept = [0] * len(table[0])
        # Room above a layer is that of the layers before it, which lie higher.
        above = [0, *accumulate(kept)]
        last = table[-1] if final else [0] * len(kept)
        spare = max(max(0, n - room) for n, room in zip(last, above, strict=False))
        total = sum(kept)
        starts = tuple(total - above[layer + 1] for layer in range(len(kept)))
        return CacheLayout(starts, total + spare)


class KVCache:
    """Keys and values of one run.

    Args:
        layout: from :meth:`CacheLayout.plan`.
        rows: R, batch rows (conditional, then unconditional).
        heads, head_dim: H and D.
        origin: number of the first row that is held.

    Attributes:
        first: number of the first row at work; calls count rows from it.
        bounded: whether layers may not hold all their keys.
    """

    bounded = False

    def __init__(
        self, layout: CacheLayout, rows: int, heads: int, head_dim: int,
        dtype: torch.dtype, device: torch.device, origin: int = 0,
    ) -> None:
        self.layout = layout
        self.origin = self.first = origin
        self.lengths = [0] * len(layout.starts)
        shape = (rows, heads, layout.size, head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)

    @property
    def nbytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()

    def relaid(self, layout: CacheLayout, rows: range) -> KVCache:
        """The same keys and values, of the rows of these numbers, laid out anew."""
        _, heads, _, head_dim = self.keys.shape
        other = KVCache(layout, len(rows), heads, head_dim, self.keys.dtype, self.keys.device,
                        rows.start)
        kept = slice(rows.start - self.origin, rows.stop - self.origin)
        for layer, length in enumerate(self.lengths):
            old, new = self.layout.starts[layer], layout.starts[layer]
            for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
                theirs[:, :, new : new + length] = mine[kept, :, old : old + length]
        other.lengths = list(self.lengths)
        return other

    def begin(self, layers: Sequence[int], rows: int) -> None:
        """A scale begins, of ``rows`` rows, in which these layers will work in turn."""

    def end(self) -> None:
        """The layers of a scale are done."""

    def put_away(self, layer: int, count: int, rows: int) -> None:
        """A layer's attention is done: its ``count`` newest keys may go where they wait."""

    def new(self, layer: int, count: int, rows: int) -> tuple[Tensor, Tensor]:
        """Room for ``count`` more keys and values of a layer, counted as there from now on.

        Returns:
            two views [rows, count, H, D] to write to.
        """
        start = self.layout.starts[layer] + self.lengths[layer]
        stop = start + count
        if stop > self.layout.size:
            raise ValueError(f"layer {layer}: {count} keys after {self.lengths[layer]} do not fit "
                             "the cache that was laid out")
        self.lengths[layer] += count
        return self._at(start, stop, rows)

    def places(self, layer: int, rows: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Keys ``start`` to ``stop`` of the layer at work: two views [rows, n, H, D]."""
        first = self.layout.starts[layer]
        return self._at(first + start, first + stop, rows)

    def _at(self, start: int, stop: int, rows: int) -> tuple[Tensor, Tensor]:
        own = self._rows(rows)
        return (
            self.keys[own, :, start:stop].transpose(1, 2),
            self.values[own, :, start:stop].transpose(1, 2),
        )

    def visible(self, layer: int, rows: int) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer so far: two views [rows, H, M, D]."""
        start = self.layout.starts[layer]
        stop = start + self.lengths[layer]
        own = self._rows(rows)
        return self.keys[own, :, start:stop], self.values[own, :, start:stop]

    def _rows(self, rows: int) -> slice:
        first = self.first - self.origin
        return slice(first, first + rows)


class RerunCache(KVCache):
    """The cache of runs whose scales are run again: no layer's keys lie in another's room.

    Keys of the last scale are needed only while their own layer runs. There the layer's earlier
    keys are copied into a room that all layers share, and the new ones are added behind them, so
    that the earlier ones stay where they were. That takes little more than a single run's cache.

    Args:
        counts: [scale][layer] keys of a dense run; none of the plans adds more.
    """

    def __init__(self, counts: Sequence[Sequence[int]], *about: Any) -> None:
        kept = CacheLayout.plan(counts[:-1] or counts, final=False)
        most = max(sum(column) for column in zip(*counts, strict=True))
        super().__init__(CacheLayout(kept.starts, kept.size + most), *about)
        self._shared = kept.size
        self._room = [sum(column[:-1] if len(counts) > 1 else column)
                      for column in zip(*counts, strict=True)]

    def new(self, layer: int, count: int, rows: int) -> tuple[Tensor, Tensor]:
        length = self.lengths[layer]
        if length + count <= self._room[layer]:
            return super().new(layer, count, rows)
        start, first, own = self.layout.starts[layer], self._shared, self._rows(rows)
        stop = first + length + count
        if stop > self.layout.size:
            raise ValueError(f"layer {layer}: {count} keys after {length} do not fit the cache "
                             "that was laid out")
        for held in (self.keys, self.values):
            held[own, :, first : first + length] = held[own, :, start : start + length]
        self.lengths[layer] += count
        return (self.keys[own, :, first + length : stop].transpose(1, 2),
                self.values[own, :, first + length : stop].transpose(1, 2))

    def places(self, layer: int, rows: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        if self.lengths[layer] <= self._room[layer]:
            return super().places(layer, rows, start, stop)
        return self._at(self._shared + start, self._shared + stop, rows)

    def visible(self, layer: int, rows: int) -> tuple[Tensor, Tensor]:
        length = self.lengths[layer]
        if length <= self._room[layer]:
            return super().visible(layer, rows)
        places = slice(self._shared, self._shared + length)
        own = self._rows(rows)
        return self.keys[own, :, places], self.values[own, :, places]
