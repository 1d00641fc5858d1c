"""Rows to e4m3 in one pass: a program holds a row from its only read to its last write."""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..fp8 import E4M3
from ..fp8_kernels import store_row
from ..registry import Kernel

WIDTHS = (2048, 3584, 8192, 14336)
"""Channels and hidden channels of the released models, for ahead-of-time compilation."""
SLOPE = tl.constexpr(-2 * math.sqrt(2 / math.pi))


@triton.jit
def quantize_row(
    x, out, scale, x_row, channels, GELU: tl.constexpr, BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    live = c < channels
    value = tl.load(x + row * x_row + c, mask=live, other=0.0).to(tl.float32)
    if GELU:  # 0.5 (1 + tanh u) = 1 / (1 + exp(-2 u))
        cube = value * value * value
        value = value / (1 + tl.exp((value + cube * 0.044715) * SLOPE))
    store_row(value, out + row * channels + c, scale + row, live)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    return _launch(x, gelu=False)


def gelu_quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    return _launch(x, gelu=True)


def _launch(x: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    out = torch.empty(x.shape, dtype=E4M3, device=x.device)
    scale = torch.empty(*x.shape[:-1], 1, dtype=torch.float32, device=x.device)
    if out.numel():
        rows = x.reshape(-1, x.shape[-1])
        block = triton.next_power_of_2(rows.shape[1])
        with torch.cuda.device_of(x):
            quantize_row[(rows.shape[0],)](
                rows, out, scale, rows.stride(0), rows.shape[1], GELU=gelu, BLOCK=block,
                num_warps=warps(block),
            )
    return out, scale


def warps(block: int) -> int:
    """Warps for ``block`` channels: up to 32 of them a thread."""
    return max(1, min(16, block // 1024))


def kernels(capability: int, gelu: bool) -> list[Kernel]:
    """See registry.Op.kernels."""
    return [] if capability < 89 else [
        _kernel(channels, given, gelu) for channels in WIDTHS for given in ("bf16", "fp16", "fp32")
    ]


def _kernel(channels: int, given: str, gelu: bool) -> Kernel:
    block = triton.next_power_of_2(channels)
    constants = {"GELU": gelu, "BLOCK": block}
    return Kernel(
        label=f"{given}, {channels} channels", function=quantize_row,
        signature={"x": f"*{given}", "out": "*fp8e4nv", "scale": "*fp32", "x_row": "i32",
                   "channels": "i32", **dict.fromkeys(constants, "constexpr")},
        constants=constants, aligned=("x", "out", "scale", "x_row", "channels"),
        options={"num_warps": warps(block)}, quick=given == "bf16",
    )
