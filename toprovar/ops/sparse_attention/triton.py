"""Launches the Triton kernel."""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import triton
from torch import Tensor

from ..attention_entropy.kernel import mean_kernel
from ..attention_entropy.tiles import Tile, parts
from ..attention_entropy.triton import LOG2_E, MEAN, NONE, PER_HEAD, gpu_of, unit_of
from ..windows import TILE
from . import tiles
from .blocks import WindowBlocks
from .kernel import windowed_kernel


def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float, blocks: WindowBlocks, out: Tensor,
    found: Tensor | None, mean: bool, tile: Tile | None = None,
) -> None:
    """See reference.attend.

    Args:
        tile: other than the table's (to tune it); queries and keys divide 64.
    """
    rows, heads, n, d = q.shape
    mode = NONE if found is None else MEAN if mean else PER_HEAD
    target = q if found is None else found
    if mode == MEAN:
        target = torch.zeros(rows, n, dtype=torch.int64, device=q.device)
    e_b, e_h = target.stride()[:2] if mode == PER_HEAD else (target.stride(0), 0)
    unit = unit_of(q, k, v, out)
    capability, _ = gpu_of(q.device)
    if tile is None:
        tile = tiles.choose(d, q.dtype, capability)
    strides = [s // unit for x in (q, k, v, out) for s in x.stride()[:3]]
    programs = blocks.table.shape[0] * (TILE * TILE // tile.queries) * rows * heads
    with torch.cuda.device(q.device) if q.device.type == "cuda" else nullcontext():
        windowed_kernel[(programs,)](
            q, k, v, out, target, blocks.table, blocks.counts, float(scale) * LOG2_E,
            blocks.table.shape[1], heads, *blocks.grids[-1], *strides, e_b, e_h,
            **constants(d, q.dtype, capability, unit, k.stride(2) == v.stride(2) == d, mode, tile),
            num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True,
        )
        if mode == MEAN and found is not None:
            mean_kernel[(triton.cdiv(n, 1024) * rows,)](
                target, found, 1 / (2.0**36 * heads), n, found.stride(0), BLOCK=1024)


def constants(d: int, dtype: torch.dtype, capability: int, unit: int, dense: bool, mode: int,
              tile: Tile) -> dict[str, Any]:
    """The kernel's compile-time constants: exact float32 products add up logits 16 channels at a
    time, as in attention_entropy."""
    w_0, w_1, w_2 = parts(d, dtype, capability)
    return {
        "UNIT": unit, "W_0": w_0, "W_1": w_1, "W_2": w_2, "D": d,
        "CHUNK": 16 if dtype == torch.float32 else 0, "DENSE": dense, "ENTROPY": mode,
        "QUERIES": tile.queries, "KEYS": tile.keys,
    }
