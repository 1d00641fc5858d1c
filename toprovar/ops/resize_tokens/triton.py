"""Resizing token maps, and adding the result to a residual in the same pass.

Every new token is made of at most two old ones an axis, whose places and shares follow from whole
numbers. A program makes one token; the four old ones come from the cache for all but the first of
its neighbours.
"""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Mapping

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..registry import Kernel

NEAREST, BILINEAR, AREA = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
MODE_NUMBERS = {"nearest": 0, "bilinear": 1, "area": 2}
WIDTHS = (2048, 3584)
MAP_BLOCK = 512


@triton.jit
def taps(i, old, new, MODE: tl.constexpr):
    """First and second old place that new place ``i`` is made of, and the share of the second."""
    if MODE == NEAREST:
        first = (2 * i + 1) * old // (2 * new)
        second = first
        share = 0.0
    elif MODE == BILINEAR:
        place = tl.maximum((2 * i + 1) * old - new, 0)  # in units of 1 / (2 new)
        first = place // (2 * new)
        second = tl.minimum(first + 1, old - 1)
        share = (place - first * 2 * new).to(tl.float32) / (2 * new)
    else:  # a new place is at most as long as an old one, so it touches two at most
        first = i * old // new
        second = ((i + 1) * old + new - 1) // new - 1
        share = 0.5
    return first, second, share


@triton.jit
def resized_row(x, x_token, token, h, w, new_h, new_w, c, live, MODE: tl.constexpr):
    """Channels ``c`` of new token ``token`` in float32; ``x`` points to a row of the batch."""
    top, bottom, down = taps(token // new_w, h, new_h, MODE)
    left, right, across = taps(token % new_w, w, new_w, MODE)
    value = tl.load(x + (top * w + left) * x_token + c, mask=live, other=0.0).to(tl.float32)
    if MODE != NEAREST:
        b = tl.load(x + (top * w + right) * x_token + c, mask=live, other=0.0).to(tl.float32)
        d = tl.load(x + (bottom * w + left) * x_token + c, mask=live, other=0.0).to(tl.float32)
        e = tl.load(x + (bottom * w + right) * x_token + c, mask=live, other=0.0).to(tl.float32)
        value = (1 - down) * ((1 - across) * value + across * b) \
            + down * ((1 - across) * d + across * e)
    return value


@triton.jit
def resize_rows(
    x, out, x_row, x_token, out_row, h, w, new_h, new_w, channels,
    MODE: tl.constexpr, BLOCK: tl.constexpr,
):
    token, row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.arange(0, BLOCK)
    live = c < channels
    value = resized_row(x + row * x_row, x_token, token, h, w, new_h, new_w, c, live, MODE)
    target = out + row * out_row + token.to(tl.int64) * channels + c
    tl.store(target, value.to(out.dtype.element_ty), mask=live)


@triton.jit
def resize_map_rows(
    x, out, x_row, out_row, h, w, new_h, new_w, MODE: tl.constexpr, BLOCK: tl.constexpr,
):
    """Maps of one number a token: a program makes BLOCK of them."""
    row = tl.program_id(1).to(tl.int64)
    token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = token < new_h * new_w
    value = resized_row(x + row * x_row, 1, token, h, w, new_h, new_w, 0, live, MODE)
    tl.store(out + row * out_row + token, value.to(out.dtype.element_ty), mask=live)


def resize_tokens(
    x: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], mode: str
) -> Tensor:
    rows, _, channels = x.shape
    tokens = new_grid[0] * new_grid[1]
    out = torch.empty(rows, tokens, channels, dtype=x.dtype, device=x.device)
    if out.numel() == 0:
        return out
    block = triton.next_power_of_2(channels)
    options = {"MODE": MODE_NUMBERS[mode], "BLOCK": block, "num_warps": warps(block)}
    with torch.cuda.device_of(x):
        resize_rows[(tokens, rows)](
            x, out, x.stride(0), x.stride(1), out.stride(0), *grid, *new_grid, channels, **options
        )
    return out


def resize_maps(
    x: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], mode: str
) -> Tensor:
    """[M, h * w, 1] -> [M, h2 * w2, 1]."""
    maps, tokens = x.shape[0], new_grid[0] * new_grid[1]
    if x.stride(1) != 1:
        x = x.contiguous()
    out = torch.empty(maps, tokens, 1, dtype=x.dtype, device=x.device)
    if maps:
        with torch.cuda.device_of(x):
            resize_map_rows[(triton.cdiv(tokens, MAP_BLOCK), maps)](
                x, out, x.stride(0), tokens, *grid, *new_grid, MODE=MODE_NUMBERS[mode],
                BLOCK=MAP_BLOCK, num_warps=4,
            )
    return out


def warps(block: int) -> int:
    """Warps for ``block`` channels: 16 of them a thread."""
    return max(1, min(8, block // 512))


def kernels(operation: str) -> list[Kernel]:
    """What ``benchmarks.compile_kernels`` compiles for ``resize_tokens`` or ``resize_maps``."""
    if operation == "resize_maps":
        return [_map_kernel(dtype, mode) for dtype in ("fp32", "bf16", "fp16")
                for mode in MODE_NUMBERS]
    return [
        compiled(
            f"{dtype} {mode}, {channels} channels", resize_rows,
            {"x": f"*{dtype}", "out": f"*{dtype}"}, ("x_row", "x_token", "out_row"), channels, mode,
            quick=dtype == "bf16",
        )
        for channels in WIDTHS for dtype in ("bf16", "fp16", "fp32") for mode in MODE_NUMBERS
    ]


def _map_kernel(dtype: str, mode: str) -> Kernel:
    constants = {"MODE": MODE_NUMBERS[mode], "BLOCK": MAP_BLOCK}
    sizes = ("x_row", "out_row", "h", "w", "new_h", "new_w")
    return Kernel(
        label=f"{dtype} {mode}", function=resize_map_rows,
        signature={"x": f"*{dtype}", "out": f"*{dtype}", **dict.fromkeys(sizes, "i32"),
                   **dict.fromkeys(constants, "constexpr")},
        constants=constants, aligned=("x", "out"), options={"num_warps": 4}, quick=dtype == "fp32",
    )


def compiled(
    label: str, function: object, pointers: Mapping[str, str], strides: tuple[str, ...],
    channels: int, mode: str, flags: Mapping[str, object] | None = None, quick: bool = True,
) -> Kernel:
    """One compilation of a kernel that takes pointers, strides, two grids and the channels."""
    block = triton.next_power_of_2(channels)
    constants = {"MODE": MODE_NUMBERS[mode], "BLOCK": block, **(flags or {})}
    sizes = ("h", "w", "new_h", "new_w", "channels")
    signature = {**pointers, **dict.fromkeys((*strides, *sizes), "i32"),
                 **dict.fromkeys(constants, "constexpr")}
    return Kernel(
        label=label, function=function, signature=signature, constants=constants,
        aligned=tuple(name for name in (*pointers, *strides, "channels") if name not in constants),
        options={"num_warps": warps(block)}, quick=quick,
    )
