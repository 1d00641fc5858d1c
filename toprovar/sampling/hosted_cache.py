"""A KV cache of which some layers wait in host memory between their turns.

Keys and values are written once and read once a scale, so keeping them away costs the bus far less
than keeping weights away, which every scale reads whole. Two rooms on the device take turns:
while a layer works in one, the keys of the next hosted layer are copied into the other. New keys
are copied out after the layer's attention; those of the last scale are not needed any more.

Keys of one row lie together, token after token, so that each copy is one piece:

    host memory of a layer, a room:  [rows, keys, 2 (key, value), heads, channels]
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..host_memory import HostBuffer
from ..rooms import Rooms
from .cache import CacheLayout, KVCache


class HostedCache(KVCache):
    """Keys and values of one run; other arguments as of ``KVCache``.

    Args:
        counts: [scale][layer] keys of a dense run; none of the plans adds more.
        hosted: layers that wait in host memory; the others lie on the device.
        runs_again: whether the last scale's keys must be kept, too, as scales are run again.
    """

    def __init__(self, counts: Sequence[Sequence[int]], hosted: Sequence[int], rows: int,
                 heads: int, head_dim: int, dtype: torch.dtype, device: torch.device,
                 origin: int = 0, runs_again: bool = False) -> None:
        super().__init__(hosted_layout(counts, hosted, runs_again), rows, heads, head_dim, dtype,
                         device, origin)
        self.hosted = tuple(hosted)
        kept = counts if runs_again or len(counts) == 1 else counts[:-1]
        self._host: dict[int, HostBuffer] = {}
        self._stored: dict[int, Tensor] = {}
        for layer in self.hosted:
            shape = (rows, sum(row[layer] for row in kept), 2, heads, head_dim)
            size = torch.empty(shape, dtype=dtype, device="meta").nbytes
            self._host[layer] = HostBuffer(size, device)
            self._stored[layer] = self._host[layer].data.view(dtype).view(shape)
        most = max((sum(row[layer] for row in counts) for layer in self.hosted), default=0)
        self._room = torch.empty(2 if self.hosted else 0, rows, most, 2, heads, head_dim,
                                 dtype=dtype, device=device)
        self._rooms = Rooms(device, self._fetch)
        self._at_room: dict[int, int] = {}
        self._at_work = rows

    @property
    def nbytes(self) -> int:
        """On the device."""
        return super().nbytes + self._room.nbytes

    @property
    def host_bytes(self) -> int:
        """In host memory."""
        return sum(stored.nbytes for stored in self._stored.values())

    def begin(self, layers: Sequence[int], rows: int) -> None:
        self._at_work = rows
        self._rooms.begin([layer for layer in layers if layer in self._stored])

    def end(self) -> None:
        self._rooms.join()

    def new(self, layer: int, count: int, rows: int) -> tuple[Tensor, Tensor]:
        if layer not in self._stored:
            return super().new(layer, count, rows)
        self._at_work = rows
        self._at_room[layer] = self._rooms.use(layer)
        start = self.lengths[layer]
        stop = start + count
        if stop > self._room.shape[2]:
            raise ValueError(f"layer {layer}: {count} keys after {start} do not fit the cache that "
                             "was laid out")
        self.lengths[layer] = stop
        k, v = self._room[self._at_room[layer], self._rows(rows), start:stop].unbind(2)
        return k, v

    def visible(self, layer: int, rows: int) -> tuple[Tensor, Tensor]:
        if layer not in self._stored:
            return super().visible(layer, rows)
        held = self._room[self._at_room[layer], self._rows(rows), : self.lengths[layer]]
        k, v = held.transpose(1, 3).unbind(2)
        return k, v

    def places(self, layer: int, rows: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        if layer not in self._stored:
            return super().places(layer, rows, start, stop)
        k, v = self._room[self._at_room[layer], self._rows(rows), start:stop].unbind(2)
        return k, v

    def put_away(self, layer: int, count: int, rows: int) -> None:
        """Copy the ``count`` newest keys of a layer out, if a later scale may read them."""
        if layer not in self._stored:
            return
        stored, room = self._stored[layer], self._room[self._at_room[layer]]
        stop = self.lengths[layer]
        start, own = stop - count, self._rows(rows)
        if stop > stored.shape[1]:
            return  # of the last scale

        def copy() -> None:
            for row in range(own.start, own.stop):
                stored[row, start:stop].copy_(room[row, start:stop], non_blocking=True)

        self._rooms.send(copy)

    def relaid(self, layout: CacheLayout, rows: range) -> KVCache:
        raise ValueError("a cache in host memory is laid out for the whole run")

    def _fetch(self, layer: int, room: int) -> None:
        length, own = self.lengths[layer], self._rows(self._at_work)
        if length == 0:
            return
        stored, place = self._stored[layer], self._room[room]
        for row in range(own.start, own.stop):
            place[row, :length].copy_(stored[row, :length], non_blocking=True)


def hosted_layout(counts: Sequence[Sequence[int]], hosted: Sequence[int], runs_again: bool = False
                  ) -> CacheLayout:
    """Where the other layers' keys lie on the device: as ``CacheLayout.plan`` puts them."""
    away = set(hosted)
    table = [[0 if layer in away else n for layer, n in enumerate(row)] for row in counts]
    if not any(map(any, table)):
        return CacheLayout((0,) * len(counts[0]), 0)
    return CacheLayout.plan(table, final=not runs_again)


def hosted_sizes(counts: Sequence[Sequence[int]], hosted: Sequence[int], rows: int, width: int,
                 itemsize: int, runs_again: bool = False) -> tuple[int, int]:
    """Bytes of such a cache on the device and in host memory, before there is one.

    Args:
        width: channels of all heads; itemsize: bytes of one.
    """
    kept = counts if runs_again or len(counts) == 1 else counts[:-1]
    most = max((sum(row[layer] for row in counts) for layer in hosted), default=0)
    rooms = 2 * most if hosted else 0
    on_device = hosted_layout(counts, hosted, runs_again).size + rooms
    stored = sum(sum(row[layer] for row in kept) for layer in hosted)
    token = rows * 2 * width * itemsize
    return on_device * token, stored * token
