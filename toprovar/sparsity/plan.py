"""Which tokens each block works on at each scale: the one thing the scale loop asks of a plan.

How many tokens is known before a run starts, so that the KV cache is allocated once and shapes do
not depend on data. Which tokens is asked when the block is about to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class TokenPlan(Protocol):
    """What the scale loop needs to know about skipping."""

    @property
    def name(self) -> str:
        """Short name for the report."""
        ...

    def keep_counts(self, tokens: Sequence[int], depth: int) -> list[list[int]]:
        """Tokens to process, [scale][layer], each between 0 (block not run) and the scale's all.

        Args:
            tokens: tokens of each scale.
            depth: number of blocks.
        """
        ...

    def select(self, scale: int, layer: int, count: int, x: Tensor) -> Tensor:
        """The tokens to process, asked only where fewer than all are kept.

        Args:
            count: as promised by ``keep_counts``.
            x: [R, N, C] residual before the block.

        Returns:
            Token indices, [count] for all rows alike or [R, count] row by row, int64, each token
            at most once.
        """
        ...


@dataclass(frozen=True)
class DensePlan:
    """Keeps everything."""

    name: str = "dense"

    def keep_counts(self, tokens: Sequence[int], depth: int) -> list[list[int]]:
        return [[n] * depth for n in tokens]

    def select(self, scale: int, layer: int, count: int, x: Tensor) -> Tensor:
        return torch.arange(count, device=x.device)


@dataclass(frozen=True)
class IndexPlan:
    """Fixed tokens for some (scale, layer); everything elsewhere.

    Attributes:
        kept: (scale, layer) -> token indices [n] or [R, n], int64. A dropped token passes the
            block unchanged and leaves no key or value there.
    """

    kept: Mapping[tuple[int, int], Tensor]
    name: str = "indices"

    def keep_counts(self, tokens: Sequence[int], depth: int) -> list[list[int]]:
        counts = [[n] * depth for n in tokens]
        for (scale, layer), index in self.kept.items():
            if not (0 <= scale < len(tokens) and 0 <= layer < depth):
                raise ValueError(
                    f"plan names scale {scale}, layer {layer}, but the run has {len(tokens)} "
                    f"scales and {depth} layers"
                )
            if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < tokens[scale]:
                raise ValueError(
                    f"plan keeps tokens {int(index.min())}..{int(index.max())} at scale {scale}, "
                    f"layer {layer}, which has only {tokens[scale]}"
                )
            if any(row.unique().numel() != row.numel() for row in torch.atleast_2d(index)):
                raise ValueError(f"plan names a token twice at scale {scale}, layer {layer}")
            counts[scale][layer] = index.shape[-1]
        return counts

    def select(self, scale: int, layer: int, count: int, x: Tensor) -> Tensor:
        return self.kept[scale, layer].to(x.device)
