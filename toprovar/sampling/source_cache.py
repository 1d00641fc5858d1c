"""The KV cache of a run that edits a source picture (VAREdit): the source's keys come first.

In every block but the first, the source's keys and values are the first of the cache. The first
block sees averages instead: the source's rotated keys and its values, averaged to the grid of the
scale at hand. So it keeps the source whole, in a room of its own, and its cache begins with a place
that each scale's averages are written to, right before the keys of the scales:

    room of block 0:       | source, whole |
    cache of block 0:      |    free   | averages | scale 0 | scale 1 | ... |
    cache of block n > 0:  | source, whole        | scale 0 | scale 1 | ... |
    seen of block 0:                   |====================================|
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ..ops.fp8 import E4M3, LARGEST
from ..ops.resize_tokens import resize_tokens
from .bounded_cache import BoundedCache
from .cache import KVCache
from .memory import Grid

FACTORS = (1 / 448, 1 / 8)
"""Of keys and of values in a cache of 8-bit numbers. Keys have length 1; values up to 56 fit."""


class SourceCache:
    """Keys and values of one run; attributes and methods as of ``KVCache``.

    Args:
        inner: holds everything but the first block's source; laid out for as many more keys in
            every layer as the source has tokens.
        grid: of the source's tokens.
        dtype: of the first block's source: that of the cache, or of the blocks where the cache is
            of 8-bit numbers.

    Attributes:
        scale_grid: of the scale at work, to which the first block averages; None = the source is.
    """

    def __init__(self, inner: KVCache | BoundedCache, grid: Grid, rows: int, heads: int,
                 head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        self.inner, self.grid = inner, grid
        self.scale_grid: Grid | None = None
        self._origin = inner.origin
        self._room = torch.empty(2, rows, self.tokens, heads, head_dim, dtype=dtype, device=device)

    @property
    def tokens(self) -> int:
        """Of the source."""
        return self.grid[0] * self.grid[1]

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes + self._room.nbytes

    @property
    def layout(self) -> object:
        return self.inner.layout

    @property
    def bounded(self) -> bool:
        return self.inner.bounded

    @property
    def lengths(self) -> list[int]:
        return self.inner.lengths

    @lengths.setter
    def lengths(self, value: list[int]) -> None:
        self.inner.lengths = value

    @property
    def first(self) -> int:
        return self.inner.first

    @first.setter
    def first(self, value: int) -> None:
        self.inner.first = value

    def relaid(self, layout: object, rows: range) -> SourceCache:
        """See ``KVCache.relaid``; the first block's source stays as it is."""
        self.inner = self.inner.relaid(layout, rows)  # type: ignore[union-attr, arg-type]  # what is bounded is never laid out anew
        return self

    def begin(self, layers: Sequence[int], rows: int) -> None:
        self.inner.begin(layers, rows)

    def end(self) -> None:
        self.inner.end()

    def new(self, layer: int, count: int, rows: int) -> tuple[Tensor, Tensor]:
        """See ``KVCache.new``. Of the first block, the source's averages are written as well."""
        if layer or self.scale_grid is not None:
            found = self.inner.new(layer, count, rows)
            if not layer:
                self._average(rows)
            return found
        if count != self.tokens:
            raise ValueError(f"the source has {self.tokens} tokens, {count} were to be cached")
        self.inner.lengths[0] = count
        k, v = self._room[:, self._rows(rows)]
        return k, v

    def visible(self, layer: int, rows: int) -> tuple[Tensor, Tensor]:
        """All keys and values that a layer sees: two views [rows, H, M, D]."""
        if layer:
            return self.inner.visible(layer, rows)
        if self.scale_grid is None:
            k, v = self._room[:, self._rows(rows)].transpose(2, 3)
            return k, v
        k, v = self.inner.visible(0, rows)
        free = self.tokens - self.ahead(0)
        return k[:, :, free:], v[:, :, free:]

    def ahead(self, layer: int) -> int:
        """Of the keys that a layer sees: how many are the source's, or averages of it."""
        height, width = self.ahead_grid(layer)
        return height * width

    def ahead_grid(self, layer: int) -> Grid:
        """The grid that these form."""
        return self.grid if layer or self.scale_grid is None else self.scale_grid

    def put_away(self, layer: int, count: int, rows: int) -> None:
        if layer or self.scale_grid is not None:
            self.inner.put_away(layer, count, rows)  # type: ignore[union-attr]  # not of what is bounded

    def hold(self, layer: int, rows: int, index: Tensor | None) -> None:
        """See ``BoundedCache.hold``: the source's keys stay, ``index`` counts from behind them."""
        assert isinstance(self.inner, BoundedCache)
        if self.scale_grid is not None:
            self.inner.hold(layer, rows, index, self.tokens)
        elif layer:
            self.inner.hold(layer, rows, index)

    def _average(self, rows: int) -> None:
        """The first block's source at the scale's grid, to where ``visible`` begins."""
        assert self.scale_grid is not None
        places = self.inner.places(0, rows, self.tokens - self.ahead(0), self.tokens)
        for whole, place, factor in zip(self._room[:, self._rows(rows)], places, FACTORS,
                                        strict=True):
            mean = resize_tokens(whole.flatten(2), self.grid, self.scale_grid, "area")
            mean = mean.view(place.shape)
            if place.dtype == E4M3:
                mean = (mean.float() / factor).clamp_(-LARGEST, LARGEST)
            place.copy_(mean)

    def _rows(self, rows: int) -> slice:
        first = self.first - self._origin
        return slice(first, first + rows)


AnyCache: TypeAlias = KVCache | BoundedCache | SourceCache


def source_bytes(tokens: int, rows: int, width: int, dtype: torch.dtype) -> int:
    """What the first block's room takes, before there is one.

    Args:
        tokens: of the source; width: channels of all heads.
    """
    return 2 * tokens * rows * width * dtype.itemsize


def with_source(counts: Sequence[Sequence[int]], tokens: int) -> list[tuple[int, ...]]:
    """``counts[scale][layer]`` keys with the source's ``tokens`` before them, if there are any."""
    rows = [tuple(row) for row in counts]
    return [(tokens,) * len(rows[0]), *rows] if tokens else rows
