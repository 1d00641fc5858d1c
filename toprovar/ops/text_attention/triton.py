"""Launches attention_entropy's kernel without the entropy, on rows of uneven lengths."""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
from torch import Tensor

from ..attention_entropy.kernel import attend_kernel
from ..attention_entropy.tiles import Tile, small_products
from ..attention_entropy.triton import LOG2_E, NONE, gpu_of, shape_constants, unit_of
from ..attention_entropy.variants import STRIDES, TYPES
from ..registry import Kernel
from . import HEAD_SIZES


def choose(dtype: torch.dtype, capability: int, few: bool) -> Tile:
    """The tile for a call: the work is mostly reading queries and writing results, so it is small
    enough that two or more share a multiprocessor.

    Args:
        few: whether there are fewer programs than multiprocessors.
    """
    if dtype == torch.float32:  # no tensor cores
        return Tile(64, 32, 8, 1)
    if small_products(capability):
        return Tile(64, 32, 4, 2)
    return Tile(64, 64, 4, 3 if few else 2)


def text_attention(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float, out: Tensor,
    tile: Tile | None = None,
) -> None:
    """See reference.py; ``out`` is [R, N, H, D].

    Args:
        tile: other than the table's (to tune it).
    """
    rows, tokens, heads, size = q.shape
    if tokens == 0:
        return
    capability, processors = gpu_of(q.device)
    if tile is None:
        few = triton.cdiv(tokens, 64) * rows * heads < processors
        tile = choose(q.dtype, capability, few)
    unit = unit_of(q, k, v, out)
    views = (q.transpose(1, 2), k, v, out.transpose(1, 2))
    strides = [s // unit for x in views for s in x.stride()[:3]]
    with torch.cuda.device_of(q):
        attend_kernel[(triton.cdiv(tokens, tile.queries) * rows * heads,)](
            q, k, v, out, q, q, float(scale) * LOG2_E, heads, tokens, lengths, *strides, 0, 0,
            **_constants(size, q.dtype, capability, tile, unit,
                         k.stride(2) == v.stride(2) == size),
            num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True,
        )


def _constants(size: int, dtype: torch.dtype, capability: int, tile: Tile, unit: int, dense: bool
               ) -> dict[str, object]:
    return {
        "UNIT": unit, **shape_constants(size, dtype, capability), "DENSE": dense,
        "VALUES": True, "ENTROPY": NONE, "SUBSET": False, "UNEVEN": True,
        "QUERIES": tile.queries, "KEYS": tile.keys, "WALK": tile.walk,
    }


def kernels(capability: int) -> list[Kernel]:
    """See registry.Op.kernels."""
    return [
        _kernel(capability, narrow, size, tile, dense)
        for narrow, dtype in TYPES.items() for size in HEAD_SIZES for dense in (True, False)
        for tile in sorted({choose(dtype, capability, few) for few in (True, False)})
    ]


def _kernel(capability: int, narrow: str, size: int, tile: Tile, dense: bool) -> Kernel:
    dtype = TYPES[narrow]
    constants = _constants(size, dtype, capability, tile, 16 // dtype.itemsize, dense)
    types = {
        **dict.fromkeys(("q", "k", "v", "out", "entropy", "heads"), f"*{narrow}"),
        "c": "fp32", "m_keys": "*i32", **dict.fromkeys(("count", "n", *STRIDES), "i32"),
        **dict.fromkeys(constants, "constexpr"),
    }
    return Kernel(
        f"{narrow} D={size} {tile.queries}x{tile.keys}x{tile.stages}{'' if dense else ', strided'}",
        attend_kernel, {name: types[name] for name in attend_kernel.arg_names}, constants,
        aligned=("q", "k", "v", "out", "entropy", "heads"),
        options={"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True},
        quick=narrow == "bf16" and size in (96, 128),
    )
