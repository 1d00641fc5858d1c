"""Attention of a scale's queries to a window of the keys of every scale.

The first scales are seen whole, of later ones the tokens around a query's place in the picture:
the attention of next-scale models is mostly local, with sinks in the coarse scales (SparVAR, arXiv
2602.04361). README.md has the geometry and what it costs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..attention_entropy import HEAD_SIZES
from ..registry import FLOATS, Backend, Call, Constraints, Op, register
from ..windows import TILE, Grids, Window, seen_share, visible_keys
from .blocks import WindowBlocks, padded_share, window_blocks

__all__ = ["HEAD_SIZES", "SPARSE_ATTENTION", "TILE", "Grids", "Window", "WindowBlocks",
           "padded_share", "seen_share", "visible_keys", "window_blocks", "windowed_attention"]


def windowed_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, blocks: WindowBlocks, *,
    backend: str = "auto", entropy: bool = False, mean_heads: bool = True,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """softmax(scale q k^T) v over the keys that each query sees.

    Args:
        q: [R, H, N, D] float32, bfloat16 or float16, the tokens of ``blocks.grids[-1]`` in raster
            order; k, v: [R, H, M, D] of the same dtype, the tokens of all ``blocks.grids``, one
            after the other. Any strides (a view of a longer KV cache is used in place); channels
            that are not contiguous are copied first.
        scale: at least 0.
        blocks: what is seen, from window_blocks, on the same device. Its values are not looked at
            here, as that would wait for the device.
        backend: "auto", "triton", "torch" or "reference".
        entropy: whether the entropy of each softmax row over the keys seen is wanted too, natural
            logarithm.
        mean_heads: average the entropy over heads. The result does not depend on the order in
            which the device works.
        out: [R, H, N, D] of q's dtype to write to, channels contiguous; None = allocated.

    Returns:
        out: [R, H, N, D] of q's dtype, in memory laid out like q.
        entropy: [R, N] (without ``mean_heads`` [R, H, N]) float32, at least 0; None if not wanted.

    Raises:
        ValueError: shapes, dtypes or devices do not fit, or ``backend`` cannot serve the call.
    """
    _check(q, k, v, scale, blocks)
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    if out is None:
        out = torch.empty_like(q)
    else:
        _check_out(out, q)
    found = None
    if entropy:
        shape = (q.shape[0], q.shape[2]) if mean_heads else q.shape[:3]
        found = torch.empty(shape, dtype=torch.float32, device=q.device)
    graded = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    call = Call(q.device, q.dtype, q.shape[-1], ("gradients",) if graded else ())
    serve = SPARSE_ATTENTION.choose(call, backend).function
    serve(q, k, v, scale, blocks, out, found, mean_heads)
    return out, found


def _check(q: Tensor, k: Tensor, v: Tensor, scale: float, blocks: WindowBlocks) -> None:
    fits = q.ndim == k.ndim == 4 and k.shape == v.shape and min(q.shape) > 0
    if not fits or (*q.shape[:2], q.shape[3]) != (*k.shape[:2], k.shape[3]):
        raise ValueError("sparse_attention: expected q [R, H, N, D] and k, v [R, H, M, D] with the "
                         f"same R, H and D of at least 1; got q {list(q.shape)}, "
                         f"k {list(k.shape)}, v {list(v.shape)}")
    if (q.shape[2], k.shape[2]) != (blocks.queries, blocks.keys):
        raise ValueError(f"sparse_attention: the window is made for {blocks.queries} queries and "
                         f"{blocks.keys} keys; got {q.shape[2]} and {k.shape[2]}")
    devices = {x.device for x in (q, k, v, blocks.table, blocks.counts)}
    if {k.dtype, v.dtype} != {q.dtype} or len(devices) != 1:
        raise ValueError("sparse_attention: q, k, v must have one dtype, and one device with the "
                         f"window; got q {q.dtype} on {q.device}, k {k.dtype} on {k.device}, "
                         f"v {v.dtype} on {v.device}, the window on {blocks.table.device}")
    if not 0 <= scale < float("inf"):
        raise ValueError("sparse_attention: scale must be a finite number of at least 0, got "
                         f"{scale}")


def _check_out(out: Tensor, q: Tensor) -> None:
    if out.shape != q.shape or out.dtype != q.dtype or out.device != q.device:
        raise ValueError(f"sparse_attention: out must be {list(q.shape)} {q.dtype} on {q.device}; "
                         f"got {list(out.shape)} {out.dtype} on {out.device}")
    if out.stride(-1) != 1 and out.shape[-1] > 1:
        raise ValueError("sparse_attention: out must have contiguous channels; its strides are "
                         f"{list(out.stride())}")


def _of(module: str, name: str) -> Callable[[], Callable[..., Any]]:
    return lambda: getattr(import_module(f".{module}", __name__), name)


SPARSE_ATTENTION = register(Op(
    "sparse_attention", "Attention to a window of the keys of every scale, and its entropy.",
    backends=(
        Backend("triton", _of("triton", "attend"), Constraints(
            devices=("cuda",), dtypes=FLOATS, capability=(8, 0), sizes=HEAD_SIZES,
            lacks=frozenset({"gradients"}),
        )),
        Backend("torch", _of("portable", "attend"), Constraints(
            dtypes=FLOATS, lacks=frozenset({"gradients"}))),
        Backend("reference", _of("reference", "attend"), Constraints(
            lacks=frozenset({"gradients"}))),
    ),
    kernels=lambda capability: _of("variants", "kernels")()(capability),
))
