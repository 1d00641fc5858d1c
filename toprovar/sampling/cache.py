"""The KV cache of one run: two tensors, allocated once, never grown or concatenated.

Keys of the last scale are needed only while their own layer runs, so no room is set aside for
them: layers lie in memory in falling order, and at the last scale each layer's new keys spill
over into the room of the layers before it, which the run has done with by then. At 1M pixels that
saves 39 % of the cache, at 0.25M 41 %.

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
        counts: keys added, [scale][layer].
        starts: first key of each layer.
        offsets: [scale][layer], keys of the layer before the scale.
        size: keys in all.
    """

    counts: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]
    offsets: tuple[tuple[int, ...], ...]
    size: int

    @staticmethod
    def plan(counts: Sequence[Sequence[int]]) -> CacheLayout:
        """Lay out a run that adds ``counts[scale][layer]`` keys."""
        table = tuple(tuple(int(n) for n in row) for row in counts)
        if not table or not table[0]:
            raise ValueError("a cache needs at least one scale and one layer")
        offsets = [tuple(0 for _ in table[0])]
        for row in table[:-1]:
            offsets.append(tuple(o + n for o, n in zip(offsets[-1], row, strict=True)))
        kept = offsets[-1]  # keys each layer holds when the last scale begins
        # Room above a layer is that of the layers before it, which lie higher.
        above = [0, *accumulate(kept)]
        spare = max(max(0, last - room) for last, room in zip(table[-1], above, strict=False))
        total = sum(kept)
        starts = tuple(total - above[layer + 1] for layer in range(len(kept)))
        return CacheLayout(table, starts, tuple(offsets), total + spare)


class KVCache:
    """Keys and values of one run.

    Args:
        layout: from :meth:`CacheLayout.plan`.
        rows: R, batch rows (conditional and unconditional).
        heads, head_dim: H and D.
    """

    def __init__(
        self, layout: CacheLayout, rows: int, heads: int, head_dim: int,
        dtype: torch.dtype, device: torch.device,
    ) -> None:
        self.layout = layout
        shape = (rows, heads, layout.size, head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)

    @property
    def nbytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()

    def new(self, scale: int, layer: int) -> tuple[Tensor, Tensor]:
        """Room for the scale's own keys and values: two views [R, n, H, D] to write to."""
        start = self.layout.starts[layer] + self.layout.offsets[scale][layer]
        stop = start + self.layout.counts[scale][layer]
        return (
            self.keys[:, :, start:stop].transpose(1, 2),
            self.values[:, :, start:stop].transpose(1, 2),
        )

    def visible(self, scale: int, layer: int) -> tuple[Tensor, Tensor]:
        """All keys and values up to and with the scale: two views [R, H, M, D]."""
        start = self.layout.starts[layer]
        stop = start + self.layout.offsets[scale][layer] + self.layout.counts[scale][layer]
        return self.keys[:, :, start:stop], self.values[:, :, start:stop]
