"""Keys and values from 8 bits to more in one launch: a program widens some keys of a head."""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..fp8 import Factor
from ..registry import Kernel

SIZES = (96, 128)
"""Head sizes of the released models, for ahead-of-time compilation."""
VALUES = 8192
"""Of a program: 64 keys of 128 channels."""


@triton.jit
def widen_keys(
    k, v, out, k_factor, v_factor, heads, keys, size,
    k_row, k_head, k_key, v_row, v_head, v_key, out_part, out_row, out_head, out_key,
    BY_HEAD: tl.constexpr, KEYS: tl.constexpr, SIZE: tl.constexpr,
):
    key = tl.program_id(0).to(tl.int64) * KEYS + tl.arange(0, KEYS)[:, None]
    row = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads).to(tl.int64)
    channel = tl.arange(0, SIZE)[None, :]
    live = (key < keys) & (channel < size)
    target = out + row * out_row + head * out_head + key * out_key + channel
    if tl.program_id(2) == 0:
        source = k + row * k_row + head * k_head + key * k_key + channel
        factor = tl.load(k_factor + head) if BY_HEAD else k_factor
        wide = tl.load(source, mask=live, other=0.0).to(tl.float32) * factor
        tl.store(target, wide.to(out.dtype.element_ty), mask=live)
    else:
        source = v + row * v_row + head * v_head + key * v_key + channel
        factor = tl.load(v_factor + head) if BY_HEAD else v_factor
        wide = tl.load(source, mask=live, other=0.0).to(tl.float32) * factor
        tl.store(target + out_part, wide.to(out.dtype.element_ty), mask=live)


def widen_cache(k: Tensor, v: Tensor, factors: tuple[Factor, Factor], out: Tensor) -> None:
    rows, heads, keys, size = k.shape
    if k.numel() == 0:
        return
    blocks = _blocks(size)
    with torch.cuda.device_of(k):
        widen_keys[(triton.cdiv(keys, blocks["KEYS"]), rows * heads, 2)](
            k, v, out, *factors, heads, keys, size,
            *k.stride()[:3], *v.stride()[:3], *out.stride()[:4],
            BY_HEAD=isinstance(factors[0], Tensor), **blocks, num_warps=8,
        )


def _blocks(size: int) -> dict[str, int]:
    padded = triton.next_power_of_2(size)
    return {"KEYS": VALUES // padded, "SIZE": padded}


def kernels() -> list[Kernel]:
    """See registry.Op.kernels."""
    return [_kernel(size, taken, by_head) for size in SIZES for taken in ("bf16", "fp16", "fp32")
            for by_head in (False, True)]


def _kernel(size: int, taken: str, by_head: bool) -> Kernel:
    constants = {"BY_HEAD": by_head, **_blocks(size)}
    strides = [f"{x}_{axis}" for x in "kv" for axis in ("row", "head", "key")]
    strides += [f"out_{axis}" for axis in ("part", "row", "head", "key")]
    factor = "*fp32" if by_head else "fp32"
    return Kernel(
        label=f"to {taken}, D={size}{', factor a head' if by_head else ''}", function=widen_keys,
        signature={
            "k": "*fp8e4nv", "v": "*fp8e4nv", "out": f"*{taken}", "k_factor": factor,
            "v_factor": factor, **dict.fromkeys(("heads", "keys", "size", *strides), "i32"),
            **dict.fromkeys(constants, "constexpr"),
        },
        constants=constants, aligned=("k", "v", "out", "size", *strides),
        options={"num_warps": 8}, quick=taken == "bf16",
    )
