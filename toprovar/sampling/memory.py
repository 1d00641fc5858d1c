"""What blocks leave behind: for later blocks of the run, and for those who watch."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Grid = tuple[int, int]
Kept = dict[tuple[int, int], tuple[Tensor, Grid]]
"""(scale, part) -> what a layer left for later scales, and its grid."""


class EntropyListener(Protocol):
    """Somebody who wants entropies out of a run, such as ``entropy.trace.TraceRecorder``."""

    @property
    def heads(self) -> bool:
        """Whether entropies are wanted head by head."""
        ...

    def wants(self, scale: int, layer: int) -> bool: ...

    def record(self, scale: int, layer: int, grid: Grid, entropy: Tensor) -> None:
        """``entropy`` [B, N] float32, or [B, H, N]. Tokens that a layer dropped have the value of
        the scale before, or NaN if there is none (head by head: always NaN)."""
        ...


class Found(NamedTuple):
    """Entropies that were measured: ``entropy`` [B, N], and ``by_head`` [B, H, N] or None."""

    scale: int
    layer: int
    grid: Grid
    entropy: Tensor
    by_head: Tensor | None


class Memory(NamedTuple):
    """All that blocks leave behind for later ones, as references: see ``SparseBlocks``."""

    lengths: tuple[int, ...]
    maps: dict[int, tuple[Tensor, Grid]]
    updates: dict[int, Kept]
    kept: dict[int, Tensor]
    stayed: Tensor | None
    found: tuple[Found, ...]


Room = Callable[[Hashable, Tensor, torch.dtype], Tensor]
"""(name, like, dtype) -> where to write what ``name`` stands for, of the shape of ``like``."""
