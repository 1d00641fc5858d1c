"""Which tokens a block works on: the best by score, with a minimum per region of the map.

Shapes depend on the arguments alone, nothing waits for the device, and equal scores are decided by
index: the same scores give the same tokens on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..minimum import check_selection, feasible_minimum, tile_size, tokens_required
from ..registry import Backend, Call, Op, register
from . import portable
from .layers import SELECT_IN_LAYERS, TRITON, LayerCounts, select_in_layers

__all__ = [
    "SELECT", "SELECT_IN_LAYERS", "LayerCounts", "check_selection", "feasible_minimum",
    "select_in_layers", "select_tokens", "tokens_required",
]


def select_tokens(
    scores: Tensor, grid: tuple[int, int], count: int, *, region: int = 0,
    min_per_region: int = 0, backend: str = "auto",
) -> Tensor:
    """The ``count`` tokens of highest score (see reference.py).

    Args:
        scores: [N] or [R, N], N = h * w tokens in row-major order; each row is chosen from by
            itself. Any float dtype; NaN counts as -inf.
        grid: (h, w) of the map.
        count: tokens to keep, 0 to N.
        region: side in tokens of the square regions, 0 for none.
        min_per_region: tokens that every region keeps at least (all, if it has fewer).

    Returns:
        [count] or [R, count] int64, rising.

    Raises:
        ValueError: the arguments do not fit; ``check_selection`` says so before a run.
    """
    check_selection(scores.shape[-1], grid, count, region, min_per_region)
    if count == scores.shape[-1]:
        every = torch.arange(count, device=scores.device)
        return every.expand(*scores.shape[:-1], count).contiguous()
    features = ()
    if scores.stride(-1) != 1:
        features = ("strided scores",)
    call = Call(scores.device, scores.dtype, tile_size(grid, region if min_per_region else 0),
                features)
    return SELECT.choose(call, backend).function(scores, grid, count, region, min_per_region)


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __name__).select


SELECT = register(Op(
    "select_tokens", "The best tokens by score with a minimum per region of the map.",
    backends=(Backend("triton", _triton, TRITON), Backend("torch", lambda: portable.select)),
    size_name="tile size",
    kernels=lambda capability: import_module(".triton", __name__).kernels(table=False),
))
