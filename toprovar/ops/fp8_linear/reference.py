"""Rows as e4m3 with a factor each, and their product, as the definitions in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fp8 import LARGEST, LEAST_PEAK


def round_e4m3(x: Tensor) -> Tensor:
    """The nearest e4m3 number, of two equally near ones the one with an even fraction: [...]
    float64. Steps are 1/8 of the power of two below, and 2^-9 from 2^-6 down."""
    x = x.double().clamp(-LARGEST, LARGEST)
    step = torch.exp2(x.abs().clamp_min(2.0**-6).log2().floor() - 3)
    return (x / step).round() * step


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [..., C] as e4m3 numbers [..., C] (in float64) times a factor [..., 1] float64, the largest
    number of each row being 448."""
    scale = x.double().abs().amax(-1, keepdim=True).clamp_min(LEAST_PEAK) / LARGEST
    return round_e4m3(x.double() / scale), scale


def gelu_quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """``quantize_rows`` of tanh-GELU(x)."""
    return quantize_rows(F.gelu(x.double(), approximate="tanh"))


def fp8_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b with both factors rounded: x [..., C], weight [F, C], bias [F] -> [..., F]
    float64."""
    (a, a_scale), (b, b_scale) = quantize_rows(x), quantize_rows(weight)
    y = (a * a_scale) @ (b * b_scale).T
    return y if bias is None else y + bias.double()
