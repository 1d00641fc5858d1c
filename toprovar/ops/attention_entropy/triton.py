"""Launches the Triton kernel."""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import functools
import math
from contextlib import nullcontext
from typing import Any

import torch
import triton
from torch import Tensor

from . import tiles
from .kernel import attend_kernel, mean_kernel

LOG2_E = math.log2(math.e)
NONE, PER_HEAD, MEAN = 0, 1, 2
"""What becomes of the entropy. NONE is for benchmarks."""


def attend(
    q: Tensor, k: Tensor, v: Tensor | None, scale: float, out: Tensor | None, found: Tensor | None,
    heads: tuple[int, ...] | None, mean: bool, tile: tiles.Tile | None = None,
) -> None:
    """See reference.attend.

    Args:
        found: None leaves the entropy out (to measure what it costs).
        tile: other than the table's (to tune it).
    """
    batch, count, n, d = q.shape
    if out is None and heads is not None:
        count = len(heads)
    mode = NONE if found is None else MEAN if mean else PER_HEAD
    target: Any = found
    if mode == MEAN:
        target = torch.zeros(batch, n, dtype=torch.int64, device=q.device)
    values = k if v is None else v
    result = q if out is None else out
    unit = unit_of(q, k, values, result)
    dense = k.stride(2) == values.stride(2) == d
    capability, processors = gpu_of(q.device)
    if tile is None:
        few = triton.cdiv(n, 128) * batch * count < processors
        tile = tiles.choose(d, q.dtype, capability, few, dense)
    strides = [s // unit for x in (q, k, values, result) for s in x.stride()[:3]]
    e_b, e_h = 0, 0
    if target is not None:
        e_b, e_h = target.stride(0), target.stride(1) if mode == PER_HEAD else 0
    with torch.cuda.device(q.device) if q.device.type == "cuda" else nullcontext():
        attend_kernel[(triton.cdiv(n, tile.queries) * batch * count,)](
            q, k, values, result, q if target is None else target,
            q if heads is None else _head_table(heads, q.shape[1], out is not None, q.device),
            float(scale) * LOG2_E, count, n, k.shape[2], *strides, e_b, e_h,
            UNIT=unit, **shape_constants(d, q.dtype, capability), DENSE=dense,
            VALUES=v is not None, ENTROPY=mode, SUBSET=heads is not None, UNEVEN=False,
            QUERIES=tile.queries, KEYS=tile.keys, WALK=tile.walk, num_warps=tile.warps,
            num_stages=tile.stages, enable_fp_fusion=True,
        )
        if mode == MEAN and found is not None:
            steps = 2.0**36 * (count if heads is None else len(heads))
            mean_kernel[(triton.cdiv(n, 1024) * batch,)](
                target, found, 1 / steps, n, found.stride(0), BLOCK=1024)


def shape_constants(d: int, dtype: torch.dtype, capability: int) -> dict[str, Any]:
    """How channels are cut. Exact float32 products have no tensor cores: as registers would not
    hold whole rows, logits are added up 16 channels at a time."""
    w_0, w_1, w_2 = tiles.parts(d, dtype, capability)
    exact = dtype == torch.float32
    return {"W_0": w_0, "W_1": w_1, "W_2": w_2, "D": d, "PAIRED": not exact,
            "CHUNK": 16 if exact else 0}


def unit_of(*tensors: Tensor) -> int:
    """Elements in 16 bytes if everything is aligned to that, else 1."""
    unit = 16 // tensors[0].element_size()
    for x in tensors:
        if x.data_ptr() % 16 or any(s % unit for s in x.stride()[:3]):
            return 1
    return unit


@functools.cache
def gpu_of(device: torch.device) -> tuple[int, int]:
    """Compute capability (80, 89, ...) and multiprocessors; the interpreter has any."""
    if device.type != "cuda":
        return 80, 1 << 30  # small tiles, so that small tests have several
    properties = torch.cuda.get_device_properties(device)
    return properties.major * 10 + properties.minor, properties.multi_processor_count


@functools.lru_cache(maxsize=256)
def _head_table(heads: tuple[int, ...], count: int, values: bool, device: torch.device) -> Tensor:
    """See attend_kernel; kept, so that a captured graph copies nothing from the host."""
    table = list(heads)
    if values:
        table = [heads.index(h) if h in heads else -1 for h in range(count)]
    return torch.tensor(table, dtype=torch.int32, device=device)
