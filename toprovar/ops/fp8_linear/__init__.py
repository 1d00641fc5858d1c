"""Linear layers on e4m3 numbers: twice the products of bfloat16 in the same time, half the bytes.

Weights have one factor an output row, tokens one each, so a large value costs its own row at most.
README.md says what it costs in quality.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fp8 import E4M3, quantize
from ..registry import FLOATS, Backend, Call, Constraints, Op, register

LEAST_TOKENS = 128
"""cuBLASLt has no product of fewer rows by 8192 channels on Hopper (torch 2.11)."""


@dataclass(frozen=True, eq=False)
class Fp8Weight:
    """A weight of a linear layer, rounded once.

    Attributes:
        data: [F, C] e4m3.
        scale: [F, 1] float32.
    """

    data: Tensor
    scale: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> Fp8Weight:
        """Round ``weight`` [F, C], any float dtype."""
        return cls(*quantize(weight))

    @property
    def nbytes(self) -> int:
        return self.data.numel() + 4 * self.scale.numel()


def quantize_rows(x: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Every row of channels as e4m3 numbers, the largest of them 448, and a factor.

    Args:
        x: [..., C] float32, bfloat16 or float16.

    Returns:
        [..., C] e4m3 and [..., 1] float32, both contiguous; their product is about ``x``.
    """
    return _chosen(QUANTIZE_ROWS, x, backend)(x)


def gelu_quantize(x: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """``quantize_rows`` of tanh-GELU(x), which is rounded only once."""
    return _chosen(GELU_QUANTIZE, x, backend)(x)


def fp8_linear(
    x: Tensor, x_scale: Tensor, weight: Fp8Weight, bias: Tensor | None = None,
    out_dtype: torch.dtype = torch.bfloat16, *, backend: str = "auto",
) -> Tensor:
    """(x_scale x) W^T + b, added up in float32.

    On a GPU ask ``why_no_fp8`` first, once.

    Args:
        x: [..., C] e4m3, contiguous; x_scale: [..., 1] float32, as ``quantize_rows`` gives them.
        weight: [F, C].
        bias: [F] of ``out_dtype``, or None.

    Returns:
        [..., F] of ``out_dtype``.

    Raises:
        ValueError: shapes or dtypes do not fit, or ``backend`` cannot serve the call.
    """
    rows, channels = weight.data.shape
    if x.shape[-1] != channels or x_scale.shape != (*x.shape[:-1], 1):
        raise ValueError(f"fp8_linear: expected x [..., {channels}] for a weight [{rows}, "
                         f"{channels}] and x_scale [..., 1], found {list(x.shape)} and "
                         f"{list(x_scale.shape)}")
    if x.dtype != E4M3 or x_scale.dtype != torch.float32:
        raise ValueError(f"fp8_linear: expected x of {E4M3} and x_scale of float32, found "
                         f"{x.dtype} and {x_scale.dtype}: use quantize_rows")
    if bias is not None and (bias.shape != (rows,) or bias.dtype != out_dtype):
        raise ValueError(f"fp8_linear: expected a bias [{rows}] of {out_dtype}, found "
                         f"{list(bias.shape)} of {bias.dtype}")
    features = []
    if out_dtype != torch.bfloat16:
        features.append("other results than bfloat16")
    if rows % 16:
        features.append("output channels that are not a multiple of 16")
    call = Call(x.device, x.dtype, channels, tuple(features))
    chosen = FP8_LINEAR.choose(call, backend).function
    y = chosen(x.reshape(-1, channels), x_scale.reshape(-1, 1), weight, bias, out_dtype)
    return y.unflatten(0, x.shape[:-1])


@lru_cache(maxsize=16)
def why_no_fp8(device: torch.device) -> str | None:
    """None when products of e4m3 rows run on ``device`` and give the right values, else the reason.

    Tried once, which waits for the device: not while a CUDA graph is recorded.
    """
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(48, 64, generator=generator).to(device, torch.bfloat16)
    weight = Fp8Weight.of(torch.randn(32, 64, generator=generator).to(device))
    given = quantize_rows(x)
    try:
        found = fp8_linear(*given, weight, backend="scaled_mm")
    except (ValueError, AttributeError, RuntimeError, NotImplementedError) as error:
        return f"products of 8-bit numbers do not work here: {error}"
    wanted = fp8_linear(*given, weight, backend="torch")
    if not torch.allclose(found.float(), wanted.float(), atol=0.1, rtol=0.02):
        return "torch's products of 8-bit numbers give other values"
    return None


def _scaled_mm(
    x: Tensor, x_scale: Tensor, weight: Fp8Weight, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    few = x.shape[0]
    if few < LEAST_TOKENS:
        more = (0, 0, 0, LEAST_TOKENS - few)
        x = F.pad(x.view(torch.uint8), more).view(E4M3)
        x_scale = F.pad(x_scale, more, value=1.0)
    y = torch.ops.aten._scaled_mm(x, weight.data.t(), x_scale, weight.scale.t(), bias,
                                  out_dtype=dtype, use_fast_accum=True)
    return y[:few]


def _portable(
    x: Tensor, x_scale: Tensor, weight: Fp8Weight, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    y = F.linear(x.float(), weight.data.float()) * x_scale * weight.scale.t()
    return (y if bias is None else y + bias.float()).to(dtype)


def _gelu_quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    return quantize(F.gelu(x.float(), approximate="tanh"))


def _chosen(op: Op, x: Tensor, backend: str) -> Callable[..., Any]:
    features = []
    if x.stride(-1) != 1:
        features.append("strided channels")
    if torch.is_grad_enabled() and x.requires_grad:
        features.append("gradients")
    return op.choose(Call(x.device, x.dtype, x.shape[-1], tuple(features)), backend).function


def _rows_operation(name: str, summary: str, portable: Callable[..., Any], gelu: bool) -> Op:
    def load() -> Callable[..., Any]:
        return getattr(import_module(".triton", __name__), name)

    return register(Op(
        name, summary, size_name="channel count",
        backends=(
            Backend("triton", load, Constraints(
                devices=("cuda",), dtypes=FLOATS, capability=(8, 9), max_size=16384,
                lacks=frozenset({"gradients", "strided channels"}),
            )),
            Backend("torch", lambda: portable),
        ),
        kernels=lambda capability: import_module(".triton", __name__).kernels(capability, gelu),
    ))


QUANTIZE_ROWS = _rows_operation(
    "quantize_rows", "Rows as 8-bit numbers and a factor.", quantize, gelu=False)
GELU_QUANTIZE = _rows_operation(
    "gelu_quantize", "tanh-GELU, then rows as 8-bit numbers and a factor.", _gelu_quantize,
    gelu=True)
FP8_LINEAR = register(Op(
    "fp8_linear", "Linear layer on 8-bit numbers, each row with a factor.",
    backends=(
        Backend("scaled_mm", lambda: _scaled_mm, Constraints(
            devices=("cuda",), dtypes=frozenset({E4M3}), capability=(8, 9), multiple_of=16,
            lacks=frozenset({"other results than bfloat16",
                             "output channels that are not a multiple of 16"}),
        )),
        Backend("torch", lambda: _portable),
    ),
    size_name="channel count",
))
