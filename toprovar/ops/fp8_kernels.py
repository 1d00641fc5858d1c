"""What kernels that write e4m3 share."""

# Triton's calls are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import triton
import triton.language as tl

from . import fp8
from .triton_support import interpreting

LARGEST = tl.constexpr(fp8.LARGEST)
LEAST_PEAK = tl.constexpr(fp8.LEAST_PEAK)
INTERPRETED = tl.constexpr(interpreting())


@triton.jit
def to_e4m3(x):
    """float32 to the nearest e4m3, those beyond +-448 to +-448."""
    if INTERPRETED:  # whose conversion loses a carry into the exponent: leave it nothing to round
        bits = x.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFFF + ((bits >> 20) & 1)) & -0x100000
        coarse = (x + 24576.0) - 24576.0  # 1.5 * 2^14: steps of 2^-9, those of the smallest
        near = tl.where(tl.abs(x) < 0.015625, coarse, bits.to(tl.float32, bitcast=True))
        x = tl.where(near > LARGEST, LARGEST, tl.where(near < -LARGEST, -LARGEST, near))
    return x.to(tl.float8e4nv)


@triton.jit
def store_row(y, out, scale, live):
    """One row ``y`` (0 where not ``live``) as e4m3, and its factor."""
    peak = tl.maximum(tl.max(tl.abs(y), 0), LEAST_PEAK)
    tl.store(out, to_e4m3(y * (LARGEST / peak)), mask=live)
    tl.store(scale, peak / LARGEST)
