"""GroupNorm and SiLU of channels-last pictures, with what a convolution leaves undone before them.

Group norm is a scale and a shift for each channel of an image, once its statistics are known. So
there are two steps: one reads the picture (adding, on its way, what belongs to it) and finds scale
and shift, the other applies them and SiLU. README.md counts the bytes of each form.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..registry import FLOATS, Backend, Call, Constraints, Op, register
from . import portable
from .norm import Affine, Norm
from .phases import join_phases, phase_weight

__all__ = ["Affine", "Norm", "affine_silu", "group_norm_silu", "join_phases", "norm_affine",
           "phase_weight", "sum_affine_", "sum_channels_"]

LAYOUT = "a layout other than channels last"
TRITON = Constraints(
    devices=("cuda",), dtypes=FLOATS, capability=(8, 0), max_size=2048,
    lacks=frozenset({"gradients", LAYOUT}),
)
SUMMARIES = {
    "norm_affine": "Statistics of group norm, as a scale and a shift for each channel.",
    "sum_affine_": "A residual block's sum, or an upsampling's, and the next norm's statistics.",
    "sum_channels_": "A residual block's sum with the biases of its convolutions.",
    "affine_silu": "Scale and shift of each channel, then SiLU.",
}


def _operation(name: str) -> Op:
    def load() -> Callable[..., Any]:
        return getattr(import_module(".triton", __name__), name)

    return register(Op(
        name, SUMMARIES[name], size_name="channel count",
        backends=(
            Backend("triton", load, TRITON),
            Backend("torch", lambda: getattr(portable, name)),
        ),
        kernels=lambda capability: import_module(".compiled", __name__).kernels(name),
    ))


NORM_AFFINE, SUM_AFFINE, SUM_CHANNELS, AFFINE_SILU = map(_operation, SUMMARIES)


def group_norm_silu(
    x: Tensor, norm: Norm, offset: Tensor | None = None, *, backend: str = "auto"
) -> Tensor:
    """silu(GroupNorm(x + offset)), computed in float32.

    Args:
        x: [B, C, H, W], channels last for the kernels.
        norm: weight, bias, groups.
        offset: [C] float32, the bias that the convolution before left out; None for 0.

    Returns:
        [B, C, H, W] of x's dtype, channels last.
    """
    return affine_silu(x, norm_affine(x, norm, offset, backend=backend), backend=backend)


def norm_affine(
    x: Tensor, norm: Norm, offset: Tensor | None = None, *, backend: str = "auto"
) -> Affine:
    """Scale and shift with which GroupNorm(x + offset) = x * scale + shift; x as above."""
    return _chosen(NORM_AFFINE, x, norm.channels, backend)(x, norm, offset)


def sum_affine_(
    x: Tensor, residual: Tensor | None, offset: Tensor | None, norm: Norm, *,
    phases: bool = False, backend: str = "auto",
) -> tuple[Tensor, Affine]:
    """x + residual + offset, rounded to x's dtype, and the scale and shift of its norm.

    Args:
        x: [B, C, H, W]; its memory takes the sum. With ``phases`` [B, 4 C, h + 1, w + 1], the four
            phases of an upsampling to H = 2 h, W = 2 w (see phases.py); it is left as it was.
        residual: [B, C, H, W] of x's dtype, or None for 0.
        offset: [C] float32, or None for 0.

    Returns:
        the sum [B, C, H, W], and (scale, shift) with GroupNorm(sum) = sum * scale + shift.
    """
    _check_sum(x, residual, norm.channels, phases)
    chosen = _chosen(SUM_AFFINE, x, norm.channels, backend, residual)
    return chosen(x, residual, offset, norm, phases)


def sum_channels_(
    x: Tensor, residual: Tensor, offset: Tensor, *, backend: str = "auto"
) -> Tensor:
    """x + residual + offset in x's memory; all as in ``sum_affine_``."""
    _check_sum(x, residual, x.shape[1], False)
    return _chosen(SUM_CHANNELS, x, x.shape[1], backend, residual)(x, residual, offset)


def affine_silu(
    x: Tensor, affine: Affine, in_place: bool = False, *, backend: str = "auto"
) -> Tensor:
    """silu(x * scale + shift) of each channel, in x's dtype and, with ``in_place``, its memory."""
    return _chosen(AFFINE_SILU, x, x.shape[1], backend)(x, affine, in_place)


def _check_sum(x: Tensor, residual: Tensor | None, channels: int, phases: bool) -> None:
    if x.ndim != 4 or x.shape[1] != channels * (4 if phases else 1):
        raise ValueError(f"group norm of {channels} channels: expected [B, "
                         f"{channels * (4 if phases else 1)}, H, W], found {tuple(x.shape)}")
    batch, _, height, width = x.shape
    size = (2 * (height - 1), 2 * (width - 1)) if phases else (height, width)
    if residual is not None and (residual.shape != (batch, channels, *size)
                                 or residual.dtype != x.dtype):
        raise ValueError(
            f"the residual is {tuple(residual.shape)} of {residual.dtype}, expected "
            f"{(batch, channels, *size)} of {x.dtype}"
        )


def _chosen(
    op: Op, x: Tensor, channels: int, backend: str, residual: Tensor | None = None
) -> Callable[..., Any]:
    features = []
    tensors = [x] if residual is None else [x, residual]
    if not all(t.is_contiguous(memory_format=torch.channels_last) for t in tensors):
        features.append(LAYOUT)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        features.append("gradients")
    return op.choose(Call(x.device, x.dtype, channels, tuple(features)), backend).function
