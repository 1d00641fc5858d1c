"""Selection for several layers at once: as many launches as for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ..minimum import check_selection, tile_size
from ..registry import FLOATS, Backend, Call, Constraints, Op, register


@dataclass(frozen=True, eq=False)
class LayerCounts:
    """How many tokens each of some layers keeps.

    Make it before a CUDA graph is recorded (``of`` copies from the host) and hold it as long as
    the graph lives.

    Attributes:
        each: the counts, for the host: they fix the shapes of the results.
        table: [layers, 2] int32 for the device: each count, and the sum of those before it.
    """

    each: tuple[int, ...]
    table: Tensor

    @classmethod
    def of(cls, each: Sequence[int], device: torch.device | str) -> LayerCounts:
        before = [0, *accumulate(each)][: len(each)]
        rows = list(zip(each, before, strict=True))
        return cls(tuple(each), torch.tensor(rows, dtype=torch.int32, device=device).view(-1, 2))


def select_in_layers(
    scores: Tensor, grid: tuple[int, int], counts: LayerCounts, *, region: int = 0,
    min_per_region: int = 0, backend: str = "auto",
) -> list[Tensor]:
    """``select_tokens`` for the maps of several layers, each with a count of its own.

    Args:
        scores: [L, B, N], N = h * w tokens in row-major order. Any float dtype; NaN counts as -inf.
        grid: (h, w) of the maps.
        counts: tokens that each of the L layers keeps, 0 to N.
        region, min_per_region: as in ``select_tokens``, the same for all layers.

    Returns:
        for each layer [B, count] int64, rising; views of one buffer where the kernel serves.

    Raises:
        ValueError: the arguments do not fit.
    """
    if scores.ndim != 3 or scores.shape[0] != len(counts.each):
        raise ValueError(f"select_in_layers: expected scores [L, B, N] of the {len(counts.each)} "
                         f"layers that have counts, found shape {list(scores.shape)}")
    if counts.table.device != scores.device:
        raise ValueError(f"select_in_layers: scores are on {scores.device}, but counts on "
                         f"{counts.table.device}: make them by LayerCounts.of(counts, device)")
    for count in set(counts.each):
        check_selection(scores.shape[-1], grid, count, region, min_per_region)
    if not counts.each:
        return []
    features = ("strided scores",) if scores.stride(-1) != 1 else ()
    size = tile_size(grid, region if min_per_region else 0)
    call = Call(scores.device, scores.dtype, size, features)
    return SELECT_IN_LAYERS.choose(call, backend).function(
        scores, grid, counts, region, min_per_region)


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __package__).select_in_layers


def _torch() -> Callable[..., Any]:
    return import_module(".portable", __package__).select_in_layers


TRITON = Constraints(
    devices=("cuda",), dtypes=FLOATS, capability=(8, 0), max_size=1 << 14,
    lacks=frozenset({"strided scores"}),
)
SELECT_IN_LAYERS = register(Op(
    "select_in_layers", "The best tokens of several layers at once.",
    backends=(Backend("triton", _triton, TRITON), Backend("torch", _torch)),
    size_name="tile size",
    kernels=lambda capability: import_module(".triton", __package__).kernels(table=True),
))
