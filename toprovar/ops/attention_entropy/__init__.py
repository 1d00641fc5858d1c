"""Attention that also gives each query's entropy, exactly, without the N x M matrix.

H = -sum_j p_j log p_j of the softmax row p, natural logarithm. README.md has the derivation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..registry import FLOATS, Backend, Call, Constraints, Kernel, Op, register

HEAD_SIZES = (64, 80, 96, 104, 112, 120, 128, 224)
"""Served by the Triton kernel; the other backends serve any size."""


def attention_with_entropy(
    q: Tensor, k: Tensor, v: Tensor, scale: float, *, backend: str = "auto",
    heads: Sequence[int] | None = None, mean_heads: bool = False,
    out: Tensor | None = None, entropy_out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """softmax(scale q k^T) v, and the entropy of each softmax row.

    Args:
        q: [B, H, N, D] float32, bfloat16 or float16; k, v: [B, H, M, D] of the same dtype. Any
            strides (a view of a longer KV cache is used in place); channels that are not
            contiguous are copied first.
        scale: at least 0.
        backend: "auto", "triton", "torch" or "reference".
        heads: those whose entropy is wanted, each once; None = all. ``out`` has all heads.
        mean_heads: average the entropy over ``heads``. The result does not depend on the order in
            which the device works.
        out, entropy_out: where to write; None = allocated.

    Returns:
        out: [B, H, N, D] of q's dtype, in memory laid out like q.
        entropy: [B, H, N] (with ``heads`` [B, len(heads), N]; with ``mean_heads`` [B, N]) float32,
            at least 0.

    Raises:
        ValueError: shapes, dtypes or devices do not fit, or ``backend`` cannot serve the call.
    """
    _check(q, k, v, scale)
    q = _dense_channels(q)  # before ``out`` takes its layout
    if out is None:
        out = torch.empty_like(q)
    else:
        _check_result("out", out, tuple(q.shape), q.dtype, q)
    return out, _run(q, k, v, scale, out, entropy_out, heads, mean_heads, backend)


def attention_entropy(
    q: Tensor, k: Tensor, scale: float, *, backend: str = "auto",
    heads: Sequence[int] | None = None, mean_heads: bool = False,
    entropy_out: Tensor | None = None,
) -> Tensor:
    """The entropy alone: values are neither needed nor read; see attention_with_entropy."""
    _check(q, k, None, scale)
    return _run(q, k, None, scale, None, entropy_out, heads, mean_heads, backend)


def _run(
    q: Tensor, k: Tensor, v: Tensor | None, scale: float, out: Tensor | None,
    found: Tensor | None, heads: Sequence[int] | None, mean: bool, backend: str,
) -> Tensor:
    chosen = None if heads is None else _check_heads(heads, q.shape[1])
    if chosen == tuple(range(q.shape[1])):
        chosen = None
    count = q.shape[1] if chosen is None else len(chosen)
    shape = (q.shape[0], q.shape[2]) if mean else (q.shape[0], count, q.shape[2])
    if found is None:
        found = torch.empty(shape, dtype=torch.float32, device=q.device)
    else:
        _check_result("entropy_out", found, shape, torch.float32, q)
    graded = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in (q, k, v))
    call = Call(q.device, q.dtype, q.shape[-1], ("gradients",) if graded else ())
    serve = OP.choose(call, backend).function
    q, k = _dense_channels(q), _dense_channels(k)
    v = None if v is None else _dense_channels(v)
    serve(q, k, v, scale, out, found, chosen, mean)
    return found


def _dense_channels(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _check(q: Tensor, k: Tensor, v: Tensor | None, scale: float) -> None:
    for name, x in (("k", k), ("v", v)):
        if x is None:
            continue
        if x.ndim != 4 or q.ndim != 4 or x.shape[:2] != q.shape[:2] or x.shape[3] != q.shape[3]:
            raise ValueError(
                f"q must be [B, H, N, D] and {name} [B, H, M, D] with the same B, H and D; got "
                f"q {list(q.shape)}, {name} {list(x.shape)}"
            )
        if x.dtype != q.dtype or x.device != q.device:
            raise ValueError(f"q and {name} must have one dtype and device; got q {q.dtype} on "
                             f"{q.device}, {name} {x.dtype} on {x.device}")
    if v is not None and v.shape != k.shape:
        raise ValueError(f"k and v must have the same shape; got {list(k.shape)}, {list(v.shape)}")
    if min(q.shape) < 1 or k.shape[2] < 1:
        raise ValueError(f"at least one query, key, head and row is needed; got q {list(q.shape)}, "
                         f"k {list(k.shape)}")
    if not 0 <= scale < float("inf"):
        raise ValueError(f"scale must be a finite number of at least 0, got {scale}")


def _check_heads(heads: Sequence[int], count: int) -> tuple[int, ...]:
    chosen = tuple(int(h) for h in heads)
    if not chosen or len(set(chosen)) != len(chosen) or not all(0 <= h < count for h in chosen):
        raise ValueError(f"heads must name some of 0..{count - 1}, each once; got {list(chosen)}")
    return chosen


def _check_result(
    name: str, x: Tensor, shape: tuple[int, ...], dtype: torch.dtype, like: Tensor
) -> None:
    if tuple(x.shape) != shape or x.dtype != dtype or x.device != like.device:
        raise ValueError(f"{name} must be {list(shape)} {dtype} on {like.device}; got "
                         f"{list(x.shape)} {x.dtype} on {x.device}")
    if x.stride(-1) != 1 and x.shape[-1] > 1:
        raise ValueError(f"{name} must have a contiguous last dimension; its strides are "
                         f"{list(x.stride())}")


def _triton() -> Callable[..., Any]:
    from .triton import attend

    return attend


def _torch() -> Callable[..., Any]:
    from .portable import attend

    return attend


def _reference() -> Callable[..., Any]:
    from .reference import attend

    return attend


def _kernels(capability: int) -> list[Kernel]:
    from .variants import kernels

    return kernels(capability)


OP = register(Op(
    "attention_entropy",
    "softmax(scale q k^T) v and the entropy of each softmax row, in one pass over the keys.",
    backends=(
        Backend("triton", _triton, Constraints(
            devices=("cuda",), dtypes=FLOATS, capability=(8, 0), sizes=HEAD_SIZES,
            lacks=frozenset({"gradients"}),
        )),
        Backend("torch", _torch, Constraints(dtypes=FLOATS, lacks=frozenset({"gradients"}))),
        Backend("reference", _reference, Constraints(lacks=frozenset({"gradients"}))),
    ),
    kernels=_kernels,
))
