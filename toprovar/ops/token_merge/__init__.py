"""Adds to a whole scale's residual what was worked out for some of its tokens, and for the others
what an earlier scale's cache says."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor

from ..registry import Backend, Call, Op, register
from ..resize_tokens import TRITON, check_resize, resize_features
from ..token_index import check_index
from . import portable


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __name__).merge_update_


MERGE = register(Op(
    "merge_update_", "Fresh updates of kept tokens and resized cached ones of the others, added.",
    backends=(
        Backend("triton", _triton, TRITON),
        Backend("torch", lambda: portable.merge_update_),
    ),
    size_name="channel count",
    kernels=lambda capability: import_module(".triton", __name__).kernels(),
))


def merge_update_(
    x: Tensor, fresh: Tensor | None, index: Tensor, cached: Tensor, grid: tuple[int, int],
    new_grid: tuple[int, int], mode: str = "area", *, gate: Tensor | None = None,
    out: Tensor | None = None, slots: Tensor | None = None, backend: str = "auto",
) -> Tensor:
    """x += update in place; the update is gate * fresh where ``index`` says so, elsewhere the
    cached one, resized (see reference.py).

    Args:
        x: [R, N, C] residual, N = h2 * w2.
        fresh: [R, n, C] updates of the kept tokens; None leaves those tokens as they are.
        index: [n] or [R, n] int64, the kept tokens, none twice.
        cached: [R, h * w, C] updates of an earlier scale, gates included.
        grid: (h, w) of ``cached``.
        new_grid: (h2, w2) of ``x``.
        mode: how the cache is resized, as in ``resize_tokens``; "area" in FastVAR (arXiv
            2503.23367).
        gate: [R, C] factor on ``fresh``, or None for 1.
        out: [R, N, C] of any float dtype: receives the update, for the next scale. Not without
            ``fresh``.
        slots: ``token_slots(index, N)``, to make it once for many calls.

    Returns:
        ``x``.
    """
    check_resize(cached, grid, new_grid, mode)
    check_index(index, x.shape[0])
    rows, tokens, channels = x.shape
    kept = (rows, index.shape[-1], channels)
    if tokens != new_grid[0] * new_grid[1] or cached.shape[::2] != (rows, channels):
        raise ValueError(
            f"merge_update_: residual of shape {tuple(x.shape)} and cache of shape "
            f"{tuple(cached.shape)} do not fit together and a grid of {new_grid}"
        )
    if fresh is not None and fresh.shape != kept:
        raise ValueError(f"merge_update_: expected fresh updates of shape {kept}, found "
                         f"{tuple(fresh.shape)}")
    if out is not None and (fresh is None or out.shape != x.shape):
        raise ValueError(f"merge_update_: `out` needs fresh updates and the shape "
                         f"{tuple(x.shape)}, found {tuple(out.shape)}")
    features = set(resize_features(cached, grid, new_grid, mode))
    for tensor in (x, out):
        if tensor is not None and tensor.stride(-1) != 1:
            features.add("strided channels")
    call = Call(x.device, x.dtype, channels, tuple(sorted(features)))
    return MERGE.choose(call, backend).function(
        x, fresh, index, cached, grid, new_grid, mode, gate, out, slots
    )
