"""L2 norm, head scale and rotation of queries and keys, written where attention reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..fp8 import E4M3, Factor, check_factors
from ..registry import FLOATS, Backend, Call, Constraints, Kernel, Op, register
from ..token_index import check_index
from . import portable


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __name__).rotate_qkv


def _operation(name: str, summary: str, least: tuple[int, int], fp8: bool) -> Op:
    def kernels(capability: int) -> Sequence[Kernel]:
        enough = capability >= 10 * least[0] + least[1]
        return import_module(".triton", __name__).kernels(fp8) if enough else ()

    return register(Op(
        name, summary, kernels=kernels,
        backends=(
            Backend("triton", _triton, Constraints(
                devices=("cuda",), dtypes=FLOATS, capability=least, max_size=256, multiple_of=2,
                lacks=frozenset({"gradients", "strided channels", "more than 16384 channels"}),
            )),
            Backend("torch", lambda: portable.rotate_qkv),
        ),
    ))


ROTATE_QKV = _operation(
    "rotate_qkv",
    "q, k and v of one projection normalised, scaled, turned and written to the KV cache.",
    (8, 0), fp8=False)
ROTATE_QKV_FP8 = _operation(
    "rotate_qkv_fp8", "rotate_qkv into a KV cache of 8-bit numbers.", (8, 9), fp8=True)


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
    head_scale: Tensor | None = None, index: Tensor | None = None, *,
    factors: tuple[Factor, Factor] | None = None, backend: str = "auto",
) -> None:
    """Queries normalised, scaled and turned, keys normalised and turned, values copied.

    Args:
        qkv: [R, n, 3, H, D]; scratch space, its contents are lost.
        rotation: [N, D / 2, 2] or [R, N, D / 2, 2] float32, contiguous: all places of the scale.
        q_out, k_out, v_out: [R, n, H, D], any strides and float dtypes; views of the KV cache.
            Keys and values may both be e4m3: then ``factors`` are needed.
        head_scale: [H] float32 factor on the queries, or None.
        index: [n] or [R, n] int64, each token's place; None where n = N.
        factors: of keys and of values: what is stored is k or v divided by it, and beyond 448 cut
            off. Keys have length 1, so 1 / 448 cuts none. ``widen_cache`` multiplies it back.
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
    narrow = [out.dtype == E4M3 for out in (k_out, v_out)]
    if any(found != (factors is not None) for found in narrow):
        raise ValueError("rotate_qkv: k_out and v_out must both be float8_e4m3fn where factors are "
                         f"given, and only there; found {k_out.dtype} and {v_out.dtype}, factors "
                         f"{'none' if factors is None else 'given'}")
    if factors is not None:
        check_factors(factors, heads, qkv.device)
    features = []
    if any(t.stride(-1) != 1 for t in (qkv, q_out, k_out, v_out)):
        features.append("strided channels")
    if heads * size > 16384:
        features.append("more than 16384 channels")
    if torch.is_grad_enabled() and qkv.requires_grad:
        features.append("gradients")
    call = Call(qkv.device, qkv.dtype, size, tuple(features))
    op = ROTATE_QKV if factors is None else ROTATE_QKV_FP8
    op.choose(call, backend).function(
        qkv, rotation, q_out, k_out, v_out, head_scale, index, factors
    )
