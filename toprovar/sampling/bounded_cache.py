"""A KV cache whose layers hold a given number of keys between scales.

Every layer has a room of its own for the keys that it holds. All layers share one working area: a
layer's keys are copied there before a scale's own are written behind them, attention reads them
there, and those that are to stay are copied back. A working area of the largest layer is far
smaller than all layers' keys.

    rooms:   | layer 0 | layer 1 | ... | layer L-1 |
    working: | held keys of the layer at work | its keys of this scale |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from ..sparsity.compiled import CompiledPlan


@dataclass(frozen=True)
class BoundedLayout:
    """Where each layer's keys lie.

    Attributes:
        starts: first key of each layer's room, and the end of the last one.
        working: keys of the working area.
    """

    starts: tuple[int, ...]
    working: int

    @staticmethod
    def plan(plan: CompiledPlan, source: int = 0) -> BoundedLayout:
        """Room for what the steps of a plan hold, and for ``source`` more keys in every layer."""
        depth = len(plan.scales[0].blocks)
        held, working = [source] * depth, 1
        for step in plan.scales:
            for layer, block in enumerate(step.blocks):
                held[layer] = max(held[layer], source + block.held)
                working = max(working, source + block.keys)
        return BoundedLayout((0, *accumulate(held)), working)

    @property
    def size(self) -> int:
        """Keys in all."""
        return self.starts[-1] + self.working


class BoundedCache:
    """Keys and values of one run; arguments and attributes as of ``KVCache``."""

    bounded = True

    def __init__(self, layout: BoundedLayout, rows: int, heads: int, head_dim: int,
                 dtype: torch.dtype, device: torch.device, origin: int = 0) -> None:
        self.layout = layout
        self.origin = self.first = origin
        self.lengths = [0] * (len(layout.starts) - 1)
        self._held = torch.empty(2, rows, heads, layout.starts[-1], head_dim, dtype=dtype,
                                 device=device)
        self._working = torch.empty(2, rows, heads, layout.working, head_dim, dtype=dtype,
                                    device=device)

    @property
    def nbytes(self) -> int:
        return self._held.nbytes + self._working.nbytes

    def begin(self, layers: Sequence[int], rows: int) -> None:
        """See ``KVCache.begin``."""

    def end(self) -> None:
        """See ``KVCache.end``."""

    def new(self, layer: int, count: int, rows: int) -> tuple[Tensor, Tensor]:
        """Bring a layer's keys to the working area, with room for ``count`` more behind them,
        counted as there from now on.

        Returns:
            two views [rows, count, H, D] to write to.
        """
        start = self.lengths[layer]
        stop = start + count
        if stop > self.layout.working:
            raise ValueError(f"layer {layer}: {count} keys after {start} do not fit the cache that "
                             "was laid out")
        own = self._rows(rows)
        self._working[:, own, :, :start] = self._room(layer, start)[:, own]
        self.lengths[layer] = stop
        k, v = self._working[:, own, :, start:stop].transpose(2, 3)
        return k, v

    def visible(self, layer: int, rows: int) -> tuple[Tensor, Tensor]:
        """All keys and values of the layer at work: two views [rows, H, M, D]."""
        k, v = self._working[:, self._rows(rows), :, : self.lengths[layer]]
        return k, v

    def places(self, layer: int, rows: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """See ``KVCache.places``."""
        k, v = self._working[:, self._rows(rows), :, start:stop].transpose(2, 3)
        return k, v

    def hold(self, layer: int, rows: int, index: Tensor | None, kept: int = 0) -> None:
        """Put keys and values of the layer at work away, for later scales.

        Args:
            index: which, [rows, H, n] int64, counted from ``kept`` on; None = all.
            kept: keys at the start that stay as they were put away before.
        """
        own, length = self._rows(rows), self.lengths[layer]
        working = self._working[:, own, :, kept:length]
        if index is not None:
            length = self.lengths[layer] = kept + index.shape[-1]
            wide = index[None, ..., None].expand(2, -1, -1, -1, working.shape[-1])
            # torch gathers no 8-bit floats: their bytes are as good.
            source = working.view(torch.uint8) if working.element_size() == 1 else working
            working = source.gather(3, wide).view(working.dtype)
        self._room(layer, length)[:, own, :, kept:] = working

    def _room(self, layer: int, length: int) -> Tensor:
        start = self.layout.starts[layer]
        if start + length > self.layout.starts[layer + 1]:
            raise ValueError(f"layer {layer}: {length} keys do not fit the room that was laid out")
        return self._held[:, :, :, start : start + length]

    def _rows(self, rows: int) -> slice:
        first = self.first - self.origin
        return slice(first, first + rows)
