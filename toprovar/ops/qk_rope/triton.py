"""Queries, keys and values of one token from the fused projection to where attention reads them.

A program holds a token's heads: q, k and v are read once and written once, and the token's row of
the rotation table is read once for both.
"""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..fp8 import Factor
from ..fp8_kernels import to_e4m3
from ..registry import Kernel
from ..token_index import index_row_stride
from .reference import EPS

HEADS = ((16, 128), (28, 128), (8, 96))
"""Heads and head size of the released models, for ahead-of-time compilation."""


@triton.jit
def _unit(x, eps):
    """Rows of ``x`` [heads, size] brought to length 1."""
    length = tl.sqrt(tl.sum(x * x, 1))
    return x / tl.maximum(length, eps)[:, None]


@triton.jit
def _turn(x, cos, sin, HEADS: tl.constexpr, SIZE: tl.constexpr):
    """Neighbouring channels of ``x`` [HEADS, SIZE] turned as pairs; cos, sin [SIZE / 2]."""
    even, odd = tl.split(tl.reshape(x, (HEADS, SIZE // 2, 2)))
    cos, sin = cos[None, :], sin[None, :]
    turned = tl.join(even * cos - odd * sin, odd * cos + even * sin)
    return tl.reshape(turned, (HEADS, SIZE))


@triton.jit
def _narrowed(x, factor, head, heads, BY_HEAD: tl.constexpr):
    """``x`` [HEADS, SIZE] by its factor, in 8 bits."""
    if BY_HEAD:
        factor = tl.load(factor + head, mask=head < heads, other=1.0)[:, None]
    return to_e4m3(x / factor)


@triton.jit
def qkv_rows(
    qkv, rotation, index, head_scale, q_out, k_out, v_out, k_factor, v_factor,
    qkv_row, qkv_token, qkv_part, qkv_head, rotation_row, index_row,
    q_row, q_token, q_head, k_row, k_token, k_head, v_row, v_token, v_head,
    heads, size, eps,
    HAS_INDEX: tl.constexpr, HAS_SCALE: tl.constexpr, HEADS: tl.constexpr, SIZE: tl.constexpr,
    FP8: tl.constexpr, BY_HEAD: tl.constexpr,
):
    """FP8: keys and values are divided by their factors, numbers or (BY_HEAD) one a head."""
    token = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1).to(tl.int64)
    place = token
    if HAS_INDEX:
        place = tl.load(index + row * index_row + token)
    head, channel = tl.arange(0, HEADS), tl.arange(0, SIZE)
    live = (head[:, None] < heads) & (channel[None, :] < size)
    source = (qkv + row * qkv_row + token * qkv_token
              + head[:, None] * qkv_head + channel[None, :])
    turn = rotation + row * rotation_row + place * size + channel
    cos, sin = tl.split(tl.reshape(
        tl.load(turn, mask=channel < size, other=0.0), (SIZE // 2, 2)
    ))

    q = _unit(tl.load(source, mask=live, other=0.0).to(tl.float32), eps)
    if HAS_SCALE:
        q *= tl.load(head_scale + head, mask=head < heads, other=0.0)[:, None]
    target = q_out + row * q_row + token * q_token + head[:, None] * q_head + channel[None, :]
    q = _turn(q, cos, sin, HEADS, SIZE)
    tl.store(target, q.to(q_out.dtype.element_ty), mask=live)

    k = _unit(tl.load(source + qkv_part, mask=live, other=0.0).to(tl.float32), eps)
    target = k_out + row * k_row + token * k_token + head[:, None] * k_head + channel[None, :]
    k = _turn(k, cos, sin, HEADS, SIZE)
    if FP8:
        tl.store(target, _narrowed(k, k_factor, head, heads, BY_HEAD), mask=live)
    else:
        tl.store(target, k.to(k_out.dtype.element_ty), mask=live)

    v = tl.load(source + 2 * qkv_part, mask=live, other=0.0)
    target = v_out + row * v_row + token * v_token + head[:, None] * v_head + channel[None, :]
    if FP8:
        v = v.to(tl.float32)
        tl.store(target, _narrowed(v, v_factor, head, heads, BY_HEAD), mask=live)
    else:
        tl.store(target, v.to(v_out.dtype.element_ty), mask=live)


def rotate_qkv(
    qkv: Tensor, rotation: Tensor, q_out: Tensor, k_out: Tensor, v_out: Tensor,
    head_scale: Tensor | None, index: Tensor | None = None,
    factors: tuple[Factor, Factor] | None = None,
) -> None:
    rows, tokens, _, heads, size = qkv.shape
    if rows == 0 or tokens == 0:
        return
    if index is not None and index.stride(-1) != 1:
        index = index.contiguous()
    options = _options(heads, size)
    with torch.cuda.device_of(qkv):
        qkv_rows[(tokens, rows)](
            qkv, rotation, index, head_scale, q_out, k_out, v_out, *(factors or (None, None)),
            *qkv.stride()[:4], rotation.stride(0) if rotation.ndim == 4 else 0,
            0 if index is None else index_row_stride(index),
            *q_out.stride()[:3], *k_out.stride()[:3], *v_out.stride()[:3],
            heads, size, EPS, HAS_INDEX=index is not None, HAS_SCALE=head_scale is not None,
            FP8=factors is not None,
            BY_HEAD=factors is not None and isinstance(factors[0], Tensor), **options,
        )


def _options(heads: int, size: int) -> dict[str, int]:
    blocks = {"HEADS": triton.next_power_of_2(heads), "SIZE": triton.next_power_of_2(size)}
    return {**blocks, "num_warps": max(1, min(8, blocks["HEADS"] * blocks["SIZE"] // 512))}


def kernels(fp8: bool) -> list[Kernel]:
    """What ``benchmarks.compile_kernels`` compiles, with a cache of 8 bits or without."""
    types = (("bf16", "bf16"), ("fp16", "fp16"), ("fp32", "fp32"), ("fp32", "bf16"),
             ("bf16", "fp32"))
    return [
        _kernel(heads, size, given, taken, indexed, by_head if fp8 else None)
        for heads, size in HEADS for given, taken in types for indexed in (False, True)
        for by_head in ((False, True) if fp8 else (False,))
        if not fp8 or given == taken
    ]


def _kernel(heads: int, size: int, given: str, taken: str, indexed: bool, by_head: bool | None
            ) -> Kernel:
    options = _options(heads, size)
    numbers = [
        "qkv_row", "qkv_token", "qkv_part", "qkv_head", "rotation_row", "index_row",
        *(f"{name}_{axis}" for name in "qkv" for axis in ("row", "token", "head")),
        "heads", "size",
    ]
    fp8 = by_head is not None
    constants = {
        "HAS_INDEX": indexed, "HAS_SCALE": True, "HEADS": options["HEADS"],
        "SIZE": options["SIZE"], "FP8": fp8, "BY_HEAD": bool(by_head),
        **({} if indexed else {"index": None}),
        **({} if fp8 else {"k_factor": None, "v_factor": None}),
    }
    kept = "*fp8e4nv" if fp8 else f"*{taken}"
    pointers = {
        "qkv": f"*{given}", "rotation": "*fp32", "index": "*i64", "head_scale": "*fp32",
        "q_out": f"*{taken}", "k_out": kept, "v_out": kept,
    }
    factor = "*fp32" if by_head else "fp32"
    signature = {**pointers, "k_factor": factor, "v_factor": factor,
                 **dict.fromkeys(numbers, "i32"), "eps": "fp32",
                 **dict.fromkeys(constants, "constexpr")}
    label = f"{given} to {taken}, {heads} x {size}{', indexed' if indexed else ''}"
    return Kernel(
        label=label + (", factor a head" if by_head else ""),
        function=qkv_rows,
        signature=signature,
        constants=constants,
        aligned=tuple(name for name in (*pointers, *numbers)
                      if name not in ("index_row", "heads") and name not in constants),
        options={"num_warps": options["num_warps"]},
        quick=given == taken == "bf16",
    )
