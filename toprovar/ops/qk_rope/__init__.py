"""L2 norm, head scale and rotation of queries and keys, written where attention reads them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..registry import FLOATS, Backend, Call, Constraints, Op, register
from ..token_index import check_index
from . import portable


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __name__).rotate_qkv


ROTATE_QKV = register(Op(
    "rotate_qkv",
    "q, k and v of one projection normalised, scaled, turned and written to the KV cache.",
    backends=(
        Backend("triton", _triton, Constraints(
            devices=("cuda",), dtypes=FLOATS, capability=(8, 0), max_size=256, multiple_of=2,
            lacks=frozenset({"gradients", "strided channels", "more than 16384 channels"}),
        )),
        Backend("torch", lambda: portable.rotate_qkv),
    ),
    kernels=lambda capability: import_module(".triton", __name__).kernels(),
))


def normalise_rotate(
    x: Tensor, rotation: Tensor, out: Tensor, head_scale: Tensor | None = None
) -> Tensor:
    """Normalise, scale and turn ``x`` into ``out`` (see reference.py).

    Arithmetic is float32; ``out`` may be narrower.

    Args:
        x: [R, N, H, D]; scratch space, its contents are lost.
        rotation: [N, D / 2, 2] or [R, N, D / 2, 2] float32, contiguous.
        out: [R, N, H, D], any strides and float dtype; a view of the KV cache for keys.
        head_scale: [H] float32 or None.
    """
    return portable.normalise_rotate(x, rotation, out, head_scale)


def rotate_qkv(
    qkv: Tensor, rotation: Tensor, q_out: Tensor, k_out: Tensor, v_out: Tensor,
    head_scale: Tensor | None = None, index: Tensor | None = None, *, backend: str = "auto",
) -> None:
    """Queries normalised, scaled and turned, keys normalised and turned, values copied.

    Args:
        qkv: [R, n, 3, H, D]; scratch space, its contents are lost.
        rotation: [N, D / 2, 2] or [R, N, D / 2, 2] float32, contiguous: all places of the scale.
        q_out, k_out, v_out: [R, n, H, D], any strides and float dtypes; views of the KV cache.
        head_scale: [H] float32 factor on the queries, or None.
        index: [n] or [R, n] int64, each token's place; None where n = N.
    """
    rows, tokens, _, heads, size = qkv.shape
    if index is not None:
        check_index(index, rows)
    for name, out in (("q_out", q_out), ("k_out", k_out), ("v_out", v_out)):
        if out.shape != (rows, tokens, heads, size):
            raise ValueError(f"rotate_qkv: expected {name} of shape "
                             f"{(rows, tokens, heads, size)}, found {tuple(out.shape)}")
    places = rotation.shape[-3] if index is None else index.shape[-1]
    if places != tokens or rotation.shape[-2:] != (size // 2, 2):
        raise ValueError(f"rotate_qkv: {tokens} tokens of head size {size} do not fit a rotation "
                         f"table of shape {tuple(rotation.shape)}"
                         + ("" if index is None else f" and an index of {places} places"))
    features = []
    if any(t.stride(-1) != 1 for t in (qkv, q_out, k_out, v_out)):
        features.append("strided channels")
    if heads * size > 16384:
        features.append("more than 16384 channels")
    if torch.is_grad_enabled() and qkv.requires_grad:
        features.append("gradients")
    call = Call(qkv.device, qkv.dtype, size, tuple(features))
    ROTATE_QKV.choose(call, backend).function(
        qkv, rotation, q_out, k_out, v_out, head_scale, index
    )
