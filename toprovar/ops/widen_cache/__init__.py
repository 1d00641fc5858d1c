"""Keys and values kept in 8 bits, made wide for an attention that takes only 16.

    out[0] = k * factor of keys, out[1] = v * factor of values

A KV cache of e4m3 (``qk_rope.rotate_qkv`` writes it) takes half the memory of bfloat16. Before a
layer's attention its part is widened into scratch memory that all layers share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor

from ..fp8 import E4M3, Factor, check_factors
from ..registry import FLOATS, Backend, Call, Constraints, Kernel, Op, register


def widen_cache(
    k: Tensor, v: Tensor, factors: tuple[Factor, Factor], out: Tensor, *, backend: str = "auto"
) -> Tensor:
    """Stored numbers times their factors, in one launch.

    Args:
        k, v: [R, H, M, D] e4m3, any strides with contiguous channels: a layer's part of the cache.
        factors: of keys and of values, as ``rotate_qkv`` took them.
        out: [2, R, H, M, D] float32, bfloat16 or float16, any strides with contiguous channels.

    Returns:
        ``out``.
    """
    if k.ndim != 4 or k.shape != v.shape or out.shape != (2, *k.shape):
        raise ValueError("widen_cache: expected k and v [R, H, M, D] and out [2, R, H, M, D], "
                         f"found {list(k.shape)}, {list(v.shape)} and {list(out.shape)}")
    if k.dtype != E4M3 or v.dtype != E4M3 or out.dtype not in FLOATS:
        raise ValueError(f"widen_cache: expected k and v of {E4M3} and out of a wider float, found "
                         f"{k.dtype}, {v.dtype} and {out.dtype}")
    check_factors(factors, k.shape[1], k.device)
    strided = any(x.stride(-1) != 1 for x in (k, v, out))
    call = Call(k.device, out.dtype, k.shape[-1], ("strided channels",) if strided else ())
    WIDEN_CACHE.choose(call, backend).function(k, v, factors, out)
    return out


def _portable(k: Tensor, v: Tensor, factors: tuple[Factor, Factor], out: Tensor) -> None:
    for wide, stored, factor in zip(out, (k, v), factors, strict=True):
        by_head = factor.view(-1, 1, 1) if isinstance(factor, Tensor) else factor
        wide.copy_(stored.float() * by_head)


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __name__).widen_cache


def _kernels(capability: int) -> Sequence[Kernel]:
    return import_module(".triton", __name__).kernels() if capability >= 89 else ()


WIDEN_CACHE = register(Op(
    "widen_cache", "A KV cache of 8-bit numbers widened for attention.",
    backends=(
        Backend("triton", _triton, Constraints(
            devices=("cuda",), dtypes=FLOATS, capability=(8, 9), max_size=256,
            lacks=frozenset({"strided channels"}),
        )),
        Backend("torch", lambda: _portable),
    ),
    kernels=_kernels,
))
