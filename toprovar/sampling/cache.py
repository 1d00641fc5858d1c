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
    """

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
