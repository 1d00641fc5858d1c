"""The merged update in one pass over the residual."""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..registry import Kernel
from ..resize_tokens.triton import (
    MODE_NUMBERS,
    WIDTHS,
    compiled,
    resized_row,
    warps,
)
from ..token_index import index_row_stride, token_slots


@triton.jit
def _add(target, copy, update, live, HAS_OUT: tl.constexpr):
    value = tl.load(target, mask=live, other=0.0).to(tl.float32) + update
    tl.store(target, value.to(target.dtype.element_ty), mask=live)
    if HAS_OUT:
        tl.store(copy, update.to(copy.dtype.element_ty), mask=live)


@triton.jit
def merge_rows(
    x, fresh, gate, slots, cached, out,
    x_row, x_token, fresh_row, fresh_token, gate_row, slots_row, cached_row, cached_token,
    out_row, out_token, h, w, new_h, new_w, channels,
    MODE: tl.constexpr, BLOCK: tl.constexpr, HAS_FRESH: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_OUT: tl.constexpr,
):
    token, row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.arange(0, BLOCK)
    live = c < channels
    slot = tl.load(slots + row * slots_row + token)
    target = x + row * x_row + token.to(tl.int64) * x_token + c
    copy = None
    if HAS_OUT:
        copy = out + row * out_row + token.to(tl.int64) * out_token + c
    if slot < 0:
        update = resized_row(
            cached + row * cached_row, cached_token, token, h, w, new_h, new_w, c, live, MODE
        )
        _add(target, copy, update, live, HAS_OUT)
    else:
        if HAS_FRESH:
            update = tl.load(
                fresh + row * fresh_row + slot.to(tl.int64) * fresh_token + c, mask=live, other=0.0
            ).to(tl.float32)
            if HAS_GATE:
                update *= tl.load(gate + row * gate_row + c, mask=live, other=0.0).to(tl.float32)
            _add(target, copy, update, live, HAS_OUT)


def merge_update_(
    x: Tensor, fresh: Tensor | None, index: Tensor, cached: Tensor, grid: tuple[int, int],
    new_grid: tuple[int, int], mode: str, gate: Tensor | None, out: Tensor | None,
    slots: Tensor | None,
) -> Tensor:
    rows, tokens, channels = x.shape
    if x.numel() == 0:
        return x
    if slots is None:
        slots = token_slots(index, tokens)
    if fresh is not None and fresh.stride(-1) != 1:
        fresh = fresh.contiguous()
    if gate is not None and gate.stride(-1) != 1:
        gate = gate.contiguous()
    block = triton.next_power_of_2(channels)
    options = {
        "MODE": MODE_NUMBERS[mode], "BLOCK": block, "HAS_FRESH": fresh is not None,
        "HAS_GATE": gate is not None, "HAS_OUT": out is not None, "num_warps": warps(block),
    }
    with torch.cuda.device_of(x):
        merge_rows[(tokens, rows)](
            x, fresh, gate, slots, cached, out,
            *x.stride()[:2], *((0, 0) if fresh is None else fresh.stride()[:2]),
            0 if gate is None else gate.stride(0), index_row_stride(slots),
            *cached.stride()[:2], *((0, 0) if out is None else out.stride()[:2]),
            *grid, *new_grid, channels, **options,
        )
    return x


def kernels() -> list[Kernel]:
    """What ``benchmarks.compile_kernels`` compiles."""
    strides = ("x_row", "x_token", "fresh_row", "fresh_token", "gate_row", "slots_row",
               "cached_row", "cached_token", "out_row", "out_token")
    found = []
    for channels in WIDTHS:
        for narrow in ("bf16", "fp16", "fp32"):
            for mode in MODE_NUMBERS:
                for has_fresh, has_out in ((True, False), (True, True), (False, False)):
                    pointers = {
                        "x": "*fp32", "fresh": f"*{narrow}", "gate": "*fp32", "slots": "*i32",
                        "cached": f"*{narrow}", "out": f"*{narrow}",
                    }
                    flags: dict[str, object] = {
                        "HAS_FRESH": has_fresh, "HAS_GATE": has_fresh, "HAS_OUT": has_out,
                        **({} if has_fresh else {"fresh": None, "gate": None}),
                        **({} if has_out else {"out": None}),
                    }
                    label = f"{narrow} {mode}, {channels} channels"
                    label += ", update kept" if has_out else "" if has_fresh else ", dropped only"
                    found.append(compiled(
                        label, merge_rows, pointers, strides, channels, mode, flags,
                        quick=narrow == "bf16" and mode == "area",
                    ))
    return found
