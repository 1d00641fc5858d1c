"""What the tests of attention entropy share: lanes, inputs, tolerances, shapes of real models."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

CUDA = torch.cuda.is_available()


@dataclass(frozen=True)
class Lane:
    """Where a test runs and by which backend."""

    device: str
    backend: str
    most_keys: int
    most_queries: int


PORTABLE = Lane("cpu", "torch", 400, 70)
INTERPRETER = Lane("cpu", "triton", 150, 40)
GPU = Lane("cuda", "triton", 5000, 700)
LANES = [
    pytest.param(PORTABLE, id="torch"),
    pytest.param(INTERPRETER, id="interpreter", marks=pytest.mark.skipif(
        CUDA, reason="with a CUDA device the kernel itself runs, not its interpreter")),
    pytest.param(GPU, id="gpu", marks=[pytest.mark.gpu, pytest.mark.skipif(
        not CUDA, reason="no CUDA device: the kernel runs in Triton's interpreter only")]),
]

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def inputs(
    rows: int, heads: int, n: int, m: int, d: int, dtype: torch.dtype, device: str, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised queries and keys as Infinity has them, values within -1..1."""
    g = torch.Generator().manual_seed(seed)
    q = F.normalize(torch.randn(rows, heads, n, d, generator=g), dim=-1)
    k = F.normalize(torch.randn(rows, heads, m, d, generator=g), dim=-1)
    v = torch.rand(rows, heads, m, d, generator=g) * 2 - 1
    q, k, v = (x.to(device, dtype) for x in (q, k, v))
    return q, k, v
