"""Which keys a layer's cache holds for later scales, where it may not hold all.

As ScaleKV chooses them (arXiv 2505.19602, released code): a few tokens of the scale, spread over
its grid, observe. Their own keys stay, and of the others those that the observers' queries and keys
agree with most.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

OBSERVERS = 16
POOL = 5
"""Neighbouring keys over which agreement is pooled: the largest counts."""


class Hold(NamedTuple):
    """How many keys a layer holds after a scale, and whose queries choose them.

    Attributes:
        keys: to hold, 0 = none are needed any more.
        observers: places among the scale's tokens that the layer works on.
    """

    keys: int
    observers: tuple[int, ...]


@lru_cache(maxsize=256)
def hold(keys: int, grid: tuple[int, int], tokens: int) -> Hold:
    """``Hold`` for a layer that works on ``tokens`` of a grid's tokens: where it works on all, the
    observers are the middles of 4 x 4 patches, else they are spread evenly over those it works
    on; on a grid of fewer than 4 x 4, the last ones are."""
    count = min(OBSERVERS, keys, tokens)
    side = math.isqrt(OBSERVERS)
    if min(grid) < side:
        return Hold(keys, tuple(range(tokens - count, tokens)))
    if tokens < grid[0] * grid[1] or count < OBSERVERS:
        return Hold(keys, tuple((2 * n + 1) * tokens // (2 * count) for n in range(count)))
    down, across = (
        [n * (length // side) + (length // side - 1) // 2 for n in range(side)] for length in grid)
    return Hold(keys, tuple(y * grid[1] + x for y in down for x in across))


def select_keys(q: Tensor, k: Tensor, wanted: Hold) -> Tensor:
    """Keys to hold, for each row and head.

    Args:
        q: [R, H, n, D] queries of the scale's tokens; k: [R, H, M, D] all keys, those of the same
            tokens last.

    Returns:
        [R, H, keys] int64, ascending.
    """
    device, own = k.device, k.shape[2] - q.shape[2]
    if wanted.keys == 0:
        return torch.empty(*k.shape[:2], 0, dtype=torch.int64, device=device)
    observers = _places(wanted.observers, device)
    # The sum of the observers' logits, which is linear in their queries.
    asked = q[:, :, observers].float().sum(2, keepdim=True).to(k.dtype)
    agreement = (asked @ k.transpose(2, 3)).squeeze(2).float()
    places = observers + own
    # Filled, not assigned: that would copy a number from the host, which no recording can.
    pooled = F.max_pool1d(agreement.index_fill_(-1, places, -torch.inf), POOL, 1, POOL // 2)
    pooled.index_fill_(-1, places, torch.inf)
    # Neighbours often share the largest: the first of equals stay, on every device.
    best = pooled.argsort(dim=-1, descending=True, stable=True)[..., : wanted.keys]
    return best.sort(-1).values


@lru_cache(maxsize=256)
def _places(observers: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(observers, device=device)
