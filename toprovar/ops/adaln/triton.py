"""One pass over rows of the residual: gather, add the gated update, normalise and modulate.

A program holds one token's channels in registers from its only read to its last write. Which steps
take place is fixed when the kernel is compiled, so that three operations share this code.
"""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..fp8 import E4M3
from ..fp8_kernels import store_row
from ..registry import Kernel
from ..token_index import index_row_stride
from .reference import EPS

WIDTHS = (2048, 3584)
"""Channels of the released models, for ahead-of-time compilation."""


@triton.jit
def residual_rows(
    x, index, update, gate, gain, shift, out, out_scale,
    x_row, x_token, index_row, update_row, update_token, gate_row, gain_row, shift_row, out_row,
    channels, eps,
    HAS_INDEX: tl.constexpr, ADD: tl.constexpr, HAS_GATE: tl.constexpr, NORM: tl.constexpr,
    FP8: tl.constexpr, BLOCK: tl.constexpr,
):
    token = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    place = token.to(tl.int64)
    if HAS_INDEX:
        place = tl.load(index + row * index_row + token)
    c = tl.arange(0, BLOCK)
    live = c < channels
    source = x + row * x_row + place * x_token + c
    value = tl.load(source, mask=live, other=0.0).to(tl.float32)
    if ADD:
        change = tl.load(
            update + row * update_row + token.to(tl.int64) * update_token + c, mask=live, other=0.0
        ).to(tl.float32)
        if HAS_GATE:
            change *= tl.load(gate + row * gate_row + c, mask=live, other=0.0).to(tl.float32)
        stored = (value + change).to(x.dtype.element_ty)
        tl.store(source, stored, mask=live)
        value = stored.to(tl.float32)  # what the next reader of the residual would see
    if NORM:
        centred = tl.where(live, value - tl.sum(value, 0) / channels, 0.0)
        scale = 1 / tl.sqrt(tl.sum(centred * centred, 0) / channels + eps)
        a = tl.load(gain + row * gain_row + c, mask=live, other=0.0).to(tl.float32)
        b = tl.load(shift + row * shift_row + c, mask=live, other=0.0).to(tl.float32)
        y = centred * scale * a + b
        target = out + row * out_row + token.to(tl.int64) * channels + c
        if FP8:
            store_row(y, target, out_scale + row * tl.num_programs(0) + token, live)
        else:
            tl.store(target, y.to(out.dtype.element_ty), mask=live)


def modulated_norm(
    x: Tensor, gain: Tensor, shift: Tensor, dtype: torch.dtype, index: Tensor | None = None
) -> Tensor:
    out = _room(x, dtype, index)
    _launch(x, None, None, gain, shift, out, index)
    return out


def gated_add_(
    x: Tensor, update: Tensor, gate: Tensor | None, index: Tensor | None = None
) -> Tensor:
    _launch(x, update, gate, None, None, None, index)
    return x


def gated_add_norm(
    x: Tensor, update: Tensor, gate: Tensor | None, gain: Tensor, shift: Tensor,
    dtype: torch.dtype, index: Tensor | None = None,
) -> Tensor:
    out = _room(x, dtype, index)
    _launch(x, update, gate, gain, shift, out, index)
    return out


