"""Attention of image tokens to texts of uneven lengths, which only the device knows.

The kernel reads each row's length itself: nothing waits for the device, and one recorded CUDA
graph serves prompts of any length.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..registry import FLOATS, Backend, Call, Constraints, Op, register
from . import portable

HEAD_SIZES = (64, 80, 96, 104, 112, 120, 128)
"""Served by the Triton kernel; the torch path serves any size."""


def text_attention(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float, *, out: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """softmax(scale q k^T) v over the first ``lengths[r]`` keys of each row r.

    Args:
        q: [R, N, H, D] or [R, N, H * D] float32, bfloat16 or float16, as a projection gives it;
            any strides with contiguous channels.
        k, v: [R, H, Lmax, D] of the same dtype, any strides with contiguous channels: views of a
            buffer made for the longest text. What lies behind a text is not used.
        lengths: [R] int32 on the same device, contiguous, each 1 to Lmax. Its values are not
            looked at here, as that would wait for the device.
        scale: at least 0.
        out: [R, N, H * D] of q's dtype to write to, channels contiguous; None = allocated.

    Returns:
        [R, N, H * D] of q's dtype, as the output projection reads it.

    Raises:
        ValueError: shapes, dtypes or devices do not fit, or ``backend`` cannot serve the call.
    """
    if q.ndim == 3 and k.ndim == 4 and q.shape[-1] == k.shape[1] * k.shape[3]:
        q = q.unflatten(-1, (k.shape[1], k.shape[3]))
    _check(q, k, v, lengths, scale)
    rows, tokens, heads, size = q.shape
    shape = (rows, tokens, heads * size)
    if out is None:
        out = torch.empty(shape, dtype=q.dtype, device=q.device)
    elif out.shape != shape or out.dtype != q.dtype or out.device != q.device:
        raise ValueError(f"text_attention: out must be {list(shape)} {q.dtype} on {q.device}; got "
                         f"{list(out.shape)} {out.dtype} on {out.device}")
    features = []
    if any(x.stride(-1) != 1 for x in (q, k, v, out)):
        features.append("strided channels")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        features.append("gradients")
    call = Call(q.device, q.dtype, size, tuple(features))
    TEXT_ATTENTION.choose(call, backend).function(
        q, k, v, lengths, scale, out.unflatten(-1, (heads, size)))
    return out


def _check(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float) -> None:
    fits = q.ndim == k.ndim == 4 and k.shape == v.shape and min(k.shape) > 0
    if not fits or (q.shape[0], q.shape[2], q.shape[3]) != (k.shape[0], k.shape[1], k.shape[3]):
        raise ValueError("text_attention: expected q [R, N, H, D] or [R, N, H * D] and k, v "
                         f"[R, H, Lmax, D], found q {list(q.shape)}, k {list(k.shape)}, "
                         f"v {list(v.shape)}")
    if lengths.dtype != torch.int32 or lengths.shape != q.shape[:1] or not lengths.is_contiguous():
        raise ValueError(f"text_attention: expected lengths int32 of shape [{q.shape[0]}], "
                         f"contiguous, found {lengths.dtype} of shape {list(lengths.shape)}")
    if any(x.device != q.device for x in (k, v, lengths)) or {k.dtype, v.dtype} != {q.dtype}:
        raise ValueError("text_attention: q, k, v must have one dtype, and one device with "
                         f"lengths; found q {q.dtype} on {q.device}, k {k.dtype} on {k.device}, "
                         f"v {v.dtype} on {v.device}, lengths on {lengths.device}")
    if not 0 <= scale < float("inf"):
        raise ValueError(f"text_attention: scale must be a finite number of at least 0, got "
                         f"{scale}")


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __name__).text_attention


TEXT_ATTENTION = register(Op(
    "text_attention", "Attention to texts whose lengths are read on the device.",
    backends=(
        Backend("triton", _triton, Constraints(
            devices=("cuda",), dtypes=FLOATS, capability=(8, 0), sizes=HEAD_SIZES,
            lacks=frozenset({"gradients", "strided channels"}),
        )),
        Backend("torch", lambda: portable.text_attention),
    ),
    kernels=lambda capability: import_module(".triton", __name__).kernels(capability),
))
