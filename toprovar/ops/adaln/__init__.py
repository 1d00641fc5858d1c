"""Adaptive layer norm and gated residual (AdaLN), for all tokens or those of an index set.

README.md counts the bytes of each form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..registry import FLOATS, Backend, Call, Constraints, Kernel, Op, register
from ..token_index import check_index
from . import portable

TRITON = Constraints(
    devices=("cuda",), dtypes=FLOATS, capability=(8, 0), max_size=8192,
    lacks=frozenset({"gradients", "strided channels"}),
)
FP8 = replace(TRITON, capability=(8, 9))
SUMMARIES = {
    "modulated_norm": "LayerNorm, gain and shift of all or gathered tokens.",
    "gated_add_": "gate * update into the residual, for all or scattered tokens.",
    "gated_add_norm": "The gated residual and the next modulated LayerNorm in one pass.",
    "modulated_norm_fp8": "LayerNorm, gain and shift, rounded to 8-bit rows.",
    "gated_add_norm_fp8": "The gated residual and the next LayerNorm, rounded to 8-bit rows.",
}


def _operation(name: str, add: bool, norm: bool, fp8: bool = False) -> Op:
    def load() -> Callable[..., Any]:
        return getattr(import_module(".triton", __name__), name)

    def kernels(capability: int) -> Sequence[Kernel]:
        if fp8 and capability < 89:
            return ()
        return import_module(".triton", __name__).kernels(add, norm, fp8)

    return register(Op(
        name, SUMMARIES[name], size_name="channel count",
        backends=(
            Backend("triton", load, FP8 if fp8 else TRITON),
            Backend("torch", lambda: getattr(portable, name)),
        ),
        kernels=kernels,
    ))


MODULATED_NORM = _operation("modulated_norm", add=False, norm=True)
GATED_ADD = _operation("gated_add_", add=True, norm=False)
GATED_ADD_NORM = _operation("gated_add_norm", add=True, norm=True)
MODULATED_NORM_FP8 = _operation("modulated_norm_fp8", add=False, norm=True, fp8=True)
GATED_ADD_NORM_FP8 = _operation("gated_add_norm_fp8", add=True, norm=True, fp8=True)


def modulated_norm(
    x: Tensor, gain: Tensor, shift: Tensor, dtype: torch.dtype, index: Tensor | None = None,
    *, backend: str = "auto",
) -> Tensor:
    """LayerNorm(x) * gain + shift, computed in float32 and handed on as ``dtype``.

    ``gain`` is 1 + scale, added once a run.

    Args:
        x: [R, N, C].
        gain, shift: [R, C] float32, or [C] for all rows alike.
        index: [n] or [R, n] int64: only these tokens, in this order; None for all.

    Returns:
        [R, N, C] or [R, n, C] of ``dtype``.
    """
    return _chosen(MODULATED_NORM, x, index, backend)(x, gain, shift, dtype, index)


def gated_add_(
    x: Tensor, update: Tensor, gate: Tensor | None, index: Tensor | None = None,
    *, backend: str = "auto",
) -> Tensor:
    """x += gate * update in place, for all tokens or those of ``index``.

    Args:
        x: [R, N, C].
        update: [R, N, C], or [R, n, C] with an index; any float dtype.
        gate: [R, C] or None for 1.
        index: [n] or [R, n] int64, no token twice in a row; None for all tokens.

    Returns:
        ``x``.
    """
    return _chosen(GATED_ADD, x, index, backend)(x, update, gate, index)


def gated_add_norm(
    x: Tensor, update: Tensor, gate: Tensor | None, gain: Tensor, shift: Tensor,
    dtype: torch.dtype, index: Tensor | None = None, *, backend: str = "auto",
) -> Tensor:
    """``gated_add_`` and then ``modulated_norm`` of the same tokens, in one pass.

    Returns:
        The normalised tokens, [R, N, C] or [R, n, C] of ``dtype``; ``x`` is changed in place.
    """
    chosen = _chosen(GATED_ADD_NORM, x, index, backend)
    return chosen(x, update, gate, gain, shift, dtype, index)


def modulated_norm_fp8(
    x: Tensor, gain: Tensor, shift: Tensor, index: Tensor | None = None, *, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """``modulated_norm``, handed on as e4m3 and a factor a token (see ops/fp8_linear).

    Returns:
        [R, N, C] or [R, n, C] e4m3, and [R, N, 1] or [R, n, 1] float32.
    """
    return _chosen(MODULATED_NORM_FP8, x, index, backend)(x, gain, shift, index)


def gated_add_norm_fp8(
    x: Tensor, update: Tensor, gate: Tensor | None, gain: Tensor, shift: Tensor,
    index: Tensor | None = None, *, backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """``gated_add_norm``, handed on as e4m3 and a factor a token; ``x`` is changed in place.

    Returns:
        as ``modulated_norm_fp8``.
    """
    chosen = _chosen(GATED_ADD_NORM_FP8, x, index, backend)
    return chosen(x, update, gate, gain, shift, index)


def _chosen(op: Op, x: Tensor, index: Tensor | None, backend: str) -> Callable[..., Any]:
    features = []
    if index is not None:
        check_index(index, x.shape[0])
    if x.stride(-1) != 1:
        features.append("strided channels")
    if torch.is_grad_enabled() and x.requires_grad:
        features.append("gradients")
    return op.choose(Call(x.device, x.dtype, x.shape[-1], tuple(features)), backend).function