def modulated_norm_fp8(
    x: Tensor, gain: Tensor, shift: Tensor, index: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    out, scale = _room(x, E4M3, index), _room_for_scale(x, index)
    _launch(x, None, None, gain, shift, out, index, scale)
    return out, scale


def gated_add_norm_fp8(
    x: Tensor, update: Tensor, gate: Tensor | None, gain: Tensor, shift: Tensor,
    index: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    out, scale = _room(x, E4M3, index), _room_for_scale(x, index)
    _launch(x, update, gate, gain, shift, out, index, scale)
    return out, scale


def _room_for_scale(x: Tensor, index: Tensor | None) -> Tensor:
    tokens = x.shape[1] if index is None else index.shape[-1]
    return torch.empty(x.shape[0], tokens, 1, dtype=torch.float32, device=x.device)


def _room(x: Tensor, dtype: torch.dtype, index: Tensor | None) -> Tensor:
    tokens = x.shape[1] if index is None else index.shape[-1]
    return torch.empty(x.shape[0], tokens, x.shape[2], dtype=dtype, device=x.device)


def _launch(
    x: Tensor, update: Tensor | None, gate: Tensor | None, gain: Tensor | None,
    shift: Tensor | None, out: Tensor | None, index: Tensor | None,
    out_scale: Tensor | None = None,
) -> None:
    rows, tokens, channels = x.shape
    if index is not None:
        tokens = index.shape[-1]
        index = index if index.stride(-1) == 1 else index.contiguous()
    if rows == 0 or tokens == 0:
        return
    if update is not None and update.stride(-1) != 1:
        update = update.contiguous()
    gate, gain, shift = (_dense_channels(v) for v in (gate, gain, shift))
    block = triton.next_power_of_2(channels)
    with torch.cuda.device_of(x):
        residual_rows[(tokens, rows)](
            x, index, update, gate, gain, shift, out, out_scale,
            x.stride(0), x.stride(1),
            0 if index is None else index_row_stride(index),
            0 if update is None else update.stride(0), 0 if update is None else update.stride(1),
            _row_stride(gate), _row_stride(gain), _row_stride(shift),
            0 if out is None else out.stride(0),
            channels, EPS,
            HAS_INDEX=index is not None, ADD=update is not None, HAS_GATE=gate is not None,
            NORM=out is not None, FP8=out_scale is not None, BLOCK=block, num_warps=warps(block),
        )


def warps(block: int) -> int:
    """Warps for ``block`` channels: 16 of them a thread, so that loads are wide and many."""
    return max(1, min(8, block // 512))


def _dense_channels(vector: Tensor | None) -> Tensor | None:
    return vector.contiguous() if vector is not None and vector.stride(-1) != 1 else vector


def _row_stride(vector: Tensor | None) -> int:
    return 0 if vector is None or vector.ndim == 1 else vector.stride(0)


def kernels(add: bool, norm: bool, fp8: bool) -> list[Kernel]:
    """What ``benchmarks.compile_kernels`` compiles for one of the operations."""
    types = (("fp32", "bf16"), ("bf16", "bf16"), ("fp32", "fp32"), ("fp32", "fp16"))
    return [
        _kernel(channels, residual, narrow, indexed, add, norm, fp8)
        for channels in WIDTHS for residual, narrow in types for indexed in (False, True)
        if not fp8 or narrow == "bf16"
    ]


def _kernel(
    channels: int, residual: str, narrow: str, indexed: bool, add: bool, norm: bool, fp8: bool
) -> Kernel:
    absent = {
        name: None for name, there in (
            ("index", indexed), ("update", add), ("gate", add), ("gain", norm), ("shift", norm),
            ("out", norm), ("out_scale", fp8),
        ) if not there
    }
    block = triton.next_power_of_2(channels)
    flags = {"HAS_INDEX": indexed, "ADD": add, "HAS_GATE": add, "NORM": norm, "FP8": fp8,
             "BLOCK": block}
    types = {
        "x": f"*{residual}", "index": "*i64", "update": f"*{narrow}", "gate": "*fp32",
        "gain": "*fp32", "shift": "*fp32", "out": "*fp8e4nv" if fp8 else f"*{narrow}",
        "out_scale": "*fp32",
    }
    numbers = ("x_row", "x_token", "index_row", "update_row", "update_token", "gate_row",
               "gain_row", "shift_row", "out_row", "channels")
    signature = {**types, **dict.fromkeys(numbers, "i32"), "eps": "fp32",
                 **dict.fromkeys(flags, "constexpr")}
    signature.update(dict.fromkeys(absent, "constexpr"))
    return Kernel(
        label=f"{residual} to {narrow}, {channels} channels{', indexed' if indexed else ''}",
        function=residual_rows,
        signature=signature,
        constants={**flags, **absent},
        aligned=tuple(name for name in (*types, *numbers)
                      if name not in absent and name != "index_row"),
        options={"num_warps": warps(block)},
        quick=residual == "fp32" and narrow == "bf16",
    )
