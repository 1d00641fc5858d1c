"""Guidance, temperature, top-p and the draw of bits, one read of the logits (see fast.py)."""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false, reportInvalidTypeForm=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..registry import Kernel

TILE = 256
"""Groups of four bits a program works on."""


@triton.jit
def _draw(
    logits, out, word, row, row_stride, second_row, token_stride, token, bit, tokens, bits, live,
    cfg, inverse_tau, limit, GUIDED: tl.constexpr,
):
    """One bit of every group from one word of its random numbers."""
    live = live & (bit < bits)
    pair = logits + row * row_stride + token * token_stride + 2 * bit
    delta = tl.load(pair + 1, mask=live, other=0.0).to(tl.float64) \
        - tl.load(pair, mask=live, other=0.0).to(tl.float64)
    if GUIDED:
        other = tl.load(pair + second_row + 1, mask=live, other=0.0).to(tl.float64) \
            - tl.load(pair + second_row, mask=live, other=0.0).to(tl.float64)
        delta = cfg * delta + (1 - cfg) * other
    p = 1 / (1 + tl.exp(-delta * inverse_tau))
    decided = tl.where(p >= 0.5, 1.0, 0.0).to(tl.float64)
    p = tl.where(tl.minimum(p, 1 - p) <= limit, decided, p)
    drawn = (word.to(tl.float64) + 0.5) * 2.3283064365386963e-10 < p  # 2^-32
    tl.store(out + (row * tokens + token) * bits + bit, drawn.to(tl.uint8), mask=live)


@triton.jit
def draw_bits(
    logits, seeds, out, row_stride, token_stride, second_row, tokens, bits, scale,
    cfg: tl.float64, inverse_tau: tl.float64, limit: tl.float64,
    GUIDED: tl.constexpr, TILE: tl.constexpr,
):
    row = tl.program_id(1).to(tl.int64)
    groups = (bits + 3) // 4
    item = tl.program_id(0) * TILE + tl.arange(0, TILE)
    live = item < tokens * groups
    group, place = item % groups, item // groups
    zero = tl.zeros((TILE,), tl.int32)
    w0, w1, w2, w3 = tl.philox(tl.load(seeds + row), group, place, zero + scale, zero)
    token = place.to(tl.int64)
    _draw(logits, out, w0, row, row_stride, second_row, token_stride, token, 4 * group, tokens,
          bits, live, cfg, inverse_tau, limit, GUIDED)
    _draw(logits, out, w1, row, row_stride, second_row, token_stride, token, 4 * group + 1, tokens,
          bits, live, cfg, inverse_tau, limit, GUIDED)
    _draw(logits, out, w2, row, row_stride, second_row, token_stride, token, 4 * group + 2, tokens,
          bits, live, cfg, inverse_tau, limit, GUIDED)
    _draw(logits, out, w3, row, row_stride, second_row, token_stride, token, 4 * group + 3, tokens,
          bits, live, cfg, inverse_tau, limit, GUIDED)


def sample_bits(
    logits: Tensor, seeds: Tensor, scale: int, cfg: float, inverse_tau: float, limit: float
) -> Tensor:
    images, tokens, bits = seeds.shape[0], logits.shape[1], logits.shape[2] // 2
    out = torch.empty(images, tokens, bits, dtype=torch.uint8, device=logits.device)
    if out.numel() == 0:
        return out
    programs = triton.cdiv(tokens * triton.cdiv(bits, 4), TILE)
    options = {"GUIDED": cfg != 1, "TILE": TILE, "num_warps": 4}
    with torch.cuda.device_of(logits):
        draw_bits[(programs, images)](
            logits, seeds, out, logits.stride(0), logits.stride(1), images * logits.stride(0),
            tokens, bits, scale, cfg, inverse_tau, limit, **options,
        )
    return out


def kernels() -> list[Kernel]:
    """What ``benchmarks.compile_kernels`` compiles."""
    pointers = {"seeds": "*i64", "out": "*u8"}
    numbers = ("row_stride", "token_stride", "second_row", "tokens", "bits", "scale")
    floats = dict.fromkeys(("cfg", "inverse_tau", "limit"), "fp64")
    flags = {"GUIDED": "constexpr", "TILE": "constexpr"}
    return [
        Kernel(
            label=f"{dtype}{', guided' if guided else ''}", function=draw_bits,
            signature={"logits": f"*{dtype}", **pointers, **dict.fromkeys(numbers, "i32"),
                       **floats, **flags},
            constants={"GUIDED": guided, "TILE": TILE},
            aligned=("logits", "seeds", "out", "row_stride", "token_stride", "second_row"),
            options={"num_warps": 4}, quick=dtype == "fp32",
        )
        for dtype in ("fp32", "bf16", "fp16") for guided in (False, True)
    ]
