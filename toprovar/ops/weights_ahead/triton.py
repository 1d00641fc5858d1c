"""One request for every cache line of a tensor. A program asks for many lines and ends at once."""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..registry import Kernel

LINE = 128
"""Bytes of a line of the cache."""
LINES = 2048
"""Of a program: 256 KiB."""
WARPS = 4


@triton.jit
def lines_of(weight, lines, ELEMENTS: tl.constexpr, LINES: tl.constexpr):
    """Where a program's lines begin; beyond the last one, the last one again."""
    line = tl.program_id(0).to(tl.int64) * LINES + tl.arange(0, LINES)
    return weight + tl.minimum(line, lines - 1) * ELEMENTS


@triton.jit
def ask_for_lines(weight, lines, ELEMENTS: tl.constexpr, LINES: tl.constexpr):
    place = lines_of(weight, lines, ELEMENTS, LINES).to(tl.int64)
    tl.inline_asm_elementwise("prefetch.global.L2 [$1]; mov.b32 $0, 0;", "=r,l", [place],
                              dtype=tl.int32, is_pure=False, pack=1)


def weights_ahead(weight: Tensor) -> None:
    lines = triton.cdiv(weight.nbytes, LINE)
    if weight.nbytes > _cache_bytes(weight.device):
        return
    with torch.cuda.device_of(weight):
        ask_for_lines[(triton.cdiv(lines, LINES),)](
            weight, lines, ELEMENTS=LINE // weight.element_size(), LINES=LINES, num_warps=WARPS)


_CACHES: dict[int | None, int] = {}


def _cache_bytes(device: torch.device) -> int:
    if device.index not in _CACHES:
        _CACHES[device.index] = torch.cuda.get_device_properties(device).L2_cache_size
    return _CACHES[device.index]


def kernels(capability: int) -> list[Kernel]:
    """See registry.Op.kernels."""
    types = {"bf16": 2, "fp16": 2, "fp32": 4} | ({"fp8e4nv": 1} if capability >= 89 else {})
    return [Kernel(
        label=taken, function=ask_for_lines,
        signature={"weight": f"*{taken}", "lines": "i32", "ELEMENTS": "constexpr",
                   "LINES": "constexpr"},
        constants={"ELEMENTS": LINE // size, "LINES": LINES}, aligned=("weight",),
        options={"num_warps": WARPS}, quick=taken == "bf16",
    ) for taken, size in types.items()]
